"""DeepL's API, tested with DeepL's own client from PyPI."""

from __future__ import annotations

import io

import deepl
import pytest
import requests

from allyouneed.serving.api_keys import add_key
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving


@pytest.fixture
def client(address) -> deepl.DeepLClient:
    return deepl.DeepLClient("any", server_url=address)


def test_the_client_translates(client, translator):
    result = client.translate_text("a b c", source_lang="AA", target_lang="BB")
    assert result.text == translator.translate(["a b c"])[0].text
    assert result.detected_source_lang == "AA"
    assert result.billed_characters == 5
    several = client.translate_text(["a b", "c d"], target_lang="BB", source_lang="AA")
    assert [result.text for result in several] == [result.text for result in translator.translate(["a b", "c d"])]


def test_the_client_sends_tags(client):
    found = client.translate_text(
        "<Doc>a b <X>c <Keep>Zz</Keep></X></Doc>",
        source_lang="AA",
        target_lang="BB",
        tag_handling="xml",
        ignore_tags=["keep"],
    )
    assert found.text.count("<Keep>Zz</Keep>") == 1
    assert found.text.count("<Doc>") == found.text.count("</Doc>") >= 1


def test_the_client_can_disable_sentence_splitting(client, translator):
    text = "a b. c d"
    unsplit = client.translate_text(text, source_lang="AA", target_lang="BB", split_sentences="0").text
    assert unsplit == translator.translate([text])[0].text


def test_the_client_lists_languages_and_usage(client):
    assert [language.code for language in client.get_source_languages()] == ["AA", "BB"]
    assert [language.code for language in client.get_target_languages()] == ["BB", "CC"]
    assert client.get_usage().character.valid


def test_the_client_translates_a_document(client, translator):
    handle = client.translate_document_upload(b"a b c\n", filename="a.txt", source_lang="AA", target_lang="BB")
    status = client.translate_document_get_status(handle)
    while not status.done:
        status = client.translate_document_get_status(handle)
    out = io.BytesIO()
    client.translate_document_download(handle, out)
    assert out.getvalue().decode() == translator.translate(["a b c"])[0].text + "\n"
    with pytest.raises(deepl.DeepLException, match="no such file"):  # deleted after the download
        client.translate_document_get_status(handle)


def test_the_client_receives_error_messages(client):
    with pytest.raises(deepl.DeepLException, match="Bad request, message: XX is not supported"):
        client.translate_text("a", target_lang="XX")
    with pytest.raises(deepl.DeepLException, match="glossary not found"):
        client.translate_text("a", source_lang="AA", target_lang="BB", glossary="some")
    with pytest.raises(deepl.DeepLException, match="limit is 20,000"):
        client.translate_text("a" * 20_001, source_lang="AA", target_lang="BB")


def test_keys_quota_and_usage(registry, tmp_path):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna", characters=10)
    with serving(registry, ServerSettings(keys=file, threads=1)) as address:
        client = deepl.DeepLClient(secret, server_url=address)
        client.translate_text("a b c d", source_lang="AA", target_lang="BB")
        usage = client.get_usage().character
        assert (usage.count, usage.limit) == (7, 10)
        with pytest.raises(deepl.QuotaExceededException):
            client.translate_text("a b c d", source_lang="AA", target_lang="BB")
        with pytest.raises(deepl.AuthorizationException):
            deepl.DeepLClient("wrong", server_url=address).get_usage()
    with serving(registry, ServerSettings(keys=file, threads=1)) as address:  # usage is persistent
        assert deepl.DeepLClient(secret, server_url=address).get_usage().character.count == 7


def test_forms_are_accepted(address, translator):
    form = [("text", "a b"), ("text", "c d"), ("target_lang", "bb"), ("source_lang", "aa")]
    found = requests.post(f"{address}/v2/translate", data=form, timeout=300).json()["translations"]
    assert [result["text"] for result in found] == [result.text for result in translator.translate(["a b", "c d"])]
