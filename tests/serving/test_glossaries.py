"""Glossaries on the server, tested with DeepL's own client from PyPI."""

from __future__ import annotations

import json

import deepl
import pytest
import requests
from deepl.api_data import MultilingualGlossaryDictionaryEntries as Dictionary

from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.glossaries import GlossaryStore, parse_entries
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.translation.terminology.glossary import Entry
from tests.serving.conftest import serving


@pytest.fixture
def client(address) -> deepl.DeepLClient:
    return deepl.DeepLClient("any", server_url=address)


def test_the_client_manages_a_glossary(client):
    created = client.create_glossary("mine", "AA", "BB", {"a b": "d", "ü": "ß ß"})
    assert (created.name, created.source_lang, created.target_lang) == ("mine", "AA", "BB")
    assert created.entry_count == 2
    assert created.ready
    assert client.get_glossary(created.glossary_id).name == "mine"
    assert created.glossary_id in [each.glossary_id for each in client.list_glossaries()]
    assert client.get_glossary_entries(created) == {"a b": "d", "ü": "ß ß"}
    client.delete_glossary(created)
    for call in (client.get_glossary, client.get_glossary_entries, client.delete_glossary):
        with pytest.raises(deepl.GlossaryNotFoundException):
            call(created.glossary_id)


def test_the_client_creates_a_glossary_from_csv(client):
    created = client.create_glossary_from_csv("csv", "AA", "BB", 'a,b,aa,bb\n"c, c",d,aa,bb\n')
    assert client.get_glossary_entries(created) == {"a": "b", "c, c": "d"}
    client.delete_glossary(created)


def test_a_glossary_may_be_created_without_dictionaries(client):
    created = client.create_multilingual_glossary("empty", [])
    assert client.get_multilingual_glossary(created.glossary_id).dictionaries == []
    change = Dictionary("aa", "bb", {"a": "b"})
    assert len(client.update_multilingual_glossary_dictionary(created, change).dictionaries) == 1
    client.delete_multilingual_glossary(created)


def test_the_client_lists_language_pairs(client):
    pairs = {(pair.source_lang, pair.target_lang) for pair in client.get_glossary_languages()}
    assert pairs == {("aa", "bb"), ("bb", "cc"), ("aa", "cc")}


def test_the_client_manages_a_glossary_of_several_pairs(client):
    created = client.create_multilingual_glossary(
        "many", [Dictionary("aa", "bb", {"a": "b"}), Dictionary("bb", "cc", {"b": "c", "d": "e"})]
    )
    assert [each.entry_count for each in created.dictionaries] == [1, 2]
    assert created.glossary_id not in [each.glossary_id for each in client.list_glossaries()]
    assert created.glossary_id in [each.glossary_id for each in client.list_multilingual_glossaries()]
    assert client.update_multilingual_glossary_name(created, "renamed").name == "renamed"
    client.update_multilingual_glossary_dictionary(created, Dictionary("aa", "bb", {"a": "x", "c": "d"}))
    found = client.get_multilingual_glossary_entries(created, "aa", "bb").dictionaries[0].entries
    assert found == "a\tx\nc\td"
    replaced = client.replace_multilingual_glossary_dictionary(created, Dictionary("aa", "bb", {"z": "y"}))
    assert replaced.entry_count == 1
    client.delete_multilingual_glossary_dictionary(created, source_lang="bb", target_lang="cc")
    assert len(client.get_multilingual_glossary(created.glossary_id).dictionaries) == 1
    with pytest.raises(deepl.GlossaryNotFoundException):
        client.delete_multilingual_glossary_dictionary(created, source_lang="bb", target_lang="cc")
    client.delete_multilingual_glossary(created)
    with pytest.raises(deepl.GlossaryNotFoundException):
        client.get_multilingual_glossary(created.glossary_id)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"entries": "a b"}, 400, "entry 1 has 1 columns instead of 2"),
        ({"entries": "a\tb\na\tc"}, 400, 'entry 2 repeats the source term "a"'),
        ({"entries": "a\t "}, 400, "a term of entry 1 is empty"),
        ({"entries": "a\tb\u0007"}, 400, "a term of entry 1 has a control character"),
        ({"entries": "\n\n"}, 400, "there are none"),
        ({"entries": "a\t" + "ä" * 513}, 400, "has more than 1,024 bytes"),
        ({"entries": '"a\nb",c', "entries_format": "csv"}, 400, "a term of entry 1 has a control character"),
        ({"entries": '"a,' + "b,c\n" * 40_000, "entries_format": "csv"}, 400, "field larger than field limit"),
        ({"name": " "}, 400, "the name of a glossary"),
        ({"source_lang": "xx"}, 400, "no model translates xx to bb"),
        ({"source_lang": "../../x"}, 400, "no model translates"),
        ({"entries_format": "xlsx"}, 400, "entries_format"),
        ({"name": None}, 400, "name"),
    ],
)
def test_invalid_glossaries_are_refused(post, body, status, message):
    valid = {"name": "n", "source_lang": "aa", "target_lang": "bb", "entries": "a\tb", "entries_format": "tsv"}
    response = post("/v2/glossaries", **{**valid, **body})
    assert response.status_code == status
    assert message in response.json()["message"]


