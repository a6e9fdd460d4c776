"""Comparison of a bundle with a fake second system."""

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


def translate(bundle, texts, beam_size):
    translations = Translator(bundle).translate(texts, beam_size=beam_size, length_penalty=0.0)
    return [translation.tokens for translation in translations]


def test_identical_translations(bundle):
    agreements = compare(bundle, lambda texts, beam: translate(bundle, texts, beam), SOURCES)
    assert [agreement.beam_size for agreement in agreements] == list(BEAM_SIZES)
    assert all(agreement.is_complete for agreement in agreements)
    assert agreements[0].lines() == ["beam 1: 6 of 6 translations identical"]


def test_a_difference_is_listed_with_its_gain(bundle):
    def translate_differently(texts, beam_size):
        first, *others = translate(bundle, texts, beam_size)
        return [[*first, first[-1]], *others]

    greedy, beam = compare(bundle, translate_differently, SOURCES)
    assert not greedy.is_complete
    [difference] = greedy.differences
    assert difference.gain > 1  # nats
    assert difference.source == SOURCES[0]
    summary, listed = greedy.lines()
    assert summary == "beam 1: 5 of 6 translations identical; 0 ties, 1 other differences"
    assert listed.startswith(f"  differs (+{difference.gain:.4f} nats): {SOURCES[0]} → ")
    assert beam.lines(list_differences=False) == [beam.lines()[0]]


def test_ties_and_truncated_translations_do_not_count_as_disagreement():
    tie, other = (Difference("a", "b", "c", gain) for gain in (-0.0005, 0.002))
    assert Agreement(4, 9, 2, [tie]).is_complete
    assert not Agreement(4, 9, 2, [tie, other]).is_complete
    assert Agreement(4, 9, 2, [tie, other]).lines()[0] == (
        "beam 4: 5 of 9 translations identical; 2 truncated at the maximum length; 1 ties, 1 other differences"
    )
    assert Agreement(1, 9, 2, []).lines() == [
        "beam 1: 7 of 9 translations identical; 2 truncated at the maximum length, identical up to there"
    ]


def test_a_truncated_translation_is_compared_up_to_its_length(bundle):
    short = load_bundle(POST_NORM)
    short.config = bundle.config.replace(search={"max_extra_length": 0})
    longer = [[*tokens, "▁a"] for tokens in translate(short, SOURCES, 1)]
    greedy, beam = compare(short, lambda texts, beam: longer, SOURCES)
    assert greedy.truncated == beam.truncated == len(SOURCES)
    other = [["▁z", *tokens] for tokens in longer]
    greedy, beam = compare(short, lambda texts, beam: other, SOURCES)
    assert (greedy.truncated, len(greedy.differences)) == (0, len(SOURCES))
    assert beam.truncated == len(SOURCES)  # the hypotheses of a truncated beam cannot be compared


def test_sample_sources(bundle):
    assert sample_sources(bundle)[0] == [sample["source"] for sample in bundle.samples]
    random, description = sample_sources(load_bundle(PRE_NORM))
    assert random == sample_sources(load_bundle(PRE_NORM))[0]
    assert all(text.strip() for text in random)
    assert "random" in description
