"""DeepL's API, tested with DeepL's own client from PyPI."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace

import deepl
import pytest
import requests

from allyouneed import Translator
from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.apis.deepl_options import with_formality
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving

SETTINGS = ServerSettings(threads=1, seconds=300)


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
    with pytest.raises(deepl.DeepLException, match=r"target_lang.*not supported"):
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


def test_fields_and_the_key_may_be_in_the_query_string_or_the_form(registry, tmp_path):
    file = tmp_path / "keys.json"
    secret = add_key(file, "anna")
    fields = {"text": ["a b", "c d"], "target_lang": "BB", "source_lang": "AA", "auth_key": secret}
    glossary = {"name": "n", "source_lang": "aa", "target_lang": "bb", "entries": "a\tb", "auth_key": secret}
    query = {"auth_key": secret}
    with serving(registry, ServerSettings(keys=file, threads=1)) as address:

        def status(method, path, **sent):
            return requests.request(method, address + path, timeout=300, **sent).status_code

        assert status("POST", "/v2/translate", data=fields) == 200
        assert status("POST", "/v2/translate", params=fields) == 200
        assert status("POST", "/v2/translate", data=fields | {"auth_key": "wrong"}) == 403
        assert status("POST", "/v2/glossaries", data=glossary) == 201
        for path in ("/v2/usage", "/v2/languages", "/v2/glossaries", "/v3/languages?resource=glossary"):
            assert status("GET", path, params=query) == 200
            assert status("GET", path) == 403
        assert status("POST", "/v2/languages", data={"type": "target", **query}) == 200
        assert status("POST", "/v2/usage", data=query) == 200
        upload = {"file": ("a.txt", b"a b")}
        del fields["text"]
        sent = requests.post(f"{address}/v2/document", data=fields, files=upload, timeout=300).json()
        access = {"document_key": sent["document_key"], **query}
        assert status("POST", f"/v2/document/{sent['document_id']}", data=access) == 200


OPTIONS = {
    "formality": ("Less", "more", "invalid", True),
    "split_sentences": ("2", "invalid", True, 1.5),
    "tag_handling": ("XML", "json"),
    "tag_handling_version": ("v3",),
    "outline_detection": ("maybe",),
    "preserve_formatting": ("maybe",),
    "model_type": ("best",),
    "style_id": ("7ff9bfd6-cd85-4190-8503-d6215a321519",),
    "translation_memory_id": ("a74d88fb-ed2a-4943-a664-a4512398b994",),
    "translation_memory_threshold": (75, True, 101),
    "custom_instructions": (["Be concise"], "Be concise"),
    "glossary_id": (7,),
    "text": (None, 7, [None], []),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in OPTIONS.items() for value in values])
def test_options_that_would_change_the_result_are_refused(post, name, value):
    body = {"text": ["a b"], "source_lang": "AA", "target_lang": "BB", name: value}
    response = post("/v2/translate", **body)
    assert response.status_code == 400
    assert name in response.json()["message"]


@pytest.mark.parametrize(
    "options",
    [
        {"formality": "prefer_more"},
        {"formality": "DEFAULT"},
        {"split_sentences": 0},
        {"split_sentences": "1", "preserve_formatting": "0", "outline_detection": "0"},
        {"custom_instructions": [], "style_id": None, "enable_beta_languages": True, "context": "x"},
        {"ignore_tags": "a,b", "splitting_tags": ["c"], "debug": "1"},
        {"source_lang": "", "model_type": "quality_optimized"},
    ],
)
def test_options_that_are_supported_or_without_effect_are_accepted(post, options):
    assert post("/v2/translate", **{"text": "a b", "source_lang": "AA", "target_lang": "BB", **options}).ok


def test_the_type_of_model_decides_the_search(post, translator):
    texts = ["a b c d e", "h g f", "c c b a"]
    body = {"text": texts, "source_lang": "AA", "target_lang": "BB"}
    for model_type, used, beam_size in (
        ("latency_optimized", "latency_optimized", 1),
        ("quality_optimized", "quality_optimized", None),
        ("prefer_quality_optimized", "quality_optimized", None),
    ):
        found = post("/v2/translate", model_type=model_type, **body).json()["translations"]
        assert [each["model_type_used"] for each in found] == [used] * 3
        options = {} if beam_size is None else {"beam_size": beam_size}
        assert [each["text"] for each in found] == [each.text for each in translator.translate(texts, **options)]
    assert set(post("/v2/translate", **body).json()["translations"][0]) == {"detected_source_language", "text"}


def test_line_breaks_within_sentences(post, translator):
    body = {"text": "a b\n c d", "source_lang": "AA", "target_lang": "BB"}
    options = {"split_sentences": "nonewlines", "show_billed_characters": True}
    joined = post("/v2/translate", **options, **body).json()["translations"][0]
    assert joined["text"] == translator.translate(["a b c d"])[0].text
    assert joined["billed_characters"] == len("a b\n c d")
    split = post("/v2/translate", split_sentences="1", **body).json()["translations"][0]["text"]
    assert split == "\n ".join(each.text for each in translator.translate(["a b", "c d"]))


def test_the_version_of_tag_handling_is_reported(post):
    body = {"text": "<p>a b</p>", "source_lang": "AA", "target_lang": "BB", "tag_handling": "html"}
    assert post("/v2/translate", **body).json()["translations"][0]["tag_handling_version"] == "v2"
    answer = post("/v2/translate", tag_handling_version="v1", **body).json()
    assert answer["translations"][0]["tag_handling_version"] == "v1"


@pytest.fixture(scope="module")
def formal_address(translator):
    others = [Translator(translator.bundle, inter_threads=1) for _ in range(3)]
    pairs = [("aa", "en"), ("aa", "de"), ("aa", "de-x-formal"), ("aa", "de-x-informal")]
    with serving(TranslatorRegistry(dict(zip(pairs, [translator, *others], strict=True))), SETTINGS) as address:
        yield address


def test_formality_selects_a_variety_that_is_served(formal_address):
    registry = SimpleNamespace(
        translators={("en", "de"): 0, ("en", "de-x-formal"): 0, ("en", "de-x-informal"): 0},
        resolve=lambda code: code.lower(),
    )
    expected = {"default": "de", "more": "de-x-formal", "prefer_more": "de-x-formal", "less": "de-x-informal"}
    assert {formality: with_formality(registry, "DE", formality) for formality in expected} == expected
    client = deepl.DeepLClient("any", server_url=formal_address)
    for formality in ("less", "Less", "MORE", "default", deepl.Formality.PREFER_LESS):
        assert client.translate_text("a b", source_lang="AA", target_lang="DE", formality=formality).text
    assert client.translate_text("a b", source_lang="AA", target_lang="EN-US", formality="prefer_more").text
    with pytest.raises(deepl.DeepLException, match=r"Target language.*formality"):
        client.translate_text("a b", source_lang="AA", target_lang="EN-US", formality="more")
    supported = {each.code: each.supports_formality for each in client.get_target_languages()}
    assert supported == {"DE": True, "EN-GB": False, "EN-US": False}
    document = client.translate_document_upload(
        b"a b", filename="a.txt", source_lang="AA", target_lang="DE", formality="more"
    )
    assert document.document_id


def test_languages_of_version_3(formal_address):
    found = requests.get(f"{formal_address}/v3/languages?resource=translate_text", timeout=60).json()
    by_code = {each["lang"]: each for each in found}
    assert list(by_code) == ["aa", "de", "en-GB", "en-US"]
    assert (by_code["aa"]["usable_as_source"], by_code["aa"]["usable_as_target"]) == (True, False)
    assert set(by_code["de"]["features"]) == {"formality", "glossary", "tag_handling"}
    assert set(by_code["aa"]["features"]) == {"auto_detection", "glossary", "tag_handling"}
    assert requests.get(f"{formal_address}/v3/languages?resource=write", timeout=60).json() == []
    assert requests.get(f"{formal_address}/v3/languages", timeout=60).status_code == 400
    resources = requests.get(f"{formal_address}/v3/languages/resources", timeout=60).json()
    assert [each["name"] for each in resources] == ["translate_text", "translate_document", "glossary"]


def test_products_that_are_not_offered_are_named(client, address):
    calls = [
        lambda: client.rephrase_text("a b", target_lang="BB"),
        lambda: client.create_style_rule(name="n", language="en"),
        lambda: client.get_all_style_rules(),
        lambda: client.list_translation_memories(),
    ]
    for call, name in zip(calls, ("improvement", "style rules", "style rules", "translation memories"), strict=True):
        with pytest.raises(deepl.DeepLException, match=f"Not found.*{name}.*not supported by this server"):
            call()


def test_problems_of_a_document_are_in_its_state(client):
    with pytest.raises(deepl.DeepLException, match=r"Invalid file: the file extension \.invalid"):
        client.translate_document_upload(b"a b", filename="a.invalid", target_lang="BB")
    with pytest.raises(deepl.DeepLException, match=r"target_lang.*not supported"):
        client.translate_document_upload(b"a b", filename="a.txt", target_lang="XX")
    for name, data, source, message in (
        ("a.txt", b"a b", "CC", "Source and target language are equal"),
        ("a.json", b"{", "AA", "a.json"),
    ):
        handle = client.translate_document_upload(data, filename=name, source_lang=source, target_lang="CC")
        assert re.fullmatch("[0-9A-F]{32}", handle.document_id)
        assert re.fullmatch("[0-9A-F]{64}", handle.document_key)
        status = client.translate_document_get_status(handle)
        assert (status.ok, status.done) == (False, False)
        assert message in status.error_message
        with pytest.raises(deepl.DeepLException, match="Bad request"):
            client.translate_document_download(handle, io.BytesIO())


def test_forms_with_dictionaries_are_accepted(address):
    """As DeepL's Node.js client sends glossaries."""
    form = {"name": "n"}
    for i, (source, target) in enumerate((("aa", "bb"), ("bb", "cc"))):
        prefix = f"dictionaries[{i}]."
        values = {"source_lang": source, "target_lang": target, "entries": "a\tb", "entries_format": "tsv"}
        form |= {prefix + name: value for name, value in values.items()}
    created = requests.post(f"{address}/v3/glossaries", data=form, timeout=60)
    assert created.status_code == 201
    assert [each["target_lang"] for each in created.json()["dictionaries"]] == ["bb", "cc"]
    requests.delete(f"{address}/v3/glossaries/{created.json()['glossary_id']}", timeout=60)
