"""Search, compared with exhaustive search over all outputs of a tiny model."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.model.transformer import Transformer, log_probabilities
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.search import LengthPenalty, greedy

VOCAB_SIZE = 7  # 0 to 3 are special, 4 to 6 are ordinary tokens


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(5)
    config = ModelConfig(d_model=16, d_ff=16, num_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    model = Transformer(config, VOCAB_SIZE).eval()
    with torch.no_grad():
        model.output.weight.mul_(6)  # more confident, but not certain
    return model


SOURCES = torch.tensor([[4, 5, 6, EOS], [6, EOS, 0, 0], [5, 5, EOS, 0]])


def exhaustive(model, source: torch.Tensor, max_length: int, alpha: float) -> list[tuple[float, list[int]]]:
    """Score every output of up to `max_length` tokens; return (score, ids), best first."""
    found = []
    for length in range(max_length + 1):
        for tokens in itertools.product((4, 5, 6), repeat=length):
            target = torch.tensor([[2, *tokens, EOS]])
            logits = model(source[None], target[:, :-1])
            logits[..., [0, 1, 2]] = -torch.inf
            log_p = log_probabilities(logits).gather(2, target[:, 1:, None]).sum().item()
            found.append((log_p / LengthPenalty(alpha).at(length + 1), list(tokens)))
    return sorted(found, reverse=True)


def test_the_papers_length_penalty():
    assert LengthPenalty(0.6).at(1) == 1
    assert LengthPenalty(0.6).at(7) == pytest.approx(2**0.6)
    assert LengthPenalty(0.0).at(7) == 1


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_outputs(model, alpha):
    max_length = 3
    found = beam_search(model, SOURCES, [max_length] * 3, beam_size=40, penalty=LengthPenalty(alpha), num_hypotheses=5)
    for row, hypotheses in enumerate(found):
        source = SOURCES[row][SOURCES[row] != 0]
        expected = exhaustive(model, source, max_length, alpha)[:5]
        assert [hypothesis.ids for hypothesis in hypotheses] == [ids for _, ids in expected]
        for hypothesis, (score, _) in zip(hypotheses, expected, strict=True):
            assert hypothesis.score == pytest.approx(score, abs=1e-4)


def test_greedy_equals_beam_one(model):
    max_lengths = [9, 4, 6]
    alone = beam_search(model, SOURCES, max_lengths, beam_size=1, penalty=LengthPenalty(0.0))
    for a, [b] in zip(greedy(model, SOURCES, max_lengths), alone, strict=True):
        assert a.ids == b.ids
        assert a.score == pytest.approx(b.score, abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 2, 4])
def test_results_do_not_depend_on_the_batch(model, beam_size):
    max_lengths = [9, 4, 6]
    together = beam_search(model, SOURCES, max_lengths, beam_size, LengthPenalty(0.6), num_hypotheses=beam_size)
    for row in range(3):
        source = SOURCES[row][SOURCES[row] != 0][None]
        [alone] = beam_search(
            model, source, max_lengths[row : row + 1], beam_size, LengthPenalty(0.6), num_hypotheses=beam_size
        )
        assert [h.ids for h in alone] == [h.ids for h in together[row]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together[row]], abs=1e-4)


def test_outputs_respect_the_maximum_length(model):
    for hypotheses in beam_search(model, SOURCES, [0, 1, 2], 3, LengthPenalty(0.6), 3):
        assert hypotheses
    lengths = [len(h[0].ids) for h in beam_search(model, SOURCES, [0, 1, 2], 3, LengthPenalty(0.6))]
    assert all(length <= limit for length, limit in zip(lengths, [0, 1, 2], strict=True))
    assert [len(h.ids) <= n for h, n in zip(greedy(model, SOURCES, [0, 1, 2]), [0, 1, 2], strict=True)] == [True] * 3


def test_scores_match_the_model(model):
    [[hypothesis]] = beam_search(model, SOURCES[:1], [9], 4, LengthPenalty(0.6))
    target = torch.tensor([[2, *hypothesis.ids, EOS]])
    logits = model(SOURCES[:1], target[:, :-1])
    logits[..., [0, 1, 2]] = -torch.inf
    expected = log_probabilities(logits).gather(2, target[:, 1:, None]).sum().item()
    assert hypothesis.log_probability == pytest.approx(expected, abs=1e-4)
    assert hypothesis.score == pytest.approx(expected / ((5 + len(hypothesis.ids) + 1) / 6) ** 0.6, abs=1e-4)
    assert math.isfinite(expected)
