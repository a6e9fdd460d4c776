"""DeepL's `preserve_formatting`."""

from __future__ import annotations

import pytest
import requests

from allyouneed.serving.apis.formatting import SentencePair, format_sentence, preserve_formatting


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


@pytest.mark.parametrize(
    ("source", "translation", "expected"),
    [
        ("wait...", "Warte.", "Warte..."),
        ("Wait…", "Warte.", "Warte…"),
        ("Why?", "لماذا؟", "لماذا؟"),
        ("It is.", "यह है।", "यह है।"),
        ("It is", "यह है।", "यह है"),
    ],
)
def test_final_punctuation_of_other_scripts(source, translation, expected):
    assert format_sentence(source, translation, "de") == expected


@pytest.mark.parametrize("tags", ["xml", "html"])
def test_formatting_in_markup(address, tags):
    """What plain text becomes, its markup becomes too; the toy model's translations have no punctuation."""

    def translate(text: str, **options: object) -> str:
        body = {"text": [text], "source_lang": "AA", "target_lang": "BB", **options}
        response = requests.post(f"{address}/v2/translate", json=body, timeout=300)
        return response.json()["translations"][0]["text"]

    for sentence in ("a b c!", "A b", "a b..."):
        expected = translate(sentence, preserve_formatting=True)
        assert translate(f"<p>{sentence}</p>", preserve_formatting=True, tag_handling=tags) == f"<p>{expected}</p>"


def test_empty_fields_of_forms_are_omitted(address):
    names = ("formality", "tag_handling", "split_sentences", "preserve_formatting", "model_type", "glossary_id")
    for path, body in (
        ("/v2/translate", {"text": "a b", "target_lang": "BB", "source_lang": "AA", **dict.fromkeys(names, "")}),
        ("/translate", {"q": "a b", "source": "aa", "target": "bb", "format": "", "alternatives": "", "api_key": ""}),
    ):
        assert requests.post(address + path, data=body, timeout=300).status_code == 200
