"""The measures of docs/security.md that concern all routes, and the table itself."""

from __future__ import annotations

import ast
import json
import logging
import re
import socket
import threading
import time
from pathlib import Path

import pytest
import requests

from allyouneed.serving.access.api_keys import add_key, read_keys
from allyouneed.serving.app import build_app
from allyouneed.serving.queue.model_worker import ModelWorker
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.telemetry import JsonFormatter
from tests.pages import read
from tests.serving.conftest import serving

# Lists that the page needs before the user enters a key, and probes.
OPEN = {
    ("get", "/languages"), ("get", "/frontend/settings"), ("get", "/api/languages"), ("get", "/health"),
    ("get", "/ready"), ("get", "/metrics"), ("get", "/spec"), ("get", "/download_file/{identifier}"),
}  # fmt: skip
BODIES = {  # valid but for the key
    "q": "a b", "text": ["a b"], "source": "aa", "target": "bb", "source_lang": "aa", "target_lang": "bb",
    "translation": "a", "candidate": ["▁c", "▁b"], "instead_of": ["▁c", "▁a"], "against": "a c", "name": "n",
    "entries": "a\tb", "document_key": "x",
}  # fmt: skip


@pytest.fixture(scope="module")
def keyed(registry, tmp_path_factory):
    """A server that requires keys: address, a secret, and the key file."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    secret = add_key(file, "anna")
    with serving(registry, ServerSettings(threads=1, keys=file, metrics_token="metrics secret")) as address:
        yield address, secret, file


def operations(address: str) -> list[tuple[str, str, dict]]:
    paths = requests.get(f"{address}/openapi.json", timeout=30).json()["paths"]
    return [(method, path, found) for path, methods in paths.items() for method, found in methods.items()]


def send(address: str, method: str, path: str, operation: dict, **arguments) -> requests.Response:
    """Send a request that is valid but for what is in it of keys and ids."""
    url = address + re.sub(r"\{\w+\}", "0" * 32, path)
    content = operation.get("requestBody", {}).get("content", {})
    media = content.get("application/json") or content.get("multipart/form-data") or {}
    schema = media.get("schema", {})
    parameters = [each for each in operation.get("parameters", []) if each["in"] == "query"]
    arguments["params"] = {each["name"]: each["schema"].get("enum", ["aa"])[0] for each in parameters}
    values = {name: BODIES[name] for name in schema.get("properties", {}) if name in BODIES}
    if "dictionaries" in schema.get("properties", {}):
        values["dictionaries"] = [{name: BODIES[name] for name in ("source_lang", "target_lang", "entries")}]
    if "multipart/form-data" in content:
        return requests.request(method, url, data=values, files={"file": ("a.txt", b"a b")}, timeout=300, **arguments)
    values.pop("text" if "q" in values else "q", None)
    return requests.request(method, url, json=values if content else None, timeout=300, **arguments)


def test_every_route_that_costs_requires_a_key(keyed):
    address, _, _ = keyed
    found = operations(address)
    assert len(found) > 25
    for method, path, operation in found:
        if (method, path) not in OPEN:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "DeepL-Auth-Key wrong"}):
                response = send(address, method, path, operation, headers=headers)
                assert response.status_code == 403, (method, path, response.text)


def test_every_route_is_documented(registry):
    """Each route is in the OpenAPI document, except pages, their files, and the document itself (/spec)."""
    app = build_app(registry, ServerSettings())
    documented = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}
    for route in documented:
        assert route[0] in {"GET", "POST", "PUT", "PATCH", "DELETE"}
    source = Path(read.__globals__["ROOT"]) / "src" / "allyouneed" / "serving"
    checked = 0
    for file in source.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        prefix = next(iter(re.findall(r'APIRouter\(prefix="([^"]+)"', text)), "")
        routes = re.findall(r'@(?:router|operations)\.(get|post|put|patch|delete)\(\s*"([^"]+)"(?!, include_in)', text)
        for method, path in routes:
            assert (method.upper(), prefix + path) in documented, file.name
        checked += len(routes)
    assert checked > 30


def test_responses_have_no_secrets(keyed):
    """Neither keys, nor their hashes, nor the key of a document that others sent."""
    address, secret, file = keyed
    headers = {"Authorization": f"Bearer {secret}"}
    hidden = {secret, read_keys(file)[0].sha256, str(file.parent), "metrics secret"}
    for method, path, operation in operations(address):
        if "text/event-stream" not in json.dumps(operation):
            response = send(address, method, path, operation, headers=headers)
            assert response.status_code < 500, (method, path, response.text)
            assert [text for text in hidden if text in response.text] == [], path
            assert secret not in json.dumps(dict(response.headers))


def test_errors_reveal_nothing_of_the_server(address):
    for method, path, body in [
        ("POST", "/translate", b"{"), ("POST", "/translate_file", b"x"), ("GET", "/download_file/..%2f..%2fetc", None),
        ("GET", "/static/..%2fapp.py", None), ("GET", "/static/%00", None), ("GET", "/static//etc/passwd", None),
        ("GET", "/api/documents/%f0%9f%98%80", None), ("DELETE", "/v2/glossaries/..", None),
        ("GET", "/v2/glossaries/%2e%2e", None),
    ]:  # fmt: skip
        response = requests.request(method, address + path, data=body, timeout=30)
        assert 400 <= response.status_code < 500, path
        assert not re.search(r"Traceback|File \"|site-packages|/home/|/tmp/|\.py\b", response.text), path
        assert "server" not in {name.lower() for name in response.headers} or "uvicorn" in response.headers["server"]


XXE = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "{}">]><a>a b &x; c</a>"""


