import pytest
import torch

pytest.importorskip("numba")

from allyouneed import kernels
from allyouneed.kernels import Mode
from allyouneed.kernels.matmul import gradients, matmul
from allyouneed.kernels.target import has_bf16
from allyouneed.kernels.tiles import DEPTH

WORKS = {"fp32": lambda: True, "AVX512_BF16": has_bf16, "AMX": kernels.has_amx}


@pytest.fixture(params=WORKS)
def bf16(request, monkeypatch):
    """Choose each kind of products that the processor has; the value is whether they round to bf16."""
    if not WORKS[request.param]():
        pytest.skip(f"no {request.param}")
    monkeypatch.setattr(kernels.choice, "_amx", request.param == "AMX")
    return request.param != "fp32"


def matrix(rows: int, columns: int, transposed: bool, wider: int = 0) -> torch.Tensor:
    """Make a random matrix [rows, columns]: a transposed view, or some columns of a wider matrix."""
    shape = (columns, rows + wider) if transposed else (rows, columns + wider)
    whole = torch.randn(shape)
    return whole[:, :rows].T if transposed else whole[:, :columns]


def product(a: torch.Tensor, b: torch.Tensor, bf16: bool) -> torch.Tensor:
    """Return the exact product of two matrices, or of their values rounded to bf16."""
    return a.bfloat16().double() @ b.bfloat16().double() if bf16 else a.double() @ b.double()


def assert_product(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=2e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("rows", [1, 12, 16, 37, 64, 500])
@pytest.mark.parametrize("columns", [16, 48, 64])
@pytest.mark.parametrize("depth", [16, 64, DEPTH, 2 * DEPTH + 48])
def test_any_number_of_rows_in_both_layouts(rows, columns, depth, bf16):
    torch.manual_seed(rows)
    bias = torch.randn(columns)
    for transposed in (False, True):
        a, b = matrix(rows, depth, False), matrix(depth, columns, transposed)
        expected = product(a, b, bf16)
        assert_product(matmul(a, b, bf16=bf16), expected)
        assert_product(matmul(a, b, bias, bf16=bf16), expected + bias)


@pytest.mark.parametrize("rows", [16, 48, 496])
@pytest.mark.parametrize("depth", [1, 2, 31, 32, 33, 100, DEPTH - 1, DEPTH + 1, 2 * DEPTH + 7, 4 * DEPTH + 1])
def test_the_gradient_of_weights_has_any_depth(rows, depth, bf16):
    torch.manual_seed(depth)
    a, b = matrix(rows, depth, True), matrix(depth, 48, False)
    assert_product(matmul(a, b, bf16=bf16), product(a, b, bf16))


@pytest.mark.parametrize("depth", [32, 2 * DEPTH + 16])
def test_write_modes(depth, bf16):
    torch.manual_seed(0)
    a, b, bias, onto = torch.randn(50, depth), torch.randn(depth, 80), torch.randn(80), torch.randn(50, 80)
    expected = product(a, b, bf16) + bias
    assert_product(matmul(a, b, bias, Mode.SET, onto.clone(), bf16), expected)
    assert_product(matmul(a, b, bias, Mode.ADD, onto.clone(), bf16), expected + onto)
    assert_product(matmul(a, b, bias, Mode.RELU, bf16=bf16), expected.relu())


@pytest.mark.parametrize("rows", [1, 16, 37, 700])
@pytest.mark.parametrize(("depth", "columns"), [(16, 48), (96, 32), (272, 128)])
def test_gradients_round_each_matrix(rows, depth, columns, bf16):
    if not bf16:
        pytest.skip("of bf16 products only")
    torch.manual_seed(rows)
    grad, x, weight = torch.randn(rows, columns), torch.randn(rows, depth), torch.randn(columns, depth)
    expected = product(grad, weight, True), product(grad.T, x, True)
    for needs in ((True, True), (True, False), (False, True), (False, False)):
        for found, is_needed, exact in zip(gradients(grad, x, weight, *needs), needs, expected, strict=True):
            assert (found is not None) == is_needed
            if found is not None:
                assert_product(found, exact)


def test_only_the_given_columns_of_a_wider_matrix_are_written(bf16):
    torch.manual_seed(0)
    wide = torch.zeros(37, 96)
    a, b = matrix(37, 64, False, wider=16), matrix(64, 32, False, wider=48)
    matmul(a, b, out=wide[:, 32:64], bf16=bf16)
    assert_product(wide[:, 32:64], product(a, b, bf16))
    assert wide[:, :32].eq(0).all()
    assert wide[:, 64:].eq(0).all()
    a, b = matrix(48, 37, True, wider=16), matrix(37, 64, False, wider=16)
    assert_product(matmul(a, b, bf16=bf16), product(a, b, bf16))
    a, b = matrix(37, 48, False), matrix(48, 64, True, wider=32)
    assert_product(matmul(a, b, bf16=bf16), product(a, b, bf16))


def test_a_row_depends_neither_on_other_rows_nor_on_the_number_of_threads(bf16):
    torch.manual_seed(0)
    a, b = torch.randn(1000, 256), torch.randn(256, 272)
    whole = matmul(a, b, bf16=bf16)
    for rows in (slice(0, 1), slice(5, 300), slice(990, 1000)):
        assert torch.equal(matmul(a[rows], b, bf16=bf16), whole[rows])
    threads = torch.get_num_threads()
    gradient = matmul(whole.T, a, bf16=bf16)
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            assert torch.equal(matmul(a, b, bf16=bf16), whole)
            if bf16:
                assert torch.equal(gradients(whole, a, b.T.contiguous(), False, True)[1], gradient)
                assert torch.equal(gradients(whole, a, b.T.contiguous(), True, True)[1], gradient)
    finally:
        torch.set_num_threads(threads)


def test_nan_in_a_row_does_not_reach_other_rows(bf16):
    """The padding of the last tile is never written."""
    a, b = torch.randn(13, 32), torch.randn(32, 48)
    a[12] = torch.nan
    found = matmul(a, b, bf16=bf16)
    assert found[:12].isfinite().all()
    assert found[12].isnan().all()


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "3e38", "-1.5", "0x1.01p0", "0x1.03p0", "0x1.010002p0"])
def test_packing_rounds_to_the_nearest_bf16_value_and_ties_to_even(number, bf16):
    value = torch.tensor(float.fromhex(number))
    expected = value.bfloat16().float() if bf16 else value
    for transposed in (False, True):  # packed by rows or by lines, as the left and as the right matrix
        a = matrix(16, 16, transposed).zero_()
        a[0, 0] = value
        for found in (matmul(a, torch.eye(16), bf16=bf16), matmul(torch.eye(16), a, bf16=bf16)):
            torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=0, equal_nan=True)
