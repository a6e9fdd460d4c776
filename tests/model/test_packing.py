"""Attention on packed sentences, compared with PyTorch on each sentence separately."""

import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.model.attention import scaled_dot_product_attention
from allyouneed.model.masks import future_mask
from allyouneed.model.packed_forward import can_pack, packed_hidden
from allyouneed.model.packing import (
    Packed,
    PackedMask,
    flash_attention,
    flash_attention_works,
    pack,
    packed_attention,
)
from allyouneed.model.transformer import Transformer

MAX_FLASH_WIDTH = 256


def sentences(lengths: list[int]) -> Packed:
    ids = torch.nn.utils.rnn.pad_sequence([torch.arange(1, n + 1) for n in lengths], batch_first=True)
    return pack(ids, ids != 0)


def test_order_positions_and_starts():
    packed = sentences([3, 1, 2])
    assert packed.ids.tolist() == [1, 2, 3, 1, 1, 2]
    assert packed.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert packed.starts.tolist() == [0, 3, 4, 6]
    assert packed.max_length == 3


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("d_v", [16, 48])
def test_packed_attention_and_its_gradients(causal, d_v):
    torch.manual_seed(0)
    heads, d_k = 3, 32
    query_lengths = [1, 2, 3, 4, 5, 15, 16, 17, 33, 70]
    key_lengths = query_lengths if causal else [17, 1, 16, 5, 70, 2, 3, 33, 15, 4]
    queries, keys = sentences(query_lengths), sentences(key_lengths)
    q, k, v = (
        torch.randn(n, heads * width, requires_grad=True)
        for n, width in ((sum(query_lengths), d_k), (sum(key_lengths), d_k), (sum(key_lengths), d_v))
    )
    expected = []
    parts = zip(q.split(query_lengths), k.split(key_lengths), v.split(key_lengths), strict=True)
    for part in parts:
        of_heads = [x.view(len(x), heads, -1).transpose(0, 1) for x in part]
        mask = future_mask(len(part[0])) if causal else None
        expected.append(scaled_dot_product_attention(*of_heads, mask).transpose(0, 1).flatten(1))
    expected = torch.cat(expected)
    mask = PackedMask(queries, keys, causal)
    projected, memory = (torch.cat([q, k, v], dim=1), None) if causal else (q, torch.cat([k, v], dim=1))
    found = packed_attention(projected, memory, heads, d_k, mask)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    weights = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), (q, k, v)),
        torch.autograd.grad((expected * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_sequences_are_bitwise_independent_of_the_batch(causal):
    """A thread processes several sequences of a large batch in turn."""
    torch.manual_seed(0)
    lengths = torch.randint(1, 40, (70,)).tolist()
    packed = sentences(lengths)
    x, weights = torch.randn(sum(lengths), 3 * 64, requires_grad=True), torch.randn(sum(lengths), 64)
    found = packed_attention(x, None, 2, 32, PackedMask(packed, packed, causal))
    (grads,) = torch.autograd.grad((found * weights).sum(), x)
    for number in (0, 3, 8, 40, 69):
        rows = slice(*packed.starts[number : number + 2].tolist())
        alone, one = x[rows].detach().requires_grad_(), sentences([lengths[number]])
        result = packed_attention(alone, None, 2, 32, PackedMask(one, one, causal))
        assert torch.equal(result, found[rows])
        (grad,) = torch.autograd.grad((result * weights[rows]).sum(), alone)
        assert torch.equal(grad, grads[rows])


def test_extreme_scores_do_not_overflow():
    packed = sentences([3])
    q = torch.full((3, 16), 100.0, requires_grad=True)
    k = torch.stack([torch.full((16,), x) for x in (-100.0, 0.0, 100.0)])
    v = torch.eye(3, 16)
    found = packed_attention(torch.cat([q, k, v], dim=1), None, 1, 16, PackedMask(packed, packed))
    torch.testing.assert_close(found, v[2].expand(3, 16))
    found.sum().backward()
    assert torch.isfinite(q.grad).all()


@pytest.mark.parametrize(
    "shape",
    [
        {"norm": "post"},
        {"norm": "pre"},
        {"norm": "pre", "source_end": False},
        {"activation": "gelu", "embedding_norm": True, "tie_embeddings": "inputs"},
        {"activation": "gelu_tanh", "norm": "pre", "final_norm": False, "feed_forward_bias": False},
        {"activation": "gelu_sigmoid", "final_norm": True, "norm_epsilon": 1e-3, "scale_embeddings": False},
        {"activation": "swish", "sinusoid_frequencies": "tensor2tensor", "first_position": 2},
        {"decoder_d_ff": 80, "decoder_heads": 1, "attention_bias": True, "output_bias": True},
    ],
)
def test_packed_model_equals_padded_model(shape):
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_ff": 48, "num_heads": 2, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    model = Transformer(ModelConfig(**sizes, **shape), vocab_size=50)
    source = torch.tensor([[5, 6, 7, 3], [8, 3, 0, 0], [9, 4, 3, 0]])
    target = torch.tensor([[2, 9, 0, 0, 0], [2, 9, 8, 7, 6], [2, 4, 4, 0, 0]])
    real = target != 0
    assert can_pack(model)
    packed = packed_hidden(model, pack(source, model.source_tokens(source)), pack(target, real))
    padded = model.hidden(source, target)[real]
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-5)
    weights, parameters = torch.randn(packed.shape), list(model.parameters())
    packed_grads, padded_grads = (
        torch.autograd.grad((hidden * weights).sum(), parameters, allow_unused=True) for hidden in (packed, padded)
    )
    for packed_grad, padded_grad in zip(packed_grads, padded_grads, strict=True):
        torch.testing.assert_close(packed_grad, padded_grad, rtol=1e-4, atol=1e-4)
    plain = Transformer(model.config, vocab_size=50, plain=True)
    plain.load_state_dict(model.state_dict())
    assert not can_pack(plain)
    torch.testing.assert_close(packed, plain.hidden(source, target)[real], rtol=1e-5, atol=1e-5)


@pytest.fixture
def varlen(monkeypatch):
    """Replace FlashAttention, which needs CUDA, with a reference implementation of the same signature."""

    def varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size):
        assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
        assert (max_q, max_k) == (int(cu_seq_q.diff().max()), int(cu_seq_k.diff().max()))
        if query.shape[2] > MAX_FLASH_WIDTH:
            raise RuntimeError("heads are too wide")
        out = torch.empty(len(query), query.shape[1], value.shape[2], dtype=value.dtype)
        for (a, b), (c, d) in zip(cu_seq_q.unfold(0, 2, 1).tolist(), cu_seq_k.unfold(0, 2, 1).tolist(), strict=True):
            q, k, v = query[a:b].transpose(0, 1), key[c:d].transpose(0, 1), value[c:d].transpose(0, 1)
            mask = future_mask(b - a) if window_size == (-1, 0) else None
            out[a:b] = scaled_dot_product_attention(q, k, v, mask).transpose(0, 1)
        return out

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    flash_attention_works.cache_clear()
    yield
    flash_attention_works.cache_clear()


@pytest.mark.usefixtures("varlen")
def test_flash_attention_arguments():
    queries, keys = sentences([3, 1, 7]), sentences([2, 9, 4])
    q, k, v = torch.randn(11, 64), torch.randn(15, 64), torch.randn(15, 64)
    for mask, x in ((PackedMask(queries, keys), k), (PackedMask(queries, queries, causal=True), q)):
        mine = packed_attention(q, torch.cat([x, v[: len(x)]], dim=1), 2, 32, mask)
        torch.testing.assert_close(flash_attention(q, x, v[: len(x)], 2, mask), mine, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("varlen")
@pytest.mark.parametrize("outside", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_flash_attention_check_draws_no_random_numbers_and_enables_gradients(outside):
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    with outside():
        assert flash_attention_works(torch.device("cpu"), 32)
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.usefixtures("varlen")
def test_flash_attention_check_uses_the_width_of_the_heads():
    """A row of the paper's table 3 has a single head of width 512."""
    widths = (64, MAX_FLASH_WIDTH, 512)
    assert [flash_attention_works(torch.device("cpu"), d_k) for d_k in widths] == [True, True, False]