def test_documents_cannot_make_the_server_connect_or_read_files(address, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the content of a file")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        texts = [XXE.format(url), XXE.format(secret.as_uri()), f'<a href="{url}"><img src="{url}"/>a b</a>']
        for text in texts:
            files = {"file": ("a.xml", text.encode())}
            form = {"source": "aa", "target": "bb"}
            answer = requests.post(f"{address}/translate_file", files=files, data=form, timeout=300)
            if answer.ok:
                answer = requests.get(answer.json()["translatedFileUrl"], timeout=30)
            assert "the content of a file" not in answer.text
            body = {"text": [text], "source_lang": "aa", "target_lang": "bb", "tag_handling": "xml"}
            assert "the content of a file" not in requests.post(f"{address}/v2/translate", json=body, timeout=300).text
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize(
    ("path", "media_type"), [("/translate", "application/json"), ("/translate_file", "multipart/form-data; boundary=x")]
)
def test_a_client_that_leaves_is_one_line_in_the_log(registry, caplog, path, media_type):
    caplog.set_level(logging.INFO)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: 100\r\n\r\n--x"
    with serving(registry, ServerSettings(threads=1)) as address:
        caplog.clear()
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode())
            time.sleep(0.1)
        deadline = time.monotonic() + 30
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
        lines = [JsonFormatter().format(record) for record in caplog.records]
        metrics = requests.get(f"{address}/metrics", timeout=30).text
        assert f'allyouneed_requests_total{{route="{path}",status="499"}} 1.0' in metrics
    assert len(lines) == 1
    assert json.loads(lines[0])["status"] == 499
    assert "Traceback" not in lines[0]


@pytest.mark.parametrize("path", ["/translate", "/api/stream", "/look", "/translate_file"])
def test_a_client_that_leaves_during_its_translation_is_one_line_in_the_log(registry, caplog, monkeypatch, path):
    caplog.set_level(logging.INFO)
    work, started, has_left = ModelWorker.work, threading.Event(), threading.Event()

    def wait(*arguments):
        started.set()
        has_left.wait(60)
        return work(*arguments)

    monkeypatch.setattr(ModelWorker, "work", wait)
    form = {"q": (None, "a b c"), "source": (None, "aa"), "target": (None, "bb"), "file": ("a.txt", b"a b c")}
    form.pop("q" if path == "/translate_file" else "file")
    request = requests.Request("POST", f"http://localhost{path}", files=form).prepare()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with serving(registry, ServerSettings(threads=1, seconds=300)) as address:
        caplog.clear()
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode() + request.body)
            assert started.wait(60)
        has_left.set()
        deadline = time.monotonic() + 30
        while not caplog.records and time.monotonic() < deadline:
            time.sleep(0.01)
        requests.get(f"{address}/health", timeout=30)
        lines = [record for record in caplog.records if "/health" not in str(getattr(record, "log_fields", ""))]
    lines = [record for record in lines if not record.name.startswith("uvicorn")]
    assert [record.log_fields["status"] for record in lines] == [499]
    assert [record for record in caplog.records if record.exc_info] == []


def test_the_tests_of_the_page_exist():
    folder = Path(__file__).parent
    named = re.findall(r"`((?:..\/documents\/)?test_\w+\.py)(?:::(test_\w+))?`", read("docs/security.md"))
    assert len(named) > 25
    for file, test in named:
        tree = ast.parse((folder / file).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert not test or test in names, f"{file}::{test}"
