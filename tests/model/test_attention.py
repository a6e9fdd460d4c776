import math

import pytest
import torch

from allyouneed.model.attention import (
    MultiHeadAttention,
    attention_weights,
    scaled_dot_product_attention,
)
from allyouneed.model.masks import future_mask, padding_mask
from allyouneed.model.probe import AttentionRecorder, Interventions, Probe
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
def test_fused_kernel_agrees_with_equation_1(masked):
    torch.manual_seed(0)
    sizes = {"d_model": 32, "num_heads": 4, "d_k": 6, "d_v": 10}
    fused, plain = MultiHeadAttention(**sizes), MultiHeadAttention(**sizes, plain=True)
    plain.load_state_dict(fused.state_dict())
    x, memory = torch.randn(4, 5, 32), torch.randn(4, 7, 32)
    ids = torch.tensor([[5] * 7, [5] * 4 + [0] * 3, [5] + [0] * 6, [0] * 7])
    mask = padding_mask(ids, pad_id=0) if masked else None
    assert close(plain(x, memory, mask), fused(x, memory, mask))


def test_a_row_without_a_visible_key_has_finite_weights_and_gradients():
    query, key = torch.randn(1, 1, 2, 8, requires_grad=True), torch.randn(1, 1, 3, 8)
    weights = attention_weights(query, key, torch.tensor([[True, False, True], [False, False, False]]))
    assert weights[0, 0, 1].tolist() == [0, 0, 0]
    (weights * torch.randn(2, 3)).sum().backward()
    assert query.grad.isfinite().all()
    assert (query.grad[0, 0, 1] == 0).all()


def test_equation_1_agrees_with_pytorch():
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


def test_interventions_change_only_what_they_name():
    torch.manual_seed(0)
    query, key, value = torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 8), torch.randn(4, 2, 3, 5)
    mask, site = future_mask(3), ("decoder", 0)

    def heads(**changes):
        return Probe(interventions=Interventions(**changes)).attention(site, query, key, value, mask)

    expected = scaled_dot_product_attention(query, key, value, mask)
    assert torch.equal(heads(), expected)
    assert close(heads(scale=False), scaled_dot_product_attention(query * math.sqrt(8), key, value, mask))
    assert torch.equal(heads(unmasked=frozenset({"encoder"})), expected)
    assert close(heads(unmasked=frozenset({"decoder"})), scaled_dot_product_attention(query, key, value))
    silent = torch.tensor([[True, False], [False, True]])  # two sentences, each with two rows
    assert torch.equal(heads(silent={("decoder", 1): silent}), expected)
    found = heads(silent={site: silent})
    assert torch.equal(found[:2], torch.stack([torch.zeros(2, 3, 5), expected[:2, 1]], dim=1))
    assert torch.equal(found[2:], torch.stack([expected[2:, 0], torch.zeros(2, 3, 5)], dim=1))


def test_silent_heads_follow_their_sentences():
    changes = Interventions(silent={("cross", 0): torch.eye(3) > 0, ("cross", 1): torch.ones(1, 3) > 0})
    left = changes.select(torch.tensor([2, 0])).silent
    assert left["cross", 0].tolist() == [[False, False, True], [True, False, False]]
    assert left["cross", 1].shape == (1, 3)


def test_a_probe_observes_every_head():
    attention = MultiHeadAttention(d_model=16, num_heads=4, d_k=4, d_v=4, site=("encoder", 3))
    recorder = AttentionRecorder()
    x = torch.randn(2, 3, 16)
    expected = attention(x, x)
    assert close(attention(x, x, probe=Probe((recorder,))), expected)
    assert {site: x.shape for site, [x] in ((site, kept.values()) for site, kept in recorder.sites.items())} == {
        ("encoder", 3): (2, 4, 3, 3)
    }
