"""Diverse beam search: groups that avoid each other's tokens."""

import pytest
import torch

from allyouneed import Translator, UserError
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.diverse import diverse_beam_search
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.search import LengthPenalty
from tests.translation.test_search import SOURCES, model  # noqa: F401

MAX_LENGTHS = [5, 5, 5]
TEXTS = ["a b c", "h g", "d e f a", "b"]


def ids_of(found):
    return [[one.ids for one in hypotheses] for hypotheses in found]


def test_the_first_group_is_an_ordinary_beam(model):  # noqa: F811
    plain = beam_search(model, SOURCES, MAX_LENGTHS, 2, LengthPenalty(0.6), 2)
    found = diverse_beam_search(
        model, SOURCES, MAX_LENGTHS, 6, LengthPenalty(0.6), groups=3, diversity=1.0, num_hypotheses=6
    )
    for expected, hypotheses in zip(plain, found, strict=True):
        assert hypotheses[0].score >= expected[0].score - 1e-5
        assert {tuple(one.ids) for one in expected} <= {tuple(one.ids) for one in hypotheses}
        assert [one.score for one in hypotheses] == sorted((one.score for one in hypotheses), reverse=True)


def test_without_a_penalty_all_groups_agree(model):  # noqa: F811
    found = diverse_beam_search(
        model, SOURCES, MAX_LENGTHS, 6, LengthPenalty(0.6), groups=3, diversity=0.0, num_hypotheses=6
    )
    plain = beam_search(model, SOURCES, MAX_LENGTHS, 2, LengthPenalty(0.6), 2)
    assert ids_of(found) == ids_of(plain)


def test_with_a_high_penalty_groups_begin_differently(model):  # noqa: F811
    found = diverse_beam_search(
        model, SOURCES, MAX_LENGTHS, 3, LengthPenalty(0.0), groups=3, diversity=100.0, num_hypotheses=3
    )
    for hypotheses in found:
        first = [one.ids[0] for one in hypotheses if one.ids]
        assert len(first) == len(set(first))
    assert any(len(hypotheses) > 1 for hypotheses in found)


@torch.no_grad()
def test_scores_exclude_the_penalty(model):  # noqa: F811
    found = diverse_beam_search(
        model, SOURCES, MAX_LENGTHS, 4, LengthPenalty(0.0), groups=2, diversity=3.0, num_hypotheses=4
    )
    for hypotheses, source in zip(found, SOURCES, strict=True):
        for one in hypotheses:
            target = torch.tensor([[2, *one.ids, 3]])
            logits = model(source[None][:, source != 0], target[:, :-1])
            logits[..., [0, 1, 2]] = -torch.inf
            expected = logits.log_softmax(-1).gather(2, target[:, 1:, None]).sum()
            assert one.score == pytest.approx(float(expected), abs=1e-4)


def test_results_do_not_depend_on_the_batch(model):  # noqa: F811
    together = diverse_beam_search(model, SOURCES, MAX_LENGTHS, 6, LengthPenalty(0.6), 3, 0.7, 6)
    for row, source in enumerate(SOURCES):
        [alone] = diverse_beam_search(
            model, source[None][:, source != 0], MAX_LENGTHS[:1], 6, LengthPenalty(0.6), 3, 0.7, 6
        )
        assert [one.ids for one in alone] == [one.ids for one in together[row]]


def test_translations_are_more_diverse(toy_run):
    translator = Translator.load(toy_run)
    options = {"beam_size": 6, "num_hypotheses": 6}

    def distinct(**more):
        return sum(len({text for text, _ in one.hypotheses}) for one in translator.translate(TEXTS, **options, **more))

    assert distinct(num_beam_groups=6, diversity_penalty=5.0) > distinct(num_beam_groups=6, diversity_penalty=0.0)
    with pytest.raises(UserError, match="num_beam_groups = 4"):
        translator.translate(TEXTS, beam_size=6, num_beam_groups=4)
    with pytest.raises(UserError, match="diversity_penalty = -1"):
        translator.translate(TEXTS, beam_size=6, num_beam_groups=2, diversity_penalty=-1.0)


def test_all_groups_keep_the_prefix(toy_run):
    prefixes = ["h h", "", "g", "a"]
    options = SearchOptions(beam_size=4, num_hypotheses=4, num_beam_groups=2)
    found = Translator.load(toy_run).translate(TEXTS, options, target_prefix=prefixes)
    for one, prefix in zip(found, prefixes, strict=True):
        assert all(text.startswith(prefix) for text, _ in one.hypotheses)
