import math

import pytest
import torch

from allyouneed.model.attention import (
    MultiHeadAttention,
    Twist,
    attention_steps,
    attention_weights,
    scaled_dot_product_attention,
)
from allyouneed.model.masks import future_mask, padding_mask
from tests.model.oracles import close, randomise, torch_attention


def test_weights_by_hand():
    query = torch.tensor([[1.0, 0.0]])
    key = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    weights = attention_weights(query, key)
    right = math.exp(1 / math.sqrt(2))
    assert close(weights, torch.tensor([[right / (right + 1), 1 / (right + 1)]]), 1e-6)


def test_scale_keeps_the_variance_of_scores_at_one():
    torch.manual_seed(0)
    for d_k in (4, 64, 512):
        query, key = torch.randn(2000, d_k), torch.randn(2000, d_k)
        products = query @ key.T
        assert products.var() == pytest.approx(d_k, rel=0.1)
        assert (products / math.sqrt(d_k)).var() == pytest.approx(1, rel=0.1)


def test_masked_keys_get_no_weight_and_rows_sum_to_one():
    torch.manual_seed(0)
    query, key = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 5, 8)
    weights = attention_weights(query, key, future_mask(5))
    assert (weights.triu(1) == 0).all()
    assert close(weights.sum(-1), torch.ones(2, 3, 5), 1e-6)


@pytest.mark.parametrize("masked", [True, False])
def test_fused_agrees_with_explicit(masked):
    torch.manual_seed(0)
    attention = MultiHeadAttention(d_model=32, num_heads=4, d_k=6, d_v=10)
    x, memory = torch.randn(3, 5, 32), torch.randn(3, 7, 32)
    ids = torch.tensor([[5] * 7, [5] * 4 + [0] * 3, [5] + [0] * 6])
    mask = padding_mask(ids, pad_id=0) if masked else None
    fused = attention(x, memory, mask)
    attention.explicit = True
    assert close(attention(x, memory, mask), fused)


def test_explicit_function_agrees_with_pytorch():
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 5, 8), torch.randn(2, 4, 7, 8), torch.randn(2, 4, 7, 6)
    theirs = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    assert close(scaled_dot_product_attention(query, key, value), theirs)


def test_agrees_with_torch_multihead_attention():
    ours = MultiHeadAttention(d_model=32, num_heads=4, d_k=8, d_v=8, bias=True)
    randomise(ours)
    theirs = torch_attention(ours, 32)
    x, memory = torch.randn(3, 5, 32), torch.randn(3, 7, 32)
    ids = torch.tensor([[5] * 7, [5] * 4 + [0] * 3, [5] + [0] * 6])
    expected, _ = theirs(x, memory, memory, key_padding_mask=ids == 0)
    assert close(ours(x, memory, padding_mask(ids, 0)), expected)


def test_a_twist_changes_what_it_says_and_nothing_else():
    torch.manual_seed(0)
    query, key, value = torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 5)
    mask = future_mask(3)

    def heads(**twist):
        return attention_steps(query, key, value, mask, Twist(**twist)).heads

    expected = scaled_dot_product_attention(query, key, value, mask)
    assert close(heads(), expected)
    assert close(heads(divisor=1.0), scaled_dot_product_attention(query * math.sqrt(8), key, value, mask))
    assert close(heads(masked=False), scaled_dot_product_attention(query, key, value))
    silent = torch.tensor([[True, False], [False, True]])  # two sentences of two rows each
    assert close(heads(silent=silent)[:2], torch.stack([torch.zeros(2, 3, 5), expected[:2, 1]], dim=1))
    assert close(heads(silent=silent)[2:], torch.stack([expected[2:, 0], torch.zeros(2, 3, 5)], dim=1))


def test_observer_sees_every_head():
    attention = MultiHeadAttention(d_model=16, num_heads=4, d_k=4, d_v=4)
    seen = []
    attention.explicit, attention.observe = True, seen.append
    x = torch.randn(2, 3, 16)
    attention(x, x)
    assert [steps.weights.shape for steps in seen] == [(2, 4, 3, 3)]
