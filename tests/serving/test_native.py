"""The native API: hypotheses, word scores and positions, constraints, intermediate languages, and streaming."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
import requests

from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.translation.options import SearchOptions, option_of
from allyouneed.translation.scoring import score_pairs, word_log_probabilities
from allyouneed.translation.sentence import TranslatedSentence
from tests.serving.conftest import serving


def only_translation(response: requests.Response) -> dict:
    assert response.status_code == 200, response.text
    [translation] = response.json()["translations"]
    return translation


def test_words_have_positions_scores_and_alignment(post, translator):
    text = "a b c.\n\n  d e f"
    found = only_translation(
        post("/api/translate", q=text, source="aa", target="bb", words=True, beam_size=4, num_hypotheses=2)
    )
    expected = [t.text for t in translator.translate(["a b c.", "d e f"], beam_size=4)]
    assert found["text"] == "\n\n  ".join(expected)
    for sentence, source, target in zip(found["sentences"], ("a b c.", "d e f"), expected, strict=True):
        assert text[slice(*sentence["source"])] == source
        assert found["text"][slice(*sentence["target"])] == target
        assert [found["text"][slice(*word["place"])] for word in sentence["words"]] == target.split()
        assert all(word["log_probability"] <= 0 for word in sentence["words"])
        assert sentence["hypotheses"][0]["text"] == target
        for link in sentence["alignment"]:
            assert text[slice(*link["source"])] in source.split()
            assert found["text"][slice(*link["target"])] in target.split()


def test_positions_count_code_points(post):
    found = only_translation(post("/api/translate", q="😀 a b", source="aa", target="bb", words=True))
    assert found["sentences"][0]["source"] == [0, 5]


def test_a_prefix_begins_the_translation(post):
    for prefix in ("h", "f g"):
        found = only_translation(
            post("/api/translate", q="a b c d", source="aa", target="bb", target_prefix=prefix, beam_size=3)
        )
        assert found["text"].startswith(prefix)
        assert math.isfinite(found["sentences"][0]["score"])


def test_problems_and_unchanged_sentences_are_listed(post, monkeypatch):
    body = {"source": "aa", "target": "bb"}
    forced = only_translation(post("/api/translate", q="?", force_words=["f"], **body))
    assert forced["text"] == "?"
    assert forced["problems"] == ["There is nothing to translate, so “f” is missing."]
    prefixed = only_translation(post("/api/translate", q="a {x} b", target_prefix="h", **body))
    assert prefixed["problems"] == ["“{x}” is missing in the translation, because of its prefix."]
    monkeypatch.setattr("allyouneed.serving.queue.model_worker.translate_sentences", _copied)
    for text_format, text in (("text", "a b.\n%s"), ("html", "<p>a b.</p>")):
        unchanged = only_translation(post("/api/translate", q=text, format=text_format, **body))
        assert unchanged["text"] == text
        assert unchanged["problems"] == ["“a b.” is unchanged in the translation."]


def _copied(translator, sentences, *_):
    return [TranslatedSentence(each.text, each.kept) for each in sentences]


def test_forced_words_are_in_the_translation(post):
    body = {"q": "a b c. d", "source": "aa", "target": "bb", "force_words": ["h g", "f"], "beam_size": 4}
    found = only_translation(post("/api/translate", **body))
    assert len(found["sentences"]) == 1
    assert all(words in found["text"] for words in body["force_words"])


def test_diverse_beam_search_and_coverage(post, translator):
    options = {"beam_size": 4, "num_hypotheses": 4, "num_beam_groups": 4, "diversity_penalty": 3.0}
    options |= {"coverage_penalty": 0.2}
    found = only_translation(post("/api/translate", q="a b c", source="aa", target="bb", **options))
    [expected] = translator.translate(["a b c"], **options)
    texts = [hypothesis["text"] for hypothesis in found["sentences"][0]["hypotheses"]]
    assert texts == [text for text, _ in expected.hypotheses]


def test_a_pair_without_a_model_is_translated_over_a_third_language(post, translator):
    found = only_translation(post("/api/translate", q="a b c d", source="aa", target="cc", words=True))
    middle = translator.translate(["a b c d"])[0].text
    assert found["text"] == translator.translate([middle])[0].text


@pytest.mark.parametrize("target", ["bb", "cc"])
def test_streamed_texts_grow_to_the_translation(address, post, target):
    body = {"q": "a b c d e\nf g", "source": "aa", "target": target}
    with requests.post(f"{address}/api/stream", json=body, stream=True, timeout=300) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [event.split("\n") for event in response.text.strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in events]
    texts = [json.loads(data.removeprefix("data: "))["text"] for _, data in events]
    assert set(names[:-1]) == {"word"}
    assert names[-1] == "done"
    assert len(texts) > 4
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    if target == "bb":
        assert texts[-1] == only_translation(post("/api/translate", **body, beam_size=1))["text"]


def test_an_invalid_stream_request_is_an_error(post):
    response = post("/api/stream", q="a", source="aa", target="xx")
    assert response.status_code == 400
    assert "not supported" in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"q": "a", "source": "aa", "target": "bb", "beem_size": 3}, 400, "beem_size"),
        ({"q": "a", "source": "aa", "target": "bb", "beam_size": 99}, 400, "beam_size"),
        ({"q": "a", "source": "aa", "target": "bb", "beam_size": 2, "num_hypotheses": 3}, 400, "num_hypotheses"),
        ({"q": "a", "source": "aa", "target": "bb", "beam_size": 4, "num_beam_groups": 3}, 400, "num_beam_groups"),
        ({"q": "a" * 20_001, "source": "aa", "target": "bb"}, 413, "20,001"),
        ({"q": " ".join("a" * 90), "source": "aa", "target": "bb", "target_prefix": "a"}, 400, "tokens"),
    ],
)
def test_invalid_requests_are_rejected(post, body, status, message):
    response = post("/api/translate", **body)
    assert response.status_code == status
    assert message in response.json()["error"]


def test_an_html_file_is_translated(address):
    files = {"file": ("page.html", b"<p>a <b>b</b></p>")}
    form = {"source": "aa", "target": "bb"}
    state = requests.post(f"{address}/api/documents", files=files, data=form, timeout=300).json()
    while state["status"] not in ("done", "error"):
        state = requests.get(f"{address}/api/documents/{state['id']}", timeout=300).json()
    translated = requests.get(address + state["url"], timeout=300)
    assert translated.text.startswith("<p>")
    assert "<b>" in translated.text
    assert translated.headers["x-content-type-options"] == "nosniff"
    assert requests.delete(f"{address}/api/documents/{state['id']}", timeout=300).status_code == 204
    assert requests.get(address + state["url"], timeout=300).status_code == 404


def test_the_explorer_opens(address):
    form = {"q": "a b c", "source": "aa", "target": "bb"}
    page = requests.post(f"{address}/look", data=form, timeout=300)
    assert page.status_code == 200
    assert page.text.lstrip().lower().startswith("<!doctype html>")
    assert "a b c" in page.text
    assert requests.post(f"{address}/look", data={**form, "target": "cc"}, timeout=300).status_code == 400


def test_search_options_are_derived_from_their_declaration(post, translator, address):
    document = requests.get(f"{address}/openapi.json", timeout=300).json()
    content = document["paths"]["/api/translate"]["post"]["requestBody"]["content"]
    properties = content["application/json"]["schema"]["properties"]
    for name, field in SearchOptions.model_fields.items():
        if option_of(name).group == "Speed":  # set by the server
            assert name not in properties
        else:
            assert properties[name]["description"] == field.description
    for options in ({"no_repeat_ngram_size": 1, "beam_size": 3}, {"suppress_sequences": ["h", "g"]}):
        found = only_translation(post("/api/translate", q="a b c d", source="aa", target="bb", **options))
        assert found["text"] == translator.translate("a b c d", **options).text


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"beem_size": 3}, "beem_size: unknown field"),
        ({"beam_size": 99}, "beam_size: must be at most 16"),
        ({"beam_size": 0}, "beam_size: must be at least 1"),
        ({"beam_size": True}, "beam_size: must be a number"),
        ({"beam_size": 1.5}, "beam_size: must be a whole number"),
        ({"length_penalty": "x"}, "length_penalty: must be a number"),
        ({"words": "x"}, "words: must be true or false"),
        ({"suppress_sequences": "a"}, "suppress_sequences: must be a list"),
        ({"suppress_sequences": ["a"] * 101}, "suppress_sequences: must have at most 100 items"),
        ({"force_words": ["a", 5]}, "force_words.1: must be a string"),
        ({"target_prefix": "a" * 1001}, "target_prefix: must have at most 1000 characters"),
        ({"format": "pdf"}, "format: must be 'text' or 'html'"),
        (
            {"format": "html", "target_prefix": "h", "force_words": ["f"], "words": True},
            "target_prefix, force_words, words: not available with format=html; send plain text",
        ),
        (
            {"format": "html", "num_hypotheses": 2, "beam_size": 2},
            "num_hypotheses: not available with format=html; send plain text",
        ),
        ({"q": 5}, "q: must be a string or a list"),
        ({"q": ["a", 5]}, "q.1: must be a string"),
        ({"q": "a\ud800"}, "q: not valid Unicode: unpaired surrogate"),
    ],
)
def test_validation_messages_are_plain(post, fields, message):
    response = post("/api/translate", **{"q": "a", "source": "aa", "target": "bb", **fields})
    assert (response.status_code, response.json()) == (400, {"error": message})


@pytest.mark.parametrize("body", [[], "text", 3])
def test_a_body_that_is_not_an_object_is_rejected(address, body):
    response = requests.post(f"{address}/api/translate", json=body, timeout=300)
    assert (response.status_code, response.json()) == (400, {"error": "the body: must be a JSON object"})


def test_a_byte_order_mark_before_json_is_ignored(address, post):
    body = '{"q": "a b", "source": "aa", "target": "bb"}'.encode("utf-8-sig")
    response = requests.post(f"{address}/translate", body, headers={"Content-Type": "application/json"}, timeout=300)
    assert response.json() == post("/translate", q="a b", source="aa", target="bb").json()


def test_white_space_between_words_is_a_space_to_the_model(post):
    """A no-break space, a soft hyphen and a byte-order mark would be unknown characters."""
    expected = post("/translate", q="a b c", source="aa", target="bb").json()["translatedText"]
    for text in ("a\u00a0b c", "a\u202fb\u2009c", "a b\u00ad c"):
        assert post("/translate", q=text, source="aa", target="bb").json()["translatedText"] == expected
    marked = post("/translate", q="\ufeffa b c", source="aa", target="bb").json()["translatedText"]
    assert marked == f"\ufeff{expected}"
    found = only_translation(post("/api/translate", q="a\u00a0b c", source="aa", target="bb", words=True))
    assert found["sentences"][0]["source"] == [0, 5]
    assert all(0 <= start < end <= 5 for each in found["sentences"][0]["alignment"] for start, end in [each["source"]])


def test_whole_floats_are_integers(post):
    body = {"q": "a b", "source": "aa", "target": "bb"}
    responses = [post("/api/translate", **body, beam_size=size) for size in (2, 2.0)]
    assert [each.status_code for each in responses] == [200, 200]
    assert responses[0].json() == responses[1].json()


def alternatives(post, **body) -> list[dict]:
    response = post("/api/alternatives", source="aa", target="bb", **body)
    assert response.status_code == 200, response.text
    return response.json()["alternatives"]


def test_alternatives_report_missing_terms_of_a_glossary(post):
    dictionary = {"source_lang": "aa", "target_lang": "bb", "entries": "d\tQQ", "entries_format": "tsv"}
    glossary = post("/v3/glossaries", name="letters", dictionaries=[dictionary]).json()["glossary_id"]
    options = {"q": "c d e f", "glossary_ids": [glossary]}
    missing = ["“QQ” is missing in the translation, because of its prefix."]
    assert [each["problems"] for each in alternatives(post, **options, num_hypotheses=2)] == [missing] * 2
    assert [each["problems"] for each in alternatives(post, **options, target_prefix="QQ", num_hypotheses=2)] == [
        []
    ] * 2
    assert [each["problems"] for each in alternatives(post, q="c d e f", num_hypotheses=2)] == [[]] * 2
    response = post("/api/alternatives", source="aa", target="bb", q="c", glossary_ids=["none"])
    assert response.status_code == 404


def test_alternatives_are_the_most_likely_words_after_a_prefix(post, translator):
    best = translator.translate("c d e f").text.split()
    found = alternatives(post, q="c d e f", target_prefix=best[0], num_hypotheses=4)
    assert 1 < len(found) <= 4
    assert best[1] in [each["word"] for each in found]
    assert len({each["word"] for each in found}) == len(found)
    assert [each["log_probability"] for each in found] == sorted(
        (each["log_probability"] for each in found), reverse=True
    )
    for each in found:
        words = [each["text"][slice(*word["place"])] for word in each["words"]]
        assert words == each["text"].split()
        assert words[:2] == [best[0], each["word"]] if each["word"] else words == [best[0]]
        [scored] = score_pairs(translator, ["c d e f"], [each["text"]])
        expected = word_log_probabilities(scored)
        assert [word["log_probability"] for word in each["words"]] == pytest.approx(expected, abs=1e-4)
        position = scored.log_probs[-1] if not each["word"] else expected[1]
        assert each["log_probability"] == pytest.approx(position, abs=1e-3)


def test_alternatives_have_positions_in_the_given_texts(post):
    text = "\n c d e f \n"
    for each in alternatives(post, q=text):
        assert text[slice(*each["source"])] == "c d e f"
        for link in each["alignment"]:
            assert text[slice(*link["source"])] in "cdef"
            assert each["text"][slice(*link["target"])] in each["text"].split()


def test_alternatives_through_another_language_are_those_of_the_last_model(post, translator):
    pivot = translator.translate("c d e f").text
    through = post("/api/alternatives", q="c d e f", source="aa", target="cc", target_prefix="").json()
    direct = post("/api/alternatives", q=pivot, source="bb", target="cc", target_prefix="").json()
    assert [each["text"] for each in through["alternatives"]] == [each["text"] for each in direct["alternatives"]]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"q": " \n"}, "one sentence"),
        ({"q": "a", "num_hypotheses": 11}, "num_hypotheses"),
        ({"q": "a", "beam_size": 17}, "beam_size"),
        ({"q": "a", "unknown": 1}, "unknown"),
        ({"q": "a b " * 4000}, "tokens"),
    ],
)
def test_wrong_requests_for_alternatives_are_rejected(post, body, message):
    response = post("/api/alternatives", source="aa", target="bb", **body)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_glossary_applies_to_the_native_api(post, address):
    dictionary = {"source_lang": "aa", "target_lang": "bb", "entries": "d\tQQ", "entries_format": "tsv"}
    created = post("/v3/glossaries", name="Letters", dictionaries=[dictionary])
    identifier = created.json()["glossary_id"]
    body = {"q": "c d", "target": "bb", "glossary_ids": [identifier]}
    try:
        assert "QQ" in only_translation(post("/api/translate", source="aa", **body))["text"]
        assert post("/api/translate", source="auto", **body).status_code == 400
        assert post("/api/translate", source="aa", target_prefix="c", **body).status_code == 400
    finally:
        requests.delete(f"{address}/v3/glossaries/{identifier}", timeout=60)


def test_a_language_that_is_not_served_is_reported(translator):
    registry = TranslatorRegistry({("de", "en"): translator})
    with serving(registry, ServerSettings(threads=1, seconds=300)) as address:
        body = {"q": "Il gatto dorme sul divano e non vuole uscire con questo tempo.", "target": "en"}
        response = requests.post(f"{address}/api/translate", json=body, timeout=60)
    assert response.status_code == 400
    assert response.json()["detected"]["language"] == "it"
    assert response.json()["detected"]["certain"]
