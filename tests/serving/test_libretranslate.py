"""LibreTranslate's API, tested with the client from PyPI and with fields that it does not send."""

from __future__ import annotations

from urllib.error import HTTPError

import pytest
import requests
from libretranslatepy import LibreTranslateAPI


def test_the_client_translates(address, translator):
    client = LibreTranslateAPI(address)
    assert client.translate("a b c", "aa", "bb") == translator.translate(["a b c"])[0].text
    assert client.translate("a b c", "AUTO", "bb") == translator.translate(["a b c"])[0].text


def test_the_client_lists_and_detects_languages(address):
    languages = LibreTranslateAPI(address).languages()
    assert [(language["code"], language["targets"]) for language in languages] == [("aa", ["bb", "cc"]), ("bb", ["cc"])]
    assert LibreTranslateAPI(address).detect("a b c")[0]["language"] in ("aa", "bb")


def test_the_client_receives_error_messages(address):
    with pytest.raises(HTTPError) as raised:
        LibreTranslateAPI(address).translate("a b", "aa", "xx")
    assert raised.value.code == 400
    assert b'"error":"xx is not supported' in raised.value.read()


def test_an_array_gives_arrays_in_order(post, translator):
    texts = ["a b c", "", "h g", "a b c"]
    answer = post("/translate", q=texts, source="auto", target="bb", alternatives=2).json()
    assert answer["translatedText"] == [found.text for found in translator.translate(texts)]
    assert len(answer["detectedLanguage"]) == len(answer["alternatives"]) == 4
    assert set(answer["detectedLanguage"][0]) == {"confidence", "language"}


def test_optional_results_are_left_out_unless_requested(post):
    assert set(post("/translate", q="a b", source="aa", target="bb").json()) == {"translatedText"}


def test_the_same_language_returns_the_text_unchanged(post):
    assert post("/translate", q="a b", source="aa", target="aa").json() == {"translatedText": "a b"}


def test_html_keeps_its_tags(post):
    html = "<ul>\n<li>a <b>b c</b></li>\n<li><br></li></ul><script>a < b</script>"
    answer = post("/translate", q=html, source="aa", target="bb", format="html").json()["translatedText"]
    assert answer.startswith("<ul>\n<li>")
    assert answer.endswith("</li>\n<li><br></li></ul><script>a < b</script>")
    assert answer.count("<b>") == answer.count("</b>") >= 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"source": "aa", "target": "bb"}, "missing q parameter"),
        ({"q": "a", "target": "bb"}, "missing source parameter"),
        ({"q": "a", "source": "aa"}, "missing target parameter"),
        ({"q": "a", "source": "cc", "target": "aa"}, "no model translates"),
        ({"q": "a", "source": "aa", "target": "bb", "format": "pdf"}, "format"),
        ({"q": "a" * 20_001, "source": "aa", "target": "bb"}, "20,001 characters"),
    ],
)
def test_invalid_requests_are_400_with_a_message(post, body, message):
    response = post("/translate", **body)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_file_is_uploaded_and_its_translation_downloaded(address, translator):
    files = {"file": ("notes.txt", b"a b c\n\n  d e\r\n")}
    form = {"source": "aa", "target": "bb"}
    url = requests.post(f"{address}/translate_file", files=files, data=form, timeout=300).json()["translatedFileUrl"]
    found = requests.get(url, timeout=300)
    first, second = (one.text for one in translator.translate(["a b c", "d e"]))
    assert found.content.decode() == f"{first}\n\n  {second}\r\n"
    assert 'filename="notes_bb.txt"' in found.headers["content-disposition"]


def test_frontend_settings(address):
    settings = requests.get(f"{address}/frontend/settings", timeout=300).json()
    assert settings["charLimit"] == 20_000
    assert settings["language"]["source"] == {"code": "aa", "name": "Afar"}
    assert ".txt" in settings["supportedFilesFormat"]
    assert requests.get(f"{address}/health", timeout=300).json() == {"status": "ok"}


def test_unknown_paths_are_404_in_json(address):
    response = requests.get(f"{address}/nothing", timeout=300)
    assert response.status_code == 404
    assert response.json() == {"error": "Not Found"}
