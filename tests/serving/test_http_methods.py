"""HEAD, OPTIONS, 404 and 405 on all routes, and the content types of all responses."""

from __future__ import annotations

import re

import pytest
import requests

from tests.pages import read

PATHS = ["/health", "/ready", "/languages", "/frontend/settings", "/api/languages", "/v2/usage", "/", "/docs"]
PATHS += ["/static/main.js", "/openapi.json", "/metrics", "/v3/glossaries"]


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_get_and_no_body(address, path):
    got, head = (requests.request(method, address + path, timeout=30) for method in ("GET", "HEAD"))
    assert got.status_code == head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # it counts the request itself
        assert head.headers["content-length"] == str(len(got.content))


def test_a_connection_is_used_on_after_head(address):
    with requests.Session() as session:
        for method in ("HEAD", "GET", "HEAD", "OPTIONS", "GET"):
            assert session.request(method, f"{address}/health", timeout=30).ok


ALLOWED = {
    "/translate": {"POST"},
    "/health": {"GET", "HEAD"},
    "/v2/glossaries": {"GET", "HEAD", "POST"},
    "/v2/glossaries/x": {"DELETE", "GET", "HEAD"},
    "/api/documents/x": {"DELETE", "GET", "HEAD"},
    "/v3/glossaries/x": {"DELETE", "GET", "HEAD", "PATCH"},
    "/": {"GET", "HEAD"},
    "/static/main.js": {"GET", "HEAD"},
}


@pytest.mark.parametrize("path", ALLOWED)
def test_options_and_405_list_the_methods_of_a_path(address, path):
    allowed = ALLOWED[path] | {"OPTIONS"}
    options = requests.options(address + path, timeout=30)
    assert options.status_code == 204
    assert set(options.headers["allow"].split(", ")) == allowed
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"} - allowed:
        response = requests.request(method, address + path, timeout=30)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == allowed
        assert list(response.json()) == ["message" if path.startswith(("/v2/", "/v3/")) else "error"]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
@pytest.mark.parametrize("path", ["/nothing", "/v2/nothing", "/v3/x/y", "/api/nothing", "/static/none.js", "/health/"])
def test_a_path_that_does_not_exist_is_404_in_the_format_of_its_api(address, method, path):
    if path.startswith("/static") and method != "GET":
        pytest.skip("the folder has no other methods")
    response = requests.request(method, address + path, timeout=30)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["message" if path.startswith(("/v2/", "/v3/")) else "error"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"), ("/docs", "text/html; charset=utf-8"), ("/languages", "application/json"),
        ("/static/main.js", "text/javascript; charset=utf-8"), ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/icon.svg", "image/svg+xml"), ("/openapi.json", "application/json"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"), ("/v2/usage", "application/json"),
    ],
)  # fmt: skip
def test_content_types(address, path, content_type):
    assert requests.get(address + path, timeout=30).headers["content-type"] == content_type


def test_metrics_are_sent_in_the_format_that_the_client_prefers(address):
    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    response = requests.get(f"{address}/metrics", headers=headers, timeout=30)
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert response.text.endswith("# EOF\n")


def test_a_stream_is_not_buffered_by_proxies(address):
    body = {"q": "a b", "source": "aa", "target": "bb"}
    response = requests.post(f"{address}/api/stream", json=body, timeout=300)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"


def test_the_metrics_are_those_of_the_documentation(address):
    listed = set(re.findall(r"^\| `(allyouneed_\w+)` \|", read("docs/serving.md"), re.MULTILINE))
    exported = requests.get(f"{address}/metrics", timeout=30).text
    families = set(re.findall(r"^# TYPE (allyouneed_\w+) ", exported, re.MULTILINE))
    assert families - {name for name in families if name.endswith("_created")} == listed
    assert "process_resident_memory_bytes" in exported
