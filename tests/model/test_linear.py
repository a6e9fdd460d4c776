"""oneDNN's products against PyTorch's own, forward and backward, and when each of them works."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from allyouneed.model import linear as module
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.linear import Linear, linear

onednn = pytest.mark.skipif(not module._has_onednn(), reason="this PyTorch has no oneDNN")


@pytest.fixture
def products(monkeypatch):
    """Counts oneDNN's products."""
    seen, product = [], module._product
    monkeypatch.setattr(module, "_product", lambda *given: seen.append(given) or product(*given))
    return seen


@onednn
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_pytorchs(relu, bias, products):
    torch.manual_seed(1)
    layer = Linear(48, 80, bias)
    x, grad = torch.randn(37, 48, requires_grad=True), torch.randn(37, 80)
    given = [x, *layer.parameters()]
    found, plain = [], []
    for into in (found, plain):
        layer.plain = into is plain
        out = layer(x, relu=relu)
        into += [out, *torch.autograd.grad(out, given, grad)]
    assert len(products) == 2  # forward, and the gradient of x; not of the plain one
    for ours, theirs in zip(found, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (found[0] < 0).any() == (not relu)


@onednn
def test_only_gradients_that_are_wanted(products):
    layer = Linear(16, 16, bias=False)
    layer.weight.requires_grad_(False)
    x = torch.randn(5, 16, requires_grad=True)
    layer(x).sum().backward()
    assert layer.weight.grad is None
    assert x.grad is not None
    assert len(products) == 2
    Linear(16, 16)(torch.randn(5, 16)).sum().backward()
    assert len(products) == 3  # nobody asked for the gradient of x


@pytest.mark.parametrize(
    "x", [torch.randn(2, 5, 16), torch.randn(5, 16, dtype=torch.float64)], ids=["not packed", "not fp32"]
)
def test_other_shapes_and_types_stay_with_pytorch(x, products):
    weight, bias = torch.randn(8, 16, dtype=x.dtype), torch.randn(8, dtype=x.dtype)
    torch.testing.assert_close(linear(x, weight, bias, relu=True), F.linear(x, weight, bias).relu(), rtol=0, atol=0)
    assert not products


def test_autocast_stays_with_pytorch(products):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(16, 8)(torch.randn(5, 16)).dtype == torch.bfloat16
    assert not products


def test_without_onednn_all_is_pytorchs(monkeypatch, products):
    monkeypatch.setattr(module, "_has_onednn", lambda: False)
    torch.manual_seed(1)
    layer, x = FeedForward(16, 32), torch.randn(5, 16)
    expected = F.linear(F.linear(x, layer.inner.weight, layer.inner.bias).relu(), layer.outer.weight, layer.outer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=0)
    assert not products
