"""Documents and glossaries belong to the key that made them; for other keys they do not exist."""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest
import requests

from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving


class Client(NamedTuple):
    """A key's access to a server."""

    address: str
    secret: str | None

    def __call__(self, method: str, path: str, **arguments) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        return requests.request(method, self.address + path, headers=headers, timeout=300, **arguments)


@pytest.fixture(scope="module")
def clients(registry, tmp_path_factory):
    """Two keys' clients, and one without a key."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    secrets = [add_key(file, "anna"), add_key(file, "otto"), None]
    with serving(registry, ServerSettings(threads=1, keys=file)) as address:
        yield [Client(address, secret) for secret in secrets]


FILE = {"file": ("a.txt", b"a b c\n")}
PAIR = {"source": "aa", "target": "bb"}


@pytest.fixture
def document(clients):
    """A translated document of the first client: its state."""
    anna, *_ = clients
    state = anna("POST", "/api/documents", files=FILE, data=PAIR).json()
    while state["status"] not in ("done", "error"):
        time.sleep(0.02)
        state = anna("GET", f"/api/documents/{state['id']}").json()
    return state


def test_a_document_belongs_to_its_key(clients, document):
    anna, otto, nobody = clients
    path = f"/api/documents/{document['id']}"
    for method in ("GET", "DELETE"):
        assert otto(method, path).status_code == 404
        assert nobody(method, path).status_code == 403
    assert anna("GET", path).json()["status"] == "done"
    assert anna("DELETE", path).status_code == 204
    assert anna("GET", path).status_code == 404
    assert nobody("GET", document["url"]).status_code == 404


def test_an_id_is_no_link(clients, document):
    """LibreTranslate's clients fetch the link without a key; its random part is in no other response."""
    anna, otto, nobody = clients
    assert document["id"] not in document["url"]
    for client in (anna, otto, nobody):
        assert client("GET", document["url"]).status_code == 200
    by_id = f"/download_file/{document['id']}"
    assert anna("GET", by_id).status_code == 200
    for client in (otto, nobody):
        assert client("GET", by_id).status_code == 404


def test_the_link_of_libretranslate_needs_no_key(clients):
    anna, *_ = clients
    form = {**PAIR, "api_key": anna.secret}
    response = requests.post(f"{anna.address}/translate_file", files=FILE, data=form, timeout=300)
    url = response.json()["translatedFileUrl"]
    found = requests.get(url, timeout=30)
    assert found.status_code == 200
    assert found.headers["cache-control"] == "private, no-store"
    assert found.headers["content-disposition"] == 'attachment; filename="a_bb.txt"'
    assert requests.get(url[:-1] + ("x" if url[-1] != "x" else "y"), timeout=30).status_code == 404


def test_a_document_of_deepls_api_belongs_to_its_key(clients):
    anna, otto, _ = clients
    form = {"source_lang": "AA", "target_lang": "BB"}
    sent = anna("POST", "/v2/document", files=FILE, data=form).json()
    path, key = f"/v2/document/{sent['document_id']}", {"document_key": sent["document_key"]}
    for client, body in ((otto, key), (anna, {"document_key": "0" * 64})):
        for each in (path, f"{path}/result"):
            assert client("POST", each, json=body).status_code == 404
    assert otto("GET", f"/api/documents/{sent['document_id']}").status_code == 404
    while anna("POST", path, json=key).json()["status"] != "done":
        time.sleep(0.02)
    result = anna("POST", f"{path}/result", json=key)
    assert result.status_code == 200
    assert result.headers["content-disposition"] == 'attachment; filename="a_bb.txt"'


def test_a_glossary_belongs_to_its_key(clients):
    anna, otto, nobody = clients
    dictionary = {"source_lang": "aa", "target_lang": "bb", "entries": "a\tx", "entries_format": "tsv"}
    made = anna("POST", "/v2/glossaries", json={"name": "anna's", **dictionary}).json()
    identifier = made["glossary_id"]
    change = {"name": "taken"}
    query = "?source_lang=aa&target_lang=bb"
    for client, status in ((otto, 404), (nobody, 403)):
        for version in ("v2", "v3"):
            assert client("GET", f"/{version}/glossaries/{identifier}").status_code == status
            assert client("DELETE", f"/{version}/glossaries/{identifier}").status_code == status
        assert client("GET", f"/v2/glossaries/{identifier}/entries").status_code == status
        assert client("GET", f"/v3/glossaries/{identifier}/entries{query}").status_code == status
        assert client("PATCH", f"/v3/glossaries/{identifier}", json=change).status_code == status
        assert client("PUT", f"/v3/glossaries/{identifier}/dictionaries", json=dictionary).status_code == status
        assert client("DELETE", f"/v3/glossaries/{identifier}/dictionaries{query}").status_code == status
        body = {"text": ["a"], "source_lang": "AA", "target_lang": "BB", "glossary_id": identifier}
        assert client("POST", "/v2/translate", json=body).status_code == status
        form = {"source_lang": "AA", "target_lang": "BB", "glossary_id": identifier}
        assert client("POST", "/v2/document", files=FILE, data=form).status_code == status
    assert otto("GET", "/v2/glossaries").json() == {"glossaries": []}
    assert [each["name"] for each in anna("GET", "/v3/glossaries").json()["glossaries"]] == ["anna's"]


def test_a_new_key_with_an_old_name_does_not_inherit(clients, registry, tmp_path):
    file = tmp_path / "keys.json"
    settings = ServerSettings(threads=1, keys=file)
    first = add_key(file, "anna")
    with serving(registry, settings) as address:
        made = {"name": "x", "source_lang": "aa", "target_lang": "bb", "entries": "a\tx", "entries_format": "tsv"}
        assert Client(address, first)("POST", "/v2/glossaries", json=made).status_code == 201
        file.unlink()
        second = add_key(file, "anna")
        assert Client(address, second)("GET", "/v2/glossaries").json() == {"glossaries": []}
        assert Client(address, first)("GET", "/v2/glossaries").status_code == 403