@pytest.mark.parametrize("identifier", ["x", "..", "%2e%2e%2fx", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_glossary_is_not_found(address, identifier):
    for version in ("v2", "v3"):
        response = requests.get(f"{address}/{version}/glossaries/{identifier}", timeout=60)
        assert response.status_code == 404
        assert "message" in response.json()


def test_a_large_glossary_is_accepted_up_to_the_limit(registry):
    with serving(registry, ServerSettings(threads=1, body_bytes=1000, glossary_bytes=5000)) as address:
        for count, status in ((250, 201), (2000, 413)):
            entries = "".join(f"term {i}\tword {i}\n" for i in range(count))
            body = {"name": "n", "source_lang": "aa", "target_lang": "bb", "entries": entries, "entries_format": "tsv"}
            assert requests.post(f"{address}/v2/glossaries", json=body, timeout=60).status_code == status


def test_glossaries_belong_to_a_key_and_outlive_the_server(registry, tmp_path):
    keys = tmp_path / "keys.json"
    secrets = [add_key(keys, name) for name in ("one", "two")]
    with serving(registry, ServerSettings(threads=1, keys=keys)) as address:
        own, other = (deepl.DeepLClient(secret, server_url=address) for secret in secrets)
        created = own.create_glossary("mine", "AA", "BB", {"a": "b"})
        assert other.list_glossaries() == []
        with pytest.raises(deepl.GlossaryNotFoundException):
            other.get_glossary(created.glossary_id)
        with pytest.raises(deepl.AuthorizationException):
            deepl.DeepLClient("wrong", server_url=address).list_glossaries()
    with serving(registry, ServerSettings(threads=1, keys=keys)) as address:
        [found] = deepl.DeepLClient(secrets[0], server_url=address).list_glossaries()
        assert found.glossary_id == created.glossary_id


def test_the_number_of_glossaries_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.serving.glossaries._MOST_GLOSSARIES", 2)
    store = GlossaryStore(tmp_path, 1000)
    for _ in range(2):
        store.create("me", "n", [(("aa", "bb"), [Entry("a", "b")])])
    with pytest.raises(ApiError, match="maximum of 2 glossaries") as caught:
        store.create("me", "n", [(("aa", "bb"), [Entry("a", "b")])])
    assert caught.value.status == 456
    assert store.create("you", "n", [(("aa", "bb"), [Entry("a", "b")])])


def test_a_repeated_pair_and_a_damaged_glossary_are_refused(tmp_path):
    store, entries = GlossaryStore(tmp_path, 1000), [Entry("a", "b")]
    with pytest.raises(ApiError, match="one dictionary for each language pair"):
        store.create("me", "n", [(("aa", "bb"), entries), (("aa", "bb"), entries)])
    stored = store.create("me", "n", [(("aa", "bb"), entries)])
    path = tmp_path / "me" / stored.glossary_id / "glossary.json"
    whole = json.loads(path.read_text())
    outside = {**whole["dictionaries"][0], "source_lang": "../../aa"}
    for content in ({"name": "n"}, {**whole, "dictionaries": [outside]}):
        path.write_text(json.dumps(content))
        with pytest.raises(ApiError, match="could not be stored or read") as caught:
            store.get("me", stored.glossary_id)
        assert caught.value.status == 503
        assert str(tmp_path) not in str(caught.value)
        assert store.all("me") == []


@pytest.mark.parametrize("content", [b"\xff\tb\n", b"a\n", b"a\tb\tc\n", None])
def test_damaged_entries_of_a_glossary_are_an_error_of_the_server(content, tmp_path):
    store, pair = GlossaryStore(tmp_path, 1000), ("aa", "bb")
    stored = store.create("me", "n", [(pair, [Entry("a", "b")])])
    table = tmp_path / "me" / stored.glossary_id / "aa_bb.tsv"
    table.unlink()
    if content is not None:
        table.write_bytes(content)
    for use in (
        lambda: store.entries("me", stored.glossary_id, pair),
        lambda: store.load("me", [stored.glossary_id], pair),
        lambda: store.update("me", stored.glossary_id, None, {pair: [Entry("c", "d")]}, True),
    ):
        with pytest.raises(ApiError, match="could not be stored or read") as caught:
            use()
        assert caught.value.status == 503
    store.delete("me", stored.glossary_id)


def test_a_full_or_read_only_disk_is_an_error_of_the_server(tmp_path):
    (tmp_path / "me").write_text("a file, not a folder")
    with pytest.raises(ApiError, match="could not be stored or read"):
        GlossaryStore(tmp_path, 1000).create("me", "n", [(("aa", "bb"), [Entry("a", "b")])])


def test_several_glossaries_are_used_in_order(tmp_path):
    store, pair = GlossaryStore(tmp_path, 1000), ("aa", "bb")
    made = [
        store.create("me", "n", [(pair, parse_entries(text, "tsv"))]).glossary_id for text in ("a\tx", "a\ty\nb\tz")
    ]
    terms = [term.target for term in store.load("me", made, pair).find("a b")]
    assert terms == ["x", "z"]
    with pytest.raises(ApiError, match="No dictionary found for language pair bb to cc"):
        store.load("me", made, ("bb", "cc"))


@pytest.fixture
def glossary(client):
    created = client.create_glossary("terms", "AA", "BB", {"a b": "g g", "c": "h"})
    yield created
    client.delete_glossary(created)


def test_the_client_translates_with_a_glossary(client, glossary):
    texts = ["a b e. c!", "d e", "f {name} c"]
    found = [each.text for each in client.translate_text_with_glossary(texts, glossary)]
    assert "g g" in found[0]
    assert "h" in found[0]
    assert found[1] == client.translate_text("d e", source_lang="AA", target_lang="BB").text
    assert found[2].count("{name}") == 1
    assert "h" in found[2].split()
    marked = client.translate_text(
        "<p>a b <b>c</b></p>", source_lang="AA", target_lang="BB", glossary=glossary, tag_handling="html"
    )
    assert "g g" in marked.text
    assert marked.text.count("<b>") == 1


def test_a_glossary_is_used_through_an_intermediate_language(client):
    created = client.create_glossary("far", "AA", "CC", {"a b": "h h h"})
    found = client.translate_text("a b c d", source_lang="AA", target_lang="CC", glossary=created)
    assert "h h h" in found.text
    client.delete_glossary(created)


def test_a_glossary_of_several_pairs_and_several_glossaries_are_used(client, glossary):
    many = client.create_multilingual_glossary("many", [Dictionary("aa", "bb", {"c": "x", "e": "f f"})])
    assert "f f" in client.translate_text("e d", source_lang="AA", target_lang="BB", glossary=many).text
    both = client.translate_text(
        "a b e c", source_lang="AA", target_lang="BB", glossary_ids=[glossary, many.glossary_id]
    )
    assert "f f" in both.text
    assert "h" in both.text.split()
    client.delete_multilingual_glossary(many)


def test_the_client_translates_a_document_with_a_glossary(client, glossary, tmp_path):
    source, output = tmp_path / "in.html", tmp_path / "out.html"
    source.write_text("<p>a b <b>c</b></p><p>d e</p>")
    status = client.translate_document_from_filepath(
        source, output, source_lang="AA", target_lang="BB", glossary=glossary
    )
    assert status.done
    assert status.billed_characters == len("a b cd e")
    assert "g g" in output.read_text()


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"glossary_id": "00000000-0000-0000-0000-000000000000"}, 404, "glossary not found"),
        ({"source_lang": None}, 400, "a glossary requires the source language"),
        ({"source_lang": "bb", "target_lang": "cc"}, 400, "No dictionary found for language pair bb to cc"),
        ({"glossary_ids": ["x"]}, 400, "both given"),
        ({"glossary_id": None, "glossary_ids": ["x"] * 6}, 400, "at most 5"),
    ],
)
def test_invalid_uses_of_a_glossary_are_refused(post, glossary, body, status, message):
    valid = {"text": ["a"], "source_lang": "aa", "target_lang": "bb", "glossary_id": glossary.glossary_id}
    response = post("/v2/translate", **{**valid, **body})
    assert response.status_code == status
    assert message in response.json()["message"]
