"""Requests that another site makes a browser send: DNS rebinding, cross-site forms, and links to other servers."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from pydantic import ValidationError
from starlette.responses import Response

from allyouneed.serving.access.addresses import host_of, network_of, origin_of
from allyouneed.serving.access.site_guard import SiteGuard
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import exchange, serving

BODY = {"q": "a b", "source": "aa", "target": "bb"}
FORM = "application/x-www-form-urlencoded"


def guard(**settings: Any) -> SiteGuard:
    async def unused(*_: Any) -> None:
        raise AssertionError

    return SiteGuard(unused, ServerSettings(**settings), lambda request, error: Response())


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:5000", "[::1]:1", "a.localhost"]
)
def test_names_of_this_machine_are_accepted(address, host):
    assert requests.get(f"{address}/health", headers={"Host": host}, timeout=30).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "localhost.evil.example", "server", "10.0.0.1"],
)
@pytest.mark.parametrize(("path", "name"), [("/translate", "error"), ("/v2/translate", "message"), ("/", "error")])
def test_other_names_are_refused_on_loopback(address, host, path, name):
    """A site whose name leads to this machine (DNS rebinding) must not read responses."""
    response = requests.post(address + path, json=BODY, headers={"Host": host}, timeout=30)
    assert response.status_code == 421
    assert "--allowed-host" in response.json()[name]
    assert response.headers["content-type"] == "application/json"
    assert requests.get(address + path, headers={"Host": host}, timeout=30).status_code == 421


@pytest.mark.parametrize(
    "lines",
    [
        b"", b"Host:\r\n", b"Host: a b\r\n", b"Host: localhost\r\nHost: localhost\r\n", b"Host: user@localhost\r\n",
        b"Host: localhost, evil.example\r\n", b"Host: [::1\r\n", b"Host: localhost/\r\n", b"Host: \xff\r\n",
    ],
)  # fmt: skip
def test_a_missing_repeated_or_malformed_host_is_an_error_of_the_client(address, lines):
    request = b"POST /translate HTTP/1.1\r\n" + lines + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    answer = exchange(address, request)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":"the Host header is missing, repeated or malformed"}' in answer


def test_http_1_0_needs_no_host(address):
    assert exchange(address, b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


PUBLIC = {"host": "0.0.0.0", "public": True}


@pytest.mark.parametrize(
    ("settings", "accepted", "refused"),
    [
        ({}, ["localhost", "127.9.9.9", "::1"], ["server", "192.168.1.2", "evil.example", "0.0.0.0"]),
        (PUBLIC, ["localhost", "192.168.1.2", "fd00::1", "server"], ["evil.example", "server.lan"]),
        ({"allowed_hosts": ("Server.LAN",)}, ["server.lan", "localhost"], ["a.server.lan", "lan"]),
        ({"allowed_hosts": ("*.example.org",)}, ["a.b.example.org"], ["example.org", "evilexample.org", "10.0.0.1"]),
        ({"allowed_hosts": ("übersetzer.example",)}, ["xn--bersetzer-p9a.example"], ["bersetzer.example"]),
        ({"allowed_hosts": ("*",)}, ["evil.example"], []),
        ({"public_url": "https://Translate.example.org:8443/x/"}, ["translate.example.org"], ["example.org"]),
        ({"host": "server.lan", "public": True}, ["server.lan"], ["other.lan"]),
    ],
)
def test_which_hosts_are_accepted(settings, accepted, refused):
    site_guard = guard(**settings)
    assert [host for host in accepted if not site_guard.accepts(host)] == []
    assert [host for host in refused if site_guard.accepts(host)] == []


@pytest.mark.parametrize(
    ("header", "host"),
    [("A.b:80", "a.b"), ("[::1]:80", "::1"), ("a.", "a"), ("", None), ("a:b", None), ("[a]", "a"), ("é", None)],
)
def test_host_headers_are_parsed(header, host):
    assert host_of(header) == host


@pytest.mark.parametrize(
    "settings",
    [
        {"allowed_hosts": ("http://a.example",)}, {"allowed_hosts": ("a.example:80",)}, {"allowed_hosts": ("",)},
        {"allowed_hosts": ("a b",)}, {"public_url": "translate.example.org"}, {"public_url": "ftp://a.example"},
        {"public_url": "https://a.example/?x"}, {"public_url": "https://"}, {"public_url": "https://a.example:x"},
        {"origins": ("example.org",)}, {"origins": ("https://example.org/path",)},
    ],
)  # fmt: skip
def test_settings_that_could_never_match_are_refused(settings):
    with pytest.raises(ValidationError):
        ServerSettings(**settings)


def test_settings_are_normalized():
    settings = ServerSettings(public_url="https://a.example/x/", origins=("https://b.example/", "*", "null"))
    assert settings.public_url == "https://a.example/x"
    assert settings.origins == ("https://b.example", "*", "null")
    assert origin_of("https://A.example:443/x") == "https://a.example"


def routes_that_change_or_cost(address: str) -> list[tuple[str, str]]:
    paths = requests.get(f"{address}/openapi.json", timeout=30).json()["paths"]
    return [(m.upper(), path) for path, methods in paths.items() for m in methods if m != "get"]


CROSS_SITE = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
def test_pages_of_other_sites_cannot_send_requests(address, headers):
    """The content types of forms need no permission (CORS preflight), so that the origin has to be checked."""
    routes = routes_that_change_or_cost(address)
    assert ("POST", "/translate") in routes
    for method, path in routes:
        for media_type in ("text/plain", FORM, "multipart/form-data; boundary=x"):
            response = requests.request(
                method, address + path, data=b"q=a&source=aa&target=bb",
                headers={**headers, "Content-Type": media_type}, timeout=30,
            )  # fmt: skip
            assert response.status_code == 403, path
            assert "--cors" in response.text


def test_the_servers_own_pages_and_other_programs_can_send_requests(address):
    host = address.removeprefix("http://")
    own = {"Origin": address, "Sec-Fetch-Site": "same-origin"}
    for headers in (own, {"Origin": address}, {}, {"Sec-Fetch-Site": "none"}, {"Origin": f"https://{host}"}):
        assert requests.post(f"{address}/translate", json=BODY, headers=headers, timeout=300).status_code == 200


@pytest.mark.parametrize("origins", [("https://good.example",), ("*",)])
def test_allowed_pages_can_send_requests(registry, origins):
    with serving(registry, ServerSettings(threads=1, origins=origins)) as address:
        headers = {"Origin": "https://good.example", "Sec-Fetch-Site": "cross-site"}
        response = requests.post(f"{address}/translate", json=BODY, headers=headers, timeout=300)
        assert response.status_code == 200
        assert response.headers["access-control-allow-origin"] in origins
        asked = {**headers, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        assert requests.options(f"{address}/translate", headers=asked, timeout=30).status_code == 200


def test_json_needs_its_content_type(address):
    for path in ("/translate", "/detect", "/api/translate", "/api/stream", "/look", "/v2/translate", "/v3/glossaries"):
        for media_type in ("text/plain", "application/octet-stream", "text/json"):
            response = requests.post(address + path, data=b"{}", headers={"Content-Type": media_type}, timeout=30)
            assert response.status_code == 415, path
        for media_type in ("application/json; charset=utf-8", "application/vnd.api+json"):
            response = requests.post(address + path, data=b"{}", headers={"Content-Type": media_type}, timeout=30)
            assert response.status_code == 400, path


@pytest.mark.parametrize("public_url", [None, "https://translate.example.org/mt/"])
def test_links_have_the_servers_address_and_not_the_host_header(registry, public_url):
    with serving(registry, ServerSettings(threads=1, public_url=public_url)) as address:
        host, port = address.removeprefix("http://").split(":")
        headers = {"Host": f"localhost:{int(port) + 1}", "X-Forwarded-Host": "evil.example"}
        response = requests.post(
            f"{address}/translate_file", files={"file": ("a.txt", b"a b\n")}, data={"source": "aa", "target": "bb"},
            headers=headers, timeout=300,
        )  # fmt: skip
        expected = public_url or f"http://{host}:{port}/"
        assert response.json()["translatedFileUrl"].startswith(f"{expected}download_file/")
        assert "location" not in requests.get(f"{address}/health/", headers=headers, timeout=30).headers


def test_responses_are_not_sniffed(address):
    for path in ("/health", "/", "/static/main.js", "/openapi.json", "/nothing"):
        assert requests.get(address + path, timeout=30).headers["x-content-type-options"] == "nosniff"


def test_clients_are_told_apart_by_their_networks():
    assert network_of("10.0.0.1") == "10.0.0.1" != network_of("10.0.0.2")
    assert network_of("2001:db8::1") == network_of("2001:db8::2:3") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:10.0.0.1") == "::ffff:a00:1"
    assert network_of("x" * 1000) == ""
