import math

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from allyouneed import kernels
from allyouneed.kernels import Mode
from allyouneed.kernels.byte_tiles import has_byte_tiles
from allyouneed.kernels.digit_tiles import to_digits
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.packed_matrix import Matrix, pack, pack_fastest, pack_halves, to_bytes
from allyouneed.kernels.product import (
    Rows,
    _multiply_by_panel,
    _multiply_by_panels,
    find_largest,
    halves_size,
    make_tile,
    multiply_halves,
    multiply_packed,
    round_row_to_halves,
    round_rows,
    rounded_size,
)
from allyouneed.kernels.records import Floats, Longs


@pytest.mark.parametrize("rows", [1, 3, 4, 13, 100])
@pytest.mark.parametrize("n", [16, 48, 160, 35])
def test_write_modes(rows, n):
    torch.manual_seed(rows)
    a, weight, bias, onto = torch.randn(rows, 64), torch.randn(n, 64), torch.randn(n), torch.randn(rows, n)
    matrix, expected = pack(weight, bias), a @ weight.T + bias
    onto = torch.nn.functional.pad(onto, (0, matrix.columns - n))
    torch.testing.assert_close(multiply_packed(a, matrix)[:, :n], expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(multiply_packed(a, matrix, Mode.RELU)[:, :n], expected.relu(), rtol=1e-5, atol=1e-4)
    added = multiply_packed(a, matrix, Mode.ADD, onto.clone())[:, :n]
    torch.testing.assert_close(added, expected + onto[:, :n], rtol=1e-5, atol=1e-4)


def reference(a: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Multiply rows and columns rounded to bytes with integer sums; exact to one unit in the last place of fp32."""
    of_rows = np.abs(a).max(1).clip(1e-30) / np.float32(127)
    of_columns = np.abs(weight).max(1).clip(1e-30) / np.float32(127)
    rows = np.rint(a * (1 / of_rows)[:, None]).astype(np.int64)
    columns = np.rint(weight / of_columns[:, None]).astype(np.int64)
    return (rows @ columns.T) * (of_rows[:, None] * of_columns).astype(np.float64) + bias


@pytest.mark.parametrize("rows", [1, 3, 4, 13, 100])
@pytest.mark.parametrize("n", [16, 48, 160, 35])
@pytest.mark.parametrize("mode", [Mode.SET, Mode.RELU, Mode.ADD])
def test_sums_of_bytes_are_exact(rows, n, mode):
    random = np.random.default_rng(rows)
    a, weight = random.normal(size=(rows, 64)).astype(np.float32), random.normal(size=(n, 64)).astype(np.float32)
    bias = random.normal(size=n).astype(np.float32)
    a[0], weight[0] = 0, 0  # a scale of 0
    weight[-1] *= 10
    matrix = pack(*map(torch.from_numpy, (weight, bias)), in_bytes=True)
    onto = torch.ones(rows, matrix.columns) if mode == Mode.ADD else None
    found = multiply_packed(torch.from_numpy(a), matrix, mode, onto)[:, :n].numpy()
    expected = reference(a, weight, bias)
    expected = np.maximum(expected, 0) if mode == Mode.RELU else expected + (mode == Mode.ADD)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=5e-5)  # an error of 1 in a sum is 5 times larger


def test_results_without_vnni_are_identical():
    torch.manual_seed(1)
    a, matrix = torch.randn(4, 64), pack(torch.randn(16, 64), torch.randn(16), in_bytes=True)
    rounded, out, tile = torch.empty(4, 17), torch.empty(4, 16), make_tile(4, 1, 8, vnni=False)

    @kernel
    def run(part, a: Floats, rounded: Floats, matrix: Matrix, out: Floats):
        round_rows(a, 4, matrix, rounded)
        tile(rounded, 17, matrix.panels, 16, matrix.terms, 16, out, 16, Mode.SET)

    run(1, a, rounded, matrix, out)
    assert torch.equal(out, multiply_packed(a, matrix))


@pytest.mark.skipif(not (kernels.has_vnni() and has_byte_tiles()), reason="no AMX")
@pytest.mark.parametrize("rows", [4, 13, 16, 17, 31, 40, 50, 100])
@pytest.mark.parametrize(("depth", "n"), [(64, 35), (128, 160), (256, 48)])
def test_results_in_tile_registers_are_identical(rows, depth, n):
    torch.manual_seed(rows)
    a, matrix = torch.randn(rows, depth), pack(torch.randn(n, depth), torch.randn(n), in_bytes=True)
    assert matrix.in_tiles
    for mode in Mode:
        onto = torch.randn(rows, matrix.columns)
        found, expected = (
            multiply_packed(a, each, mode, onto.clone()) for each in (matrix, matrix.replace(in_tiles=0))
        )
        assert torch.equal(found, expected)


@kernel
def run_find_largest(part, a: Floats, rows, matrix: Matrix, width, rounded: Floats, values: Floats, columns: Longs):
    find_largest(round_rows(a, rows, matrix, rounded), rows, matrix, width, values, columns)


@pytest.mark.skipif(not (kernels.has_vnni() and has_byte_tiles()), reason="no AMX")
@pytest.mark.parametrize("rows", [4, 17, 32, 50, 100])
@pytest.mark.parametrize(("depth", "n"), [(64, 35), (128, 160), (256, 49)])
def test_the_largest_products_in_tile_registers(rows, depth, n):
    """Padding, which has the value 0, is ignored, and of equal values the first is found."""
    torch.manual_seed(rows)
    weight = torch.randn(n, depth)
    weight[n // 2 :] = weight[: n - n // 2].clone()
    a, matrix = torch.randn(rows, depth), pack(weight, torch.full((n,), -500.0), in_bytes=True)
    products = multiply_packed(a, matrix)[:, :n]
    values, columns = torch.full((rows,), -1e9), torch.full((rows,), -1)
    values[1] = 0.0
    run_find_largest(1, a, rows, matrix, n, torch.empty(rounded_size(rows, depth)), values, columns)
    expected, expected_columns = products.numpy().max(1), products.numpy().argmax(1)
    expected[1], expected_columns[1] = 0, -1  # what was there is larger
    np.testing.assert_array_equal(values.numpy(), expected)
    np.testing.assert_array_equal(columns.numpy(), expected_columns)


@pytest.mark.parametrize("depth", [48, 64])
def test_tile_registers_need_whole_rows(depth, monkeypatch):
    for needed in ("has_vnni", "has_byte_tiles"):
        monkeypatch.setattr(f"allyouneed.kernels.packed_matrix.{needed}", lambda: True)
    matrix = pack(torch.randn(16, depth), torch.randn(16), in_bytes=True)
    assert matrix.in_tiles == (depth == 64)
    assert not pack(torch.randn(16, depth), torch.randn(16)).in_tiles


def test_rounding_errors_are_at_most_half_a_step():
    torch.manual_seed(1)
    weight = torch.randn(20, 64)
    whole, scale = to_bytes(weight)
    assert whole.dtype == torch.int8
    assert whole.abs().max() == 127
    assert ((whole * scale[:, None] - weight).abs() <= scale[:, None] * 0.5001).all()


@pytest.mark.parametrize("in_bytes", [False, True])
def test_rows_do_not_depend_on_other_rows(in_bytes):
    torch.manual_seed(1)
    a, matrix = torch.randn(101, 48), pack(torch.randn(80, 48), torch.randn(80), in_bytes)
    whole = multiply_packed(a, matrix)
    assert all(torch.equal(multiply_packed(a[row : row + 1].clone(), matrix)[0], whole[row]) for row in range(101))


def test_closures_have_distinct_names():
    """Numba's cache identifies closures by name: kernels of different processes could call each other's closures."""
    closures = [_multiply_by_panel(vectors, bits) for vectors in (1, 2) for bits in (32, 16, 8)]
    closures += [_multiply_by_panels(bits) for bits in (32, 16, 8)]
    assert len({closure.py_func.__qualname__ for closure in closures}) == len(closures)


@kernel
def _halves_kernel(part, a: Floats, rows, matrix: Matrix, out: Floats, rounded: Floats):
    for row in range(rows):
        round_row_to_halves(
            a + row * matrix.depth, matrix.depth, rounded + row * halves_size(matrix.depth), matrix.in_tiles
        )
    multiply_halves(rounded, rows, matrix, 0, matrix.columns, Rows(out, matrix.columns))


@pytest.mark.parametrize("alike", [False, True])
def test_sums_of_halves_fit_into_32_bits(alike):
    """Rows equal to a column have the largest product."""
    random = np.random.default_rng(3)
    a = random.normal(size=(13, 64)).astype(np.float32)
    weight = np.concatenate([a[:5] * 3, -a[:5], random.normal(size=(38, 64)).astype(np.float32)])
    if alike:  # one large value in each
        a[:, 7], weight[:, 7] = 1e4, -1e3
    matrix = pack_halves(torch.from_numpy(weight), torch.ones(48))
    out = np.empty((13, 48), dtype=np.float32)
    _halves_kernel(1, a, 13, matrix, out, np.empty((13, halves_size(64)), dtype=np.float32))
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(weight, axis=1)
    exact = a.astype(np.float64) @ weight.T.astype(np.float64) + 1
    assert (np.abs(out - exact) < 2e-4 * lengths).all()


@pytest.mark.skipif(not (kernels.has_vnni() and has_byte_tiles()), reason="no AMX")
@pytest.mark.parametrize("rows", [1, 13, 16, 33])
@pytest.mark.parametrize(("depth", "n"), [(64, 48), (192, 80)])
def test_halves_in_tile_registers_are_identical(rows, depth, n, monkeypatch):
    random = np.random.default_rng(rows)
    a = random.normal(size=(rows, depth)).astype(np.float32)
    weight = torch.from_numpy(random.normal(size=(n, depth)).astype(np.float32))
    weight[:rows] = torch.from_numpy(a)  # the largest and smallest sums
    weight[rows : 2 * rows] = torch.from_numpy(-a)[: max(0, n - rows)]
    bias, found = torch.from_numpy(random.normal(size=n).astype(np.float32)), []
    for in_tiles in (True, False):
        monkeypatch.setattr("allyouneed.kernels.packed_matrix.has_byte_tiles", lambda in_tiles=in_tiles: in_tiles)
        matrix, out = pack_halves(weight, bias), np.empty((rows, n), dtype=np.float32)
        assert matrix.in_tiles == in_tiles
        _halves_kernel(1, a, rows, matrix, out, np.empty((rows, halves_size(depth)), dtype=np.float32))
        found.append(out)
    np.testing.assert_array_equal(*found)


def test_integers_without_vnni():
    """The arithmetic of processors without VNNI gives the same sums, also with negative integers."""
    a, matrix = torch.randn(4, 48), pack_halves(torch.randn(16, 48), torch.randn(16))
    rounded, found, expected = torch.empty(4, halves_size(48)), torch.empty(4, 16), torch.empty(4, 16)
    _halves_kernel(1, a, 4, matrix, expected, rounded)
    tile = make_tile(4, 1, 16, vnni=False)

    @kernel
    def run(part, a: Floats, matrix: Matrix, out: Floats):
        tile(a, halves_size(48), matrix.panels, 24, matrix.terms, 16, out, 16, 0)

    run(1, rounded, matrix, found)
    assert torch.equal(found, expected)


digits = pytest.mark.skipif(not (kernels.has_vnni() and has_byte_tiles()), reason="this processor has no AMX")


@digits
@pytest.mark.parametrize("rows", [1, 2, 16, 17, 47, 48, 49, 100])
@pytest.mark.parametrize(("depth", "n"), [(64, 35), (128, 160), (512, 48)])
def test_products_of_digits_are_as_accurate_as_in_fp32(rows, depth, n):
    torch.manual_seed(rows)
    a, weight, bias = torch.randn(rows, depth) * 10, torch.randn(n, depth), torch.randn(n)
    weight[0] *= 1e-4
    a[-1] *= 1e6
    matrix, onto = pack_fastest(weight, bias), torch.randn(rows, n)
    assert matrix.in_digits
    exact = a.double() @ weight.double().T + bias.double()
    padded = torch.nn.functional.pad(onto, (0, matrix.columns - n))
    lengths = a.double().norm(dim=1)[:, None] * weight.double().norm(dim=1) + exact.abs() + 1
    for mode, expected in ((Mode.SET, exact), (Mode.RELU, exact.relu()), (Mode.ADD, exact + onto.double())):
        found = multiply_packed(a, matrix, mode, padded.clone())[:, :n]
        in_fp32 = multiply_packed(a, pack(weight, bias), mode, padded.clone())[:, :n]
        errors, usual = ((each - expected).abs() / lengths for each in (found, in_fp32))
        assert errors.max() < 3e-7
        assert errors.square().mean() < 9 * usual.square().mean()  # three times the usual error


@digits
def test_digits_of_extreme_rows():
    torch.manual_seed(0)
    weight, a = torch.randn(32, 64), torch.randn(40, 64)
    weight[0], a[0] = 0, 0
    a[1], a[2], a[3] = 1, -1, torch.linspace(-1e-38, 1e-38, 64)
    a[5, 7], a[6, 8], a[7, 9] = math.nan, math.inf, -math.inf
    found = multiply_packed(a, pack_fastest(weight, torch.zeros(32)))
    assert found[5:8].isnan().all()  # and no other row
    kept = [row for row in range(40) if row not in (5, 6, 7)]
    expected = (a.double() @ weight.double().T).float()
    torch.testing.assert_close(found[kept], expected[kept], rtol=1e-5, atol=1e-4)
    assert not found[0].any()
    assert not found[kept, 0].any()


@digits
def test_rows_in_digits_do_not_depend_on_other_rows():
    torch.manual_seed(1)
    a, matrix = torch.randn(101, 128), pack_fastest(torch.randn(80, 128), torch.randn(80))
    whole = multiply_packed(a, matrix)
    assert all(torch.equal(multiply_packed(a[row : row + 1].clone(), matrix)[0], whole[row]) for row in range(101))
    assert all(torch.equal(multiply_packed(a[:rows].clone(), matrix), whole[:rows]) for rows in range(1, 101))


def test_weights_in_digits():
    torch.manual_seed(1)
    weight = torch.randn(20, 64)
    whole, scale = to_digits(weight)
    values = [(whole << 24 - shift >> 24) for shift in (16, 8, 0)]
    joint = (values[0].double() * 256 + values[1]) * 256 + values[2]
    assert ((joint * scale.double()[:, None] - weight.double()).abs() <= scale[:, None] * 0.5001).all()
    assert joint.abs().amax(1).min() == 127 * 65_536


@pytest.mark.parametrize("depth", [48, 64])
def test_digits_need_tile_registers_and_whole_rows(depth, monkeypatch):
    for found in (True, False):
        monkeypatch.setattr("allyouneed.kernels.packed_matrix.has_byte_tiles", lambda found=found: found)
        monkeypatch.setattr("allyouneed.kernels.packed_matrix.has_vnni", lambda found=found: found)
        assert pack_fastest(torch.randn(16, depth), torch.randn(16)).in_digits == (found and depth == 64)
