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
from allyouneed.translation.engine.top_tokens import CHUNK_STRIDE, NextTokens


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


def screened(weight, bias, hidden, count, scores):
    """Return the top tokens of hidden states, and for each whether it was screened."""
    rows, depth = hidden.shape
    coarse, fine = (screen_weights(weight, bias, bits) for bits in (8, 16))
    model = Model(screen=coarse, fine_screen=fine, d_model=depth, end=3)
    work = Work(hidden=hidden, logits=torch.empty(rows, CHUNK_STRIDE), screen=screen_workspace(rows, depth, count))
    top = NextTokens(
        count=count,
        with_scores=scores,
        logits=np.empty((rows, count), dtype=np.float32),
        tokens=np.empty((rows, count), dtype=np.int64),
        end_logits=np.empty(rows, dtype=np.float32),
        normalisers=np.empty(rows, dtype=np.float32),
    )
    run(1, model, top, work, rows)
    return top, work.screen.is_exact


@pytest.mark.parametrize(("count", "scores"), [(1, False), (4, False), (8, True)])
@pytest.mark.parametrize("spread", [0.2, 3.0])
def test_screened_tokens_are_exactly_those_of_fp32(count, spread, scores):
    torch.manual_seed(1)
    weight, bias, hidden = torch.randn(1500, 64) * spread, torch.randn(1500), torch.randn(37, 64)
    top, is_exact = screened(weight, bias, hidden, count, scores)
    logits = hidden.double() @ weight.double().T + bias
    expected = logits.topk(count)
    assert is_exact.all()
    np.testing.assert_array_equal(top.tokens, expected.indices.numpy())
    if scores:
        np.testing.assert_allclose(top.normalisers, logits.logsumexp(1), atol=1e-4)
    np.testing.assert_allclose(top.logits, expected.values.numpy(), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(top.end_logits, logits[:, 3].numpy(), rtol=1e-4, atol=1e-4)


def test_rows_whose_normalisers_would_be_inexact_are_left_to_fp32():
    """Logits far from 0, as of a model that diverged, and hidden states that are not finite."""
    torch.manual_seed(1)
    hidden = torch.randn(4, 64) * torch.tensor([[1.0], [1e4], [1.0], [1.0]])
    hidden[2, 7], hidden[3, 9] = torch.nan, torch.inf
    _, is_exact = screened(torch.randn(1500, 64), torch.zeros(1500), hidden, 8, scores=True)
    assert is_exact.tolist() == [1, 0, 0, 0]
