import pytest
import torch

pytest.importorskip("numba")
from allyouneed.kernels.product import ADD, RELU, multiply, pack


@pytest.mark.parametrize("rows", [1, 3, 4, 13, 100])
@pytest.mark.parametrize("n", [16, 48, 160])
def test_a_product_and_what_becomes_of_it(rows, n):
    torch.manual_seed(rows)
    a, weight, bias, onto = torch.randn(rows, 64), torch.randn(n, 64), torch.randn(n), torch.randn(rows, n)
    expected = a @ weight.T + bias
    torch.testing.assert_close(multiply(a, pack(weight), bias), expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(multiply(a, pack(weight), bias, RELU), expected.relu(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(
        multiply(a, pack(weight), bias, ADD, onto.clone()), expected + onto, rtol=1e-5, atol=1e-4
    )


def test_rows_do_not_depend_on_their_neighbours():
    torch.manual_seed(1)
    a, weight, bias = torch.randn(101, 48), torch.randn(80, 48), torch.randn(80)
    whole = multiply(a, pack(weight), bias)
    assert all(torch.equal(multiply(a[row : row + 1].clone(), pack(weight), bias)[0], whole[row]) for row in range(101))
