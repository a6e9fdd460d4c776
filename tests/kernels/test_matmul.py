import pytest
import torch

pytest.importorskip("numba")

from allyouneed.kernels import Mode
from allyouneed.kernels.matmul import _DEPTH, matmul


def matrix(rows: int, columns: int, transposed: bool, wider: int = 0) -> torch.Tensor:
    """Make a random matrix [rows, columns]: a transposed view, or some columns of a wider matrix."""
    shape = (columns, rows + wider) if transposed else (rows, columns + wider)
    whole = torch.randn(shape)
    return whole[:, :rows].T if transposed else whole[:, :columns]


def assert_product(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=2e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("rows", [1, 12, 16, 37, 64, 500])
@pytest.mark.parametrize("columns", [16, 48, 64])
@pytest.mark.parametrize("depth", [16, 64, _DEPTH, _DEPTH + 48])
def test_any_number_of_rows_in_both_layouts(rows, columns, depth):
    torch.manual_seed(rows)
    bias = torch.randn(columns)
    for transposed in (False, True):
        a, b = matrix(rows, depth, False), matrix(depth, columns, transposed)
        assert_product(matmul(a, b), a.double() @ b.double())
        assert_product(matmul(a, b, bias), a.double() @ b.double() + bias)


@pytest.mark.parametrize("rows", [16, 48, 496])
@pytest.mark.parametrize("depth", [1, 2, 31, 32, 33, 100, _DEPTH - 1, _DEPTH + 1, 2 * _DEPTH + 7])
def test_the_gradient_of_weights_has_any_depth(rows, depth):
    torch.manual_seed(depth)
    a, b = matrix(rows, depth, True), matrix(depth, 48, False)
    assert_product(matmul(a, b), a.double() @ b.double())


@pytest.mark.parametrize("depth", [32, _DEPTH + 16])
def test_write_modes(depth):
    torch.manual_seed(0)
    a, b, bias, onto = torch.randn(50, depth), torch.randn(depth, 80), torch.randn(80), torch.randn(50, 80)
    expected = a.double() @ b.double() + bias
    assert_product(matmul(a, b, bias, Mode.SET, onto.clone()), expected)
    assert_product(matmul(a, b, bias, Mode.ADD, onto.clone()), expected + onto)
    assert_product(matmul(a, b, bias, Mode.RELU), expected.relu())


def test_only_the_given_columns_of_a_wider_matrix_are_written():
    torch.manual_seed(0)
    wide = torch.zeros(37, 96)
    a, b = matrix(37, 64, False, wider=16), matrix(64, 32, False, wider=48)
    matmul(a, b, out=wide[:, 32:64])
    assert_product(wide[:, 32:64], a.double() @ b.double())
    assert wide[:, :32].eq(0).all()
    assert wide[:, 64:].eq(0).all()
    a, b = matrix(48, 37, True, wider=16), matrix(37, 64, False, wider=16)
    assert_product(matmul(a, b), a.double() @ b.double())
    a, b = matrix(37, 48, False), matrix(48, 64, True, wider=32)
    assert_product(matmul(a, b), a.double() @ b.double())


def test_a_row_depends_neither_on_other_rows_nor_on_the_number_of_threads():
    torch.manual_seed(0)
    a, b = torch.randn(1000, 256), torch.randn(256, 272)
    whole = matmul(a, b)
    for rows in (slice(0, 1), slice(5, 300), slice(990, 1000)):
        assert torch.equal(matmul(a[rows], b), whole[rows])
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            assert torch.equal(matmul(a, b), whole)
    finally:
        torch.set_num_threads(threads)


def test_nan_in_a_row_does_not_reach_other_rows():
    """The padding of the last tile is never written."""
    a, b = torch.randn(13, 32), torch.randn(32, 48)
    a[12] = torch.nan
    found = matmul(a, b)
    assert found[:12].isfinite().all()
    assert found[12].isnan().all()
