"""Forced words: every translation contains them and is the most likely such translation."""

import pytest

from allyouneed import Translator, UserError
from allyouneed.translation.beam_search import beam_search
from allyouneed.translation.forced import PhraseProgress, forced_beam_search
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.search import LengthPenalty
from tests.translation.test_search import SOURCES, exhaustive, model  # noqa: F401

PHRASES = [[[4]], [[5, 6]], [[6], [4, 4]]]
TEXTS = ["a b c", "h g", "d e f a", "b"]


def contains(ids: list[int], phrase: list[int]) -> bool:
    return any(ids[i : i + len(phrase)] == phrase for i in range(len(ids)))


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_wide_beam_finds_the_best_translation_with_the_phrases(model, alpha):  # noqa: F811
    found = forced_beam_search(model, SOURCES, [4] * 3, 120, LengthPenalty(alpha), PHRASES, num_hypotheses=3)
    for row, (hypotheses, phrases) in enumerate(zip(found, PHRASES, strict=True)):
        source = SOURCES[row][SOURCES[row] != 0]
        expected = [
            (score, ids) for score, ids in exhaustive(model, source, 4, alpha) if all(contains(ids, p) for p in phrases)
        ]
        assert [one.ids for one in hypotheses] == [ids for _, ids in expected[:3]]
        assert [one.score for one in hypotheses] == pytest.approx([score for score, _ in expected[:3]], abs=1e-4)


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_every_beam_generates_the_phrases(model, beam_size):  # noqa: F811
    found = forced_beam_search(model, SOURCES, [8] * 3, beam_size, LengthPenalty(0.6), PHRASES, beam_size)
    for hypotheses, phrases in zip(found, PHRASES, strict=True):
        assert hypotheses
        assert all(contains(one.ids, phrase) for one in hypotheses for phrase in phrases)


def test_without_phrases_it_is_an_ordinary_beam_search(model):  # noqa: F811
    plain = beam_search(model, SOURCES, [6] * 3, 4, LengthPenalty(0.6), 4)
    found = forced_beam_search(model, SOURCES, [6] * 3, 4, LengthPenalty(0.6), [[], [], []], 4)
    for expected, hypotheses in zip(plain, found, strict=True):
        assert hypotheses[0].ids == expected[0].ids
        assert hypotheses[0].score == pytest.approx(expected[0].score, abs=1e-5)


def test_a_phrase_that_is_broken_off_does_not_count():
    phrases = [[1, 2, 3], [1, 4]]
    progress = PhraseProgress().after(1, phrases).after(2, phrases)
    assert (progress.count(phrases), progress.next_tokens(phrases)) == (2, {3})
    assert progress.after(9, phrases) == PhraseProgress()
    assert progress.after(1, phrases).next_tokens(phrases) == {2}
    complete = progress.after(3, phrases)
    assert (complete.count(phrases), complete.next_tokens(phrases)) == (3, {1})
    assert complete.after(1, phrases).after(4, phrases).count(phrases) == 5


@pytest.mark.parametrize("beam_size", [1, 4])
def test_texts(toy_run, beam_size):
    translator = Translator.load(toy_run)
    forced = [["h"], [], ["c c", "b"], ["a"]]
    found = translator.translate(TEXTS, beam_size=beam_size, force_words=forced)
    for one, words in zip(found, forced, strict=True):
        assert all(word in one.text for word in words), one.text
    assert found[1].text == translator.translate(TEXTS[1:2], beam_size=beam_size, force_words=[[]])[0].text


def test_together_with_other_constraints(toy_run):
    translator = Translator.load(toy_run)
    [one] = translator.translate(
        ["a b c d"],
        beam_size=4,
        force_words=[["h"]],
        target_prefix=["g"],
        min_decoding_length=5,
        no_repeat_ngram_size=2,
    )
    assert one.text.startswith("g")
    assert "h" in one.text
    assert len(one.tokens) >= 5


def test_a_suppressed_word_cannot_be_forced(toy_run):
    translator = Translator.load(toy_run)
    options = SearchOptions(beam_size=3, suppress_sequences=("h",), max_decoding_length=6)
    [one] = translator.translate(["a b"], options, force_words=[["h"]])
    assert "h" not in one.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force_words": [["a"]]}, "got 1 for 4 texts"),
        ({"force_words": [["a"]] * 4, "num_beam_groups": 2}, "cannot be combined"),
        ({"force_words": [["a"]] * 4, "beam_size": 1, "sampling_topk": 0}, "cannot be combined"),
    ],
)
def test_impossible(toy_run, options, message):
    with pytest.raises(UserError, match=message):
        Translator.load(toy_run).translate(TEXTS, **{"beam_size": 4, **options})


def test_a_text_that_is_split_is_refused(toy_run):
    with pytest.raises(UserError, match="remove force_words"):
        Translator.load(toy_run).translate(["a b. " * 60], force_words=[["a"]])
