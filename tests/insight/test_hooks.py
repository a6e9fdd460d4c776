import threading

import numpy as np
import pytest
import torch
from torch import nn

import allyouneed
from allyouneed import UserError
from tests.insight.conftest import random_translator

SOURCE, TARGET = torch.randn(2, 6, 16), torch.randn(2, 5, 16)
MASK = nn.Transformer.generate_square_subsequent_mask(5)


def transformer(**settings):
    torch.manual_seed(0)
    return nn.Transformer(16, 4, 3, 2, 32, batch_first=True, **settings).eval()


@pytest.mark.parametrize("settings", [{}, {"norm_first": True}])
@pytest.mark.parametrize("grad", [False, True])
def test_torch_transformer(settings, grad):
    model = transformer(**settings)
    padding = torch.tensor([[False] * 6, [False] * 4 + [True] * 2])
    inputs = {
        "tgt_mask": MASK,
        "tgt_is_causal": True,
        "src_key_padding_mask": padding,
        "memory_key_padding_mask": padding,
    }
    with torch.set_grad_enabled(grad):
        expected = model(SOURCE, TARGET, **inputs)
        with allyouneed.record(model) as recording:
            found = model(SOURCE, TARGET, **inputs)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert recording.names()["decoder"] == ["decoder.layers.0.self_attn", "decoder.layers.1.self_attn"]
    shown = recording.view(batch=1)
    assert (shown.encoder.shape, shown.decoder.shape, shown.cross.shape) == ((3, 4, 6, 6), (2, 4, 5, 5), (2, 4, 5, 6))
    assert not shown.cross[..., 4:].any()  # padding
    assert not np.triu(shown.decoder, 1).any()
    # The first layer by equation 1, from its weights
    attention = model.encoder.layers[0].self_attn
    x = model.encoder.layers[0].norm1(SOURCE) if settings else SOURCE
    q, k, _ = (x[0] @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
    split = lambda y: y.view(6, 4, 4).transpose(0, 1)  # noqa: E731
    scores = (split(q) @ split(k).transpose(1, 2) / 2).softmax(-1)
    np.testing.assert_allclose(recording.view().encoder[0], scores.detach().numpy(), atol=1e-6)
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


class Own(nn.Module):
    """Attention of one's own: positional arguments, averaged weights that are used, and no batch."""

    def __init__(self):
        super().__init__()
        self.own, self.across = nn.MultiheadAttention(16, 2), nn.MultiheadAttention(16, 4)

    def forward(self, x, memory):
        mask = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        x, none = self.own(x, x, x, None, False, mask)
        result, averaged = self.across(x, memory, memory)
        return result, none, averaged


def test_own_module():
    model, x, memory = Own().eval(), torch.randn(3, 16), torch.randn(5, 16)
    with torch.no_grad():
        result, none, averaged = model(x, memory)
        with allyouneed.record(model) as recording:
            found = model(x, memory)
    torch.testing.assert_close(found[0], result, atol=1e-5, rtol=1e-5)
    assert none is found[1] is None
    torch.testing.assert_close(found[2], averaged, atol=1e-5, rtol=1e-5)
    shown = recording.view(source_tokens=[*"abcde"], target_tokens=[*"xyz"])
    assert recording.names() == {"encoder": [], "decoder": ["own"], "cross": ["across"]}
    assert (shown.encoder, shown.decoder.shape, shown.cross.shape) == (None, (1, 2, 3, 3), (1, 4, 3, 5))
    np.testing.assert_allclose(shown.cross.mean(1)[0], averaged.numpy(), atol=1e-6)
    assert recording._repr_html_().startswith("<iframe")


def test_encoders_are_told_from_decoders_by_their_mask():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    with torch.no_grad(), allyouneed.record(encoder) as bert:
        encoder(SOURCE)
    with torch.no_grad(), allyouneed.record(encoder) as gpt:
        encoder(TARGET, mask=MASK, is_causal=True)
    assert bert.view().encoder.shape == (2, 2, 6, 6)
    assert gpt.view().decoder.shape == (2, 2, 5, 5)


def test_dropout_in_training_is_named():
    model = transformer().train()
    with allyouneed.record(model) as recording:
        model(SOURCE, TARGET)
    with pytest.raises(UserError, match=r"model\.eval\(\)"):
        recording.view()


def test_gradients_are_unchanged():
    model = transformer()
    model(SOURCE, TARGET, tgt_mask=MASK).sum().backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    with allyouneed.record(model):
        model(SOURCE, TARGET, tgt_mask=MASK).sum().backward()
    for found, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(found.grad, gradient, atol=1e-4, rtol=1e-4)


def test_other_threads_are_not_recorded():
    model, found = transformer(), []

    def call():
        with torch.no_grad():
            found.append(model.encoder.layers[0].self_attn(SOURCE, SOURCE, SOURCE, need_weights=False))

    with allyouneed.record(model) as recording:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    assert found[0][1] is None
    with pytest.raises(UserError, match="call the module inside"):
        recording.view()


def test_modules_without_attention_and_wrapped_models():
    with (
        pytest.raises(UserError, match=r"Linear contains no nn\.MultiheadAttention"),
        allyouneed.record(nn.Linear(2, 2)),
    ):
        pass
    small = random_translator(1, 2, 16)
    wrapped = nn.DataParallel(small.model)
    ids = torch.tensor([[5, 6, 3]])
    with torch.no_grad(), allyouneed.record(wrapped) as recording:
        small.model(ids, ids)
    assert recording.cross.shape == (1, 2, 3, 3)


def test_several_threads_record_one_module():
    """Each thread records its own calls, and PyTorch's fast path is on again afterwards."""
    model, wrong = transformer(), []
    started = threading.Barrier(4)

    def work(length):
        x = torch.randn(2, length, 16)
        started.wait()
        for _ in range(20):
            with torch.no_grad(), allyouneed.record(model) as recording:
                model(x, x)
            if {weights.shape for weights in recording.weights.values()} != {(2, 4, length, length)}:
                wrong.append(recording.names())

    threads = [threading.Thread(target=work, args=(length,)) for length in (3, 4, 5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_fast_path_is_off_until_the_last_recording_ends():
    first, second = (allyouneed.record(transformer()) for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not torch.backends.mha.get_fastpath_enabled()
    second.__exit__(None, None, None)
    assert torch.backends.mha.get_fastpath_enabled()


def test_only_a_module_is_recorded():
    with pytest.raises(UserError, match=r"needs a torch.nn.Module, not Translator.*translator\.model"):
        allyouneed.record(random_translator(1, 1, 16))
