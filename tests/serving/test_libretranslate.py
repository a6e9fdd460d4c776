"""LibreTranslate's API, tested with the client from PyPI and with fields that it does not send."""

from __future__ import annotations

from urllib.error import HTTPError

import pytest
import requests
from libretranslatepy import LibreTranslateAPI

from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving


def test_the_client_translates(address, translator):
    client = LibreTranslateAPI(address)
    assert client.translate("a b c", "aa", "bb") == translator.translate(["a b c"])[0].text
    assert client.translate("a b c", "AUTO", "bb") == translator.translate(["a b c"])[0].text


def test_the_client_lists_and_detects_languages(address):
    languages = LibreTranslateAPI(address).languages()
    found = [(language["code"], language["targets"]) for language in languages]
    assert found == [("aa", ["bb", "cc"]), ("bb", ["cc"]), ("cc", [])]
    assert LibreTranslateAPI(address).detect("a b c")[0]["language"] in ("aa", "bb")


def test_the_client_receives_error_messages(address):
    with pytest.raises(HTTPError) as raised:
        LibreTranslateAPI(address).translate("a b", "aa", "xx")
    assert raised.value.code == 400
    assert raised.value.read() == b'{"error":"xx is not supported"}'


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
        ({"source": "aa", "target": "bb"}, "Invalid request: missing q parameter"),
        ({"q": None, "source": "aa", "target": "bb"}, "Invalid request: missing q parameter"),
        ({"q": "a", "target": "bb"}, "Invalid request: missing source parameter"),
        ({"q": "a", "source": "aa"}, "Invalid request: missing target parameter"),
        ({"q": "a", "source": "zz", "target": "bb"}, "zz is not supported"),
        ({"q": "a", "source": "auto", "target": "auto"}, "auto is not supported"),
        ({"q": "a", "source": "cc", "target": "aa"}, "no model translates cc to aa"),
        ({"q": "a", "source": "aa", "target": "bb", "format": "pdf"}, "pdf format is not supported"),
        ({"q": "a", "source": "aa", "target": "bb", "alternatives": True}, "alternatives: must be a number"),
        ({"q": "a", "source": "aa", "target": "bb", "alternatives": "x"}, "alternatives: must be a whole number"),
        ({"q": "a" * 20_001, "source": "aa", "target": "bb"}, "request (20001) exceeds text limit (20000)"),
    ],
)
def test_invalid_requests_are_400_with_a_message(post, body, message):
    response = post("/translate", **body)
    assert response.status_code == 400
    assert message in response.json()["error"]


def test_a_repeated_form_field_is_a_list(address, translator):
    """As `libretranslate-aio` sends lists; also as axios and PHP do."""
    texts = ["a b c", "", "h g"]
    expected = [found.text for found in translator.translate(texts)]
    for name in ("q", "q[]"):
        form = [*((name, text) for text in texts), ("source", "auto"), ("target", "bb"), ("alternatives", "1")]
        answer = requests.post(f"{address}/translate", data=form, timeout=300).json()
        assert answer["translatedText"] == expected
        assert len(answer["detectedLanguage"]) == len(answer["alternatives"]) == 3
    single = requests.post(f"{address}/translate", data={"q": "a", "source": "aa", "target": "bb"}, timeout=300)
    assert isinstance(single.json()["translatedText"], str)


def test_fields_may_be_in_the_query_string(address, translator):
    query = {"q": ["a b", "c d"], "source": "aa", "target": "bb"}
    answer = requests.post(f"{address}/translate", params=query, timeout=300).json()
    assert answer == {"translatedText": [found.text for found in translator.translate(["a b", "c d"])]}
    assert requests.post(f"{address}/detect", params={"q": "a b"}, timeout=300).status_code == 200


def test_json_needs_its_content_type(address):
    """A page of another site can send text/plain without asking the browser for permission."""
    body = b'{"q": "a", "source": "aa", "target": "bb"}'
    for media_type, status in (("application/json; charset=utf-8", 200), ("text/plain", 415), (None, 415)):
        headers = {"Content-Type": media_type} if media_type else {}
        response = requests.post(f"{address}/translate", data=body, headers=headers, timeout=300)
        assert response.status_code == status


def test_null_fields_count_as_omitted(post):
    """As `libretranslate-ts` sends a missing key, and other clients missing options."""
    body = {"q": "a b", "source": "aa", "target": "bb", "api_key": None, "alternatives": None, "format": None}
    assert set(post("/translate", **body).json()) == {"translatedText"}


def test_the_key_is_accepted_as_the_npm_package_spells_it(registry, tmp_path):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna")
    with serving(registry, ServerSettings(keys=file, threads=1)) as address:
        for name, value, status in (("apiKey", secret, 200), ("api_key", secret, 200), ("apiKey", "wrong", 403)):
            body = {"q": "a b", "source": "aa", "target": "bb", name: value}
            assert requests.post(f"{address}/translate", json=body, timeout=300).status_code == status


def test_suggestions_are_refused(post):
    response = post("/suggest", q="a", s="b", source="aa", target="bb")
    assert (response.status_code, response.json()) == (403, {"error": "Suggestions are disabled on this server."})


def test_the_description_of_the_api_is_at_spec(address):
    assert "/translate" in requests.get(f"{address}/spec", timeout=300).json()["paths"]
    assert requests.post(f"{address}/spec", timeout=300).status_code == 405


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
