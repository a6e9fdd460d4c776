"""The training step as on CUDA, with a stand-in for FlashAttention, and PyTorch's own on tensors without numbers."""

import pytest
import torch

from allyouneed import kernels
from allyouneed.config import ModelConfig
from allyouneed.model.packed_forward import packed_hidden, packs
from allyouneed.model.packing import PackedMask, flash_attention, pack
from allyouneed.model.transformer import Transformer
from allyouneed.training.loss import chunked_cross_entropy, smoothed_cross_entropy
from tests.model.test_packing import sentences, varlen  # noqa: F401

CONFIG = ModelConfig(d_model=32, d_ff=64, num_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)


@pytest.mark.parametrize("causal", [False, True])
def test_flash_attention_of_this_pytorch_takes_our_arguments(causal):
    queries, keys = sentences([3, 1, 7]), sentences([3, 1, 7] if causal else [2, 9, 4])
    packed = [type(side)(*(x.to("meta") for x in side[:3]), side.max_length) for side in (queries, keys)]
    q, k, v = (torch.ones(n, 64, device="meta", dtype=torch.bfloat16, requires_grad=True) for n in (11, 15, 15))
    k, v = (x[: len(packed[1].ids)] for x in (k, v))
    out = flash_attention(q, k, v, 2, PackedMask(*packed, causal=causal))
    assert (out.shape, out.dtype) == ((11, 64), torch.bfloat16)
    out.sum().backward()
    assert q.grad.shape == (11, 64)


@pytest.fixture
def as_on_cuda(varlen, monkeypatch):  # noqa: F811
    """Take the branches of CUDA on the CPU: no kernels, and FlashAttention."""
    monkeypatch.setattr(torch.Tensor, "is_cuda", property(lambda self: True), raising=False)
    monkeypatch.setattr(kernels, "usable", lambda *tensors: False)
    monkeypatch.setattr(kernels, "multiplies_in_bf16", lambda: False)


@pytest.mark.usefixtures("as_on_cuda")
def test_a_step_in_bf16_has_the_reference_gradients():
    torch.manual_seed(1)
    source, target = torch.randint(3, 50, (2, 4, 9))
    target[0, 5:] = 0
    real = target != 0
    model, plain = Transformer(CONFIG, 50), Transformer(CONFIG, 50, plain=True)
    plain.load_state_dict(model.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = packed_hidden(model, pack(source, source != 0), pack(target, real))
        assert hidden.shape == (int(real.sum()), CONFIG.d_model)
        loss, nll = chunked_cross_entropy(hidden, model.output.weight, target[real], 0.1)
    loss.backward()
    logits = plain(source, target)[real]
    expected = smoothed_cross_entropy(logits, target[real], 0.1)
    expected.backward()
    assert loss.dtype == nll.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-2)
    for mine, reference in zip(model.parameters(), plain.parameters(), strict=True):
        assert mine.grad.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(mine.grad.flatten(), reference.grad.flatten(), dim=0) > 0.98


@pytest.mark.parametrize(("d_k", "half", "expected"), [(16, True, True), (16, False, False), (12, True, False)])
def test_cuda_packs_in_half_precision_only(monkeypatch, d_k, half, expected):
    monkeypatch.setattr("allyouneed.model.packed_forward.flash_attention_works", lambda device, width: width == 16)
    config = CONFIG.model_copy(update={"d_model": 2 * d_k})
    assert packs(config, torch.device("cuda"), half) is expected
