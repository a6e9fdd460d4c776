"""Table 1's layers: results and operation counts."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from allyouneed.model.attention import scaled_dot_product_attention
from allyouneed.paper.table1.compared_layers import (
    CONVOLUTIONAL,
    FUSED,
    LAYERS,
    NEIGHBOURHOOD,
    PROJECTED,
    RESTRICTED,
    SELF_ATTENTION,
    restricted_attention,
)


@pytest.mark.parametrize(("n", "reach"), [(1, 1), (3, 4), (8, 4), (9, 4), (37, 5), (40, 1), (64, 64)])
def test_restricted_attention_is_masked_full_attention(n, reach):
    x, reference = (torch.randn(2, 3, n, 6, dtype=torch.float64).requires_grad_() for _ in range(2))
    reference.data.copy_(x.data)
    positions = torch.arange(n)
    near = (positions[:, None] - positions).abs() <= reach
    output = torch.stack([restricted_attention(*qkv, reach) for qkv in x])
    expected = torch.stack([scaled_dot_product_attention(*qkv, near) for qkv in reference])
    torch.testing.assert_close(output, expected, atol=1e-12, rtol=0)
    (output * torch.arange(6)).sum().backward()
    (expected * torch.arange(6)).sum().backward()
    torch.testing.assert_close(x.grad, reference.grad, atol=1e-12, rtol=0)


def test_restricted_attention_has_no_n_by_n_matrix():
    n = 4 * NEIGHBOURHOOD
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
        RESTRICTED.build(8)(torch.randn(1, n, 8, requires_grad=True))
    assert max(sizes) < n * n / 2


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_layers_keep_the_shape_and_pass_gradients_to_every_position(layer):
    x = torch.randn(2, 70, 16, requires_grad=True)
    output = layer.build(16)(x)
    assert output.shape == x.shape
    output.square().sum().backward()
    assert x.grad.abs().sum(dim=-1).min() > 0


def test_fused_and_explicit_attention_agree():
    x = torch.randn(2, 33, 16)
    torch.testing.assert_close(FUSED.build(16)(x), SELF_ATTENTION.build(16)(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("layer", [SELF_ATTENTION, PROJECTED, CONVOLUTIONAL, RESTRICTED], ids=lambda layer: layer.name)
def test_operations_agree_with_pytorchs_flop_counter(layer):
    n, d = 96, 32
    with FlopCounterMode(display=False) as counter:
        layer.build(d)(torch.randn(1, n, d))
    assert counter.get_total_flops() == layer.operations(n, d)


def test_an_lstm_needs_two_operations_per_weight_and_position():
    [recurrent] = [layer for layer in LAYERS if layer.sequential == "O(n)"]
    weights = sum(weight.numel() for weight in recurrent.build(16).parameters() if weight.dim() == 2)
    assert recurrent.operations(10, 16) == 2 * 10 * weights


def test_operations_grow_in_the_orders_of_table_1():
    for layer in LAYERS:
        if layer is PROJECTED:  # the table does not count the projections
            continue
        assert layer.operations(2048, 64) == layer.operations(1024, 64) * 2**layer.in_n
        assert layer.operations(1024, 128) == layer.operations(1024, 64) * 2**layer.in_d
