import numpy as np
import pytest
import torch

pytest.importorskip("numba")
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Record
from allyouneed.translation.engine.screen import (
    ScreenWeights,
    ScreenWorkspace,
    screen_top_tokens,
    screen_weights,
    screen_workspace,
)
from allyouneed.translation.engine.top_tokens import CHUNK, NextTokens


class Model(Record):
    """The fields of `DecoderWeights` that screening reads."""

    screen: ScreenWeights
    fine_screen: ScreenWeights
    d_model: int
    end: int


class Work(Record):
    """The fields of `Workspace` that screening reads."""

    hidden: Floats
    logits: Floats
    screen: ScreenWorkspace


@kernel
def run(part, model: Model, top: NextTokens, work: Work, rows):
    screen_top_tokens(model, top, work, 0, rows)


@pytest.mark.parametrize(("count", "scores"), [(1, False), (4, False), (8, True)])
@pytest.mark.parametrize("spread", [0.2, 3.0])
def test_screened_tokens_are_exactly_those_of_fp32(count, spread, scores):
    torch.manual_seed(1)
    rows, depth, vocab_size = 37, 64, 1500
    weight, bias = torch.randn(vocab_size, depth) * spread, torch.randn(vocab_size)
    hidden = torch.randn(rows, depth)
    coarse, fine = (screen_weights(weight, bias, bits) for bits in (8, 16))
    model = Model(screen=coarse, fine_screen=fine, d_model=depth, end=3)
    work = Work(hidden=hidden, logits=torch.empty(rows, CHUNK), screen=screen_workspace(rows, depth, count))
    top = NextTokens(
        count=count,
        with_scores=scores,
        logits=np.empty((rows, count), dtype=np.float32),
        tokens=np.empty((rows, count), dtype=np.int64),
        end_logits=np.empty(rows, dtype=np.float32),
        normalisers=np.empty(rows, dtype=np.float32),
    )
    run(1, model, top, work, rows)
    logits = hidden.double() @ weight.double().T + bias
    expected = logits.topk(count)
    assert work.screen.is_exact.all()
    np.testing.assert_array_equal(top.tokens, expected.indices.numpy())
    if scores:
        np.testing.assert_allclose(top.normalisers, logits.logsumexp(1), atol=1e-4)
    np.testing.assert_allclose(top.logits, expected.values.numpy(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(top.end_logits, logits[:, 3].numpy(), rtol=1e-4, atol=1e-4)
