"""What the comparison of two systems says, of systems whose answers are made up."""

from __future__ import annotations

import pytest

from allyouneed import Translator
from allyouneed.bundle import load_bundle
from allyouneed.exchange.agreement import Agreement, Difference, compare, sample_sources
from allyouneed.translation.reference_outputs import BEAM_SIZES
from tests.compat import POST_NORM, PRE_NORM
from tests.conftest import toy_pairs

SOURCES = [source for source, _ in toy_pairs(6, seed=3)]


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(POST_NORM)


def said(bundle, texts, beam_size):
    found = Translator(bundle).translate(texts, beam_size=beam_size, length_penalty=0.0)
    return [translation.tokens for translation in found]


def test_the_same_answers_agree(bundle):
    agreements = compare(bundle, lambda texts, beam: said(bundle, texts, beam), SOURCES)
    assert [agreement.beam_size for agreement in agreements] == list(BEAM_SIZES)
    assert all(agreement.is_full for agreement in agreements)
    assert agreements[0].lines() == ["beam 1: 6 of 6 sentences the same, subword by subword"]


def test_another_answer_is_listed_with_what_it_costs(bundle):
    def theirs(texts, beam_size):
        first, *others = said(bundle, texts, beam_size)
        return [[*first, first[-1]], *others]

    greedy, beam = compare(bundle, theirs, SOURCES)
    assert not greedy.is_full
    [difference] = greedy.differences
    assert difference.gain > 1  # nats: ours is likelier
    assert difference.source == SOURCES[0]
    summary, listed = greedy.lines()
    assert summary == "beam 1: 5 of 6 sentences the same, subword by subword; 0 ties, 1 other differences"
    assert listed.startswith(f"  differs (+{difference.gain:.4f} nats): {SOURCES[0]} → ")
    assert beam.lines(listed=False) == [beam.lines()[0]]


def test_ties_and_what_never_ends_are_no_differences():
    tie, other = (Difference("a", "b", "c", gain) for gain in (-0.0005, 0.002))
    assert Agreement(4, 9, 2, [tie]).is_full
    assert not Agreement(4, 9, 2, [tie, other]).is_full
    assert Agreement(4, 9, 2, [tie, other]).lines()[0] == (
        "beam 4: 5 of 9 sentences the same, subword by subword; 2 that do not end before our longest length; "
        "1 ties, 1 other differences"
    )
    assert Agreement(1, 9, 2, []).lines() == [
        "beam 1: 7 of 9 sentences the same, subword by subword; 2 that do not end before our longest length, the same "
        "up to there"
    ]


def test_a_translation_that_is_cut_here_is_compared_up_to_there(bundle):
    short = load_bundle(POST_NORM)
    short.config = bundle.config.override(["search.max_extra_length=0"])
    longer = [[*tokens, "▁a"] for tokens in said(short, SOURCES, 1)]
    greedy, beam = compare(short, lambda texts, beam: longer, SOURCES)
    assert greedy.limited == beam.limited == len(SOURCES)
    other = [["▁z", *tokens] for tokens in longer]
    greedy, beam = compare(short, lambda texts, beam: other, SOURCES)
    assert (greedy.limited, len(greedy.differences)) == (0, len(SOURCES))
    assert beam.limited == len(SOURCES)  # where a beam was cut nothing follows


def test_sentences_are_stored_or_made_up(bundle):
    assert sample_sources(bundle)[0] == [sample["source"] for sample in bundle.samples]
    made_up, named = sample_sources(load_bundle(PRE_NORM))
    assert made_up == sample_sources(load_bundle(PRE_NORM))[0]
    assert all(text.strip() for text in made_up)
    assert "made up" in named
