"""DeepL's `preserve_formatting`."""

from __future__ import annotations

import pytest

from allyouneed.serving.apis.formatting import SentencePair, preserve_formatting


@pytest.mark.parametrize(
    ("source", "translation", "language", "expected"),
    [
        ("hallo welt", "Hello world.", "en", "hello world"),
        ("Hallo Welt!", "hello world", "en", "Hello world!"),
        ("Wirklich?", "Really!", "en", "Really!"),  # the translation has an end of its own
        ("ich bin da", "I am here", "en", "I am here"),
        ("usa", "USA", "en", "USA"),
        ("proton beam", "Protonenstrahl", "de", "Protonenstrahl"),
        ("Hello:", "你好", "zh-Hans", "你好："),
        ("hello", "你好。", "zh-Hans", "你好"),
        ("...", "", "en", ""),
        ("ß und", "Sharp s and.", "en", "sharp s and"),
    ],
)
def test_initial_case_and_final_punctuation_are_those_of_the_source(source, translation, language, expected):
    pairs = [SentencePair((0, len(source)), (0, len(translation)))]
    assert preserve_formatting(source, translation, pairs, language) == expected


def test_each_sentence_has_the_formatting_of_its_own_source():
    source, translation = "Eins\n  zwei. drei", "one.\n  Two Three."
    pairs = [SentencePair((0, 4), (0, 4)), SentencePair((7, 12), (7, 10)), SentencePair((13, 17), (11, 17))]
    assert preserve_formatting(source, translation, pairs, "en") == "One\n  two. three"


def test_text_without_sentences_is_unchanged():
    assert preserve_formatting("Abc.", "abc", [], "en") == "abc"
