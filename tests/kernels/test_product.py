import numpy as np
import pytest
import torch

pytest.importorskip("numba")
from numba import njit

from allyouneed.kernels import Mode
from allyouneed.kernels.product import make_tile, multiply_packed, pack, round_rows, to_bytes


@pytest.mark.parametrize("rows", [1, 3, 4, 13, 100])
@pytest.mark.parametrize("n", [16, 48, 160, 35])
def test_a_product_and_what_becomes_of_it(rows, n):
    torch.manual_seed(rows)
    a, weight, bias, onto = torch.randn(rows, 64), torch.randn(n, 64), torch.randn(n), torch.randn(rows, n)
    matrix, expected = pack(weight, bias), a @ weight.T + bias
    onto = torch.nn.functional.pad(onto, (0, matrix.columns - n))
    torch.testing.assert_close(multiply_packed(a, matrix)[:, :n], expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(multiply_packed(a, matrix, Mode.RELU)[:, :n], expected.relu(), rtol=1e-5, atol=1e-4)
    added = multiply_packed(a, matrix, Mode.ADD, onto.clone())[:, :n]
    torch.testing.assert_close(added, expected + onto[:, :n], rtol=1e-5, atol=1e-4)


def by_hand(a: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The product of rows and columns rounded to bytes, summed in whole numbers; as fp32 rounds it, to 1 unit."""
    of_rows = np.abs(a).max(1).clip(1e-30) / np.float32(127)
    of_columns = np.abs(weight).max(1).clip(1e-30) / np.float32(127)
    rows = np.rint(a * (1 / of_rows)[:, None]).astype(np.int64)
    columns = np.rint(weight / of_columns[:, None]).astype(np.int64)
    return (rows @ columns.T) * (of_rows[:, None] * of_columns).astype(np.float64) + bias


@pytest.mark.parametrize("rows", [1, 3, 4, 13, 100])
@pytest.mark.parametrize("n", [16, 48, 160, 35])
@pytest.mark.parametrize("mode", [Mode.SET, Mode.RELU, Mode.ADD])
def test_in_bytes_the_sums_are_exact(rows, n, mode):
    random = np.random.default_rng(rows)
    a, weight = random.normal(size=(rows, 64)).astype(np.float32), random.normal(size=(n, 64)).astype(np.float32)
    bias = random.normal(size=n).astype(np.float32)
    a[0], weight[0] = 0, 0  # nothing to scale by
    weight[-1] *= 10
    matrix = pack(*map(torch.from_numpy, (weight, bias)), in_bytes=True)
    onto = torch.ones(rows, matrix.columns) if mode == Mode.ADD else None
    found = multiply_packed(torch.from_numpy(a), matrix, mode, onto)[:, :n].numpy()
    expected = by_hand(a, weight, bias)
    expected = np.maximum(expected, 0) if mode == Mode.RELU else expected + (mode == Mode.ADD)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=5e-5)  # a step of the sum is five times as much


def test_without_vnni_the_same_bit_by_bit():
    torch.manual_seed(1)
    a, matrix = torch.randn(4, 64), pack(torch.randn(16, 64), torch.randn(16), in_bytes=True)
    rounded, out, tiles = torch.empty(4, 17), torch.empty(4, 16), make_tile(4, 1, True, vnni=False)

    @njit
    def run(a, rounded, packed, facts, out):
        round_rows(a, 4, 64, rounded)
        tiles(rounded, 17, packed, 16, facts, 16, out, 16, Mode.SET)

    run(*(x.data_ptr() for x in (a, rounded, matrix.packed, matrix.facts, out)))
    assert torch.equal(out, multiply_packed(a, matrix))


def test_bytes_stand_for_the_weights_to_half_a_step():
    torch.manual_seed(1)
    weight = torch.randn(20, 64)
    whole, scale = to_bytes(weight)
    assert whole.dtype == torch.int8
    assert whole.abs().max() == 127
    assert ((whole * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()


@pytest.mark.parametrize("in_bytes", [False, True])
def test_rows_do_not_depend_on_their_neighbours(in_bytes):
    torch.manual_seed(1)
    a, matrix = torch.randn(101, 48), pack(torch.randn(80, 48), torch.randn(80), in_bytes)
    whole = multiply_packed(a, matrix)
    assert all(torch.equal(multiply_packed(a[row : row + 1].clone(), matrix)[0], whole[row]) for row in range(101))
