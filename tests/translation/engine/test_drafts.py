"""Verified drafts, compared bitwise with greedy search without drafts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.model.transformer import Transformer
from allyouneed.translation.draft_memory import learn_drafts
from allyouneed.translation.engine.memory import DraftMemory
from allyouneed.translation.search import greedy

pytest.importorskip("numba")
from allyouneed.translation.engine.drafted_search import Drafts
from allyouneed.translation.engine.engine import Engine
from tests.translation.engine.test_engine import SHAPES, VOCAB_SIZE, model_of, sources


class Vocabulary:
    """A shared vocabulary: its size is what drafts depend on."""

    shared = True

    @property
    def target(self):
        return self

    def __len__(self) -> int:
        return VOCAB_SIZE


def unpadded(source: torch.Tensor) -> list[list[int]]:
    return [[token for token in row if token not in (0, EOS)] for row in source.tolist()]


def memory_for(model: Transformer, longest: int = 15) -> DraftMemory:
    """Learn from what the model generates, so that drafts are accepted."""
    source = sources(200)
    found = greedy(Engine(model), source, [longest] * len(source))
    return learn_drafts(Vocabulary(), unpadded(source), [hypothesis.ids for hypothesis in found])


def searches(engine: Engine, row: torch.Tensor, limit: int, scores: bool) -> tuple:
    """Return the ids and log probabilities of one sentence, without drafts and with them, and the steps with them."""
    plain = engine.greedy(row, [limit], scores, drafts=False)
    drafted = engine.drafts.search([engine], row, limit, scores)
    length = int(plain[2][0])
    assert int(drafted.lengths[0]) == length
    return *((found[0][0, :length].tolist(), found[1][0, :length]) for found in (plain, drafted)), drafted.steps


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("in_bytes", [False, True])
def test_drafts_change_nothing_but_the_number_of_steps(shape, in_bytes):
    model = model_of(shape)
    engine, steps, tokens = Engine(model, in_bytes, memory_for(model)), 0, 0
    for number, row in enumerate(sources(40)):
        alone, scores = row[row != 0][None], number % 2 == 0
        (ids, log_p), (drafted, drafted_log_p), taken = searches(engine, alone, (0, 1, 2, 15, 70)[number % 5], scores)
        assert drafted == ids
        if scores:
            assert drafted_log_p.tobytes() == log_p.tobytes()
        steps, tokens = steps + taken, tokens + len(ids)
    assert steps < 0.9 * tokens  # drafts are accepted


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_any_number_of_drafted_tokens_and_any_memory_give_the_same_result(count):
    model, rng = model_of(SHAPES[0]), np.random.default_rng(5)
    text = [rng.integers(4, VOCAB_SIZE, 9).tolist() for _ in range(30)]
    for pairs in ((text, text[::-1]), ([], []), ([[]], [[]])):
        engine = Engine(model)
        engine.drafts = Drafts(learn_drafts(Vocabulary(), *pairs), count)
        for row in sources(6):
            (ids, log_p), (drafted, drafted_log_p), _ = searches(engine, row[row != 0][None], 20, True)
            assert (drafted, drafted_log_p.tobytes()) == (ids, log_p.tobytes())


def test_long_sentences_and_learned_positions_to_the_last():
    model = model_of(SHAPES[3])  # 100 positions
    engine = Engine(model, memory=memory_for(model))
    row = torch.from_numpy(np.append(np.random.default_rng(2).integers(4, VOCAB_SIZE, 98), EOS))[None]
    (ids, _), (drafted, _), steps = searches(engine, row, 98, False)
    assert drafted == ids
    assert steps <= len(ids)


def test_ensembles_verify_the_drafts_of_their_first_model():
    models = [model_of(SHAPES[0]), model_of(SHAPES[2], seed=4)]
    engines = [Engine(models[0], memory=memory_for(models[0])), Engine(models[1])]
    for row in sources(12):
        alone = row[row != 0][None]
        plain, drafted = (engines[0].greedy(alone, [15], True, choice, engines[1:]) for choice in (False, True))
        length = int(plain[2][0])
        assert int(drafted[2][0]) == length
        for ours, theirs in zip(drafted[:2], plain[:2], strict=True):
            assert ours[0, :length].tobytes() == theirs[0, :length].tobytes()


def test_several_sentences_and_small_models_are_searched_without_drafts(monkeypatch):
    model, calls = model_of(SHAPES[0]), []
    engine = Engine(model, memory=memory_for(model))
    monkeypatch.setattr(engine.drafts, "search", lambda *_: calls.append(1) or (None,) * 4)
    engine.greedy(sources(2), [15, 15], False, drafts=True)
    engine.greedy(sources(1), [15], False)
    assert not calls
    engine.greedy(sources(1), [15], False, drafts=True)
    monkeypatch.setattr(engine.drafts, "_pay", True)
    engine.greedy(sources(1), [15], False)
    engine.greedy(sources(1), [15], False, drafts=False)
    assert len(calls) == 2


def test_probabilities_learned_from_a_small_text():
    """By hand: after 5, 6 occurs twice and 7 once; 8 is always translated to 5."""
    memory = learn_drafts(Vocabulary(), [[8, 9], [8, 9], [8, 10]], [[5, 6], [5, 6], [5, 7]])
    after = slice(*memory.starts[5:7])
    frequency = {6: 2 / 9, 7: 1 / 9}
    assert dict(zip(memory.tokens[after].tolist(), memory.p[after].tolist(), strict=True)) == pytest.approx(
        {6: (2 + 3 * frequency[6]) / 6, 7: (1 + 3 * frequency[7]) / 6}
    )
    assert memory.backoff[5] == pytest.approx(3 / 6)
    assert memory.pairs.tolist() == [BOS * VOCAB_SIZE + BOS, BOS * VOCAB_SIZE + 5, 5 * VOCAB_SIZE + 6]
    assert memory.pair_tokens.tolist() == [5, 6, EOS]
    likely = memory.translations[slice(*memory.translation_starts[8:10])]
    assert likely[0] == 5
    assert memory.translations[slice(*memory.translation_starts[11:13])].tolist() == [11]  # unknown: copied
