"""The package's matrix products for wide layers and their gradients, compared with PyTorch."""

import pytest
import torch

from allyouneed import kernels
from allyouneed.model.linear import Linear, apply_linears

pytest.importorskip("numba")


def results(plain: bool, bias: bool, relu: bool, widths: tuple[int, ...], shape: tuple[int, ...]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    linears = [Linear(shape[-1], width, bias, plain) for width in widths]
    x = torch.randn(shape, requires_grad=True)
    y = apply_linears(x, *linears, relu=relu)
    (y * torch.randn_like(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for linear in linears for p in linear.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("widths", [(48,), (32, 32, 16)])
@pytest.mark.parametrize("shape", [(75, 64), (3, 25, 64)])
def test_values_and_gradients(own_products, bias, relu, widths, shape):
    ours, pytorchs = (results(plain, bias, relu, widths, shape) for plain in (False, True))
    for found, expected in zip(ours, pytorchs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)


def rounded(plain: bool, **arguments) -> list[torch.Tensor]:
    """Return `results` under bf16 autocast."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return results(plain, **arguments)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("widths", [(48,), (32, 32, 16)])
def test_bf16_products_are_closer_to_fp32_than_autocast_is(bf16, relu, widths):
    """Both round what they multiply, but autocast also rounds the outputs."""
    arguments = {"bias": True, "relu": relu, "widths": widths, "shape": (75, 64)}
    exact, ours, pytorchs = results(True, **arguments), rounded(False, **arguments), rounded(True, **arguments)
    for right, found, other in zip(exact, ours, pytorchs, strict=True):
        assert found.dtype == torch.float32
        error, bound = (found - right).norm(), (other.float() - right).norm()
        assert error <= bound
        assert error < 0.03 * right.norm()


def test_processor_without_bf16_products_leaves_autocast_to_pytorch(monkeypatch):
    monkeypatch.setattr(kernels, "has_bf16", lambda: False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not kernels.multiplies_in_bf16()
        assert Linear(64, 64)(torch.randn(8, 64)).dtype == torch.bfloat16
    assert not kernels.multiplies_in_bf16()


def test_input_without_gradient_and_expanded_gradient(own_products):
    linear, x = Linear(32, 48), torch.randn(20, 32)
    y = linear(x)
    assert type(y.grad_fn).__name__ == "_LinearBackward"
    y.sum().backward()
    torch.testing.assert_close(linear.weight.grad, x.sum(0).expand(48, 32), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(linear.bias.grad, torch.full((48,), 20.0))


def test_which_products_use_the_kernel(monkeypatch):
    x, wide, narrow, odd = torch.randn(64, 256), torch.randn(256, 256), torch.randn(128, 256), torch.randn(257, 256)
    monkeypatch.setattr(kernels.choice, "_speedups", {256: 1.1, 512: 1.2})
    assert kernels.multiplies(64, x, wide)
    assert not kernels.multiplies(63, x, wide)
    assert not kernels.multiplies(64, x, wide, narrow)
    assert not kernels.multiplies(64, x, odd)
    assert not kernels.multiplies(64, x.double(), wide.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not kernels.multiplies(64, x, wide)
        assert kernels.multiplies(1, x, narrow, bf16=True)
        assert not kernels.multiplies(64, x, odd, bf16=True)
    monkeypatch.setattr(kernels.choice, "_speedups", {256: 0.9, 512: 1.2})
    assert not kernels.multiplies(64, x, wide)
    assert kernels.multiplies(64, torch.randn(64, 512), torch.randn(1024, 512))
