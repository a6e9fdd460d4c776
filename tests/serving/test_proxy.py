"""Two servers behind nginx with deploy/nginx.conf."""

from __future__ import annotations

import http.client
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import requests

from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.server_settings import ServerSettings
from benchmarks.rolling_restart import Clients, free_port, nginx
from tests.serving.conftest import serving

pytestmark = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is None,
    reason="nginx is missing: apt-get install nginx",
)
SETTINGS = ServerSettings(threads=1, seconds=300)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


@pytest.fixture(scope="module")
def proxy(registry, tmp_path_factory) -> Iterator[str]:
    with ExitStack() as stack:
        ports = [port_of(stack.enter_context(serving(registry, SETTINGS))) for _ in range(2)]
        yield stack.enter_context(nginx(ports, tmp_path_factory.mktemp("nginx")))


def test_a_rolling_restart_loses_no_request(registry, tmp_path):
    ports = [free_port(), free_port()]
    with nginx(ports, tmp_path) as address, ExitStack() as first, ExitStack() as second:
        first.enter_context(serving(registry, SETTINGS, port=ports[0]))
        second.enter_context(serving(registry, SETTINGS, port=ports[1]))
        clients = Clients(address, "a b c", "aa", "bb", count=4)
        with clients.running():
            for stack, port in ((first, ports[0]), (second, ports[1])):
                clients.wait_for(30)
                stack.close()  # stops the server, as SIGTERM does
                clients.wait_for(30)
                stack.enter_context(serving(registry, SETTINGS, port=port))
            clients.wait_for(30)
    assert clients.lost == []
    assert min(clients.answered.values()) > 0


def test_documents_stay_on_their_server(proxy):
    clients = [requests.Session() for _ in range(6)]
    for number, client in enumerate(clients):
        client.headers["Authorization"] = f"Bearer key-{number}"  # the servers have no keys, the proxy reads it
        files = {"file": ("x.txt", b"a b c\n")}
        found = client.post(f"{proxy}/api/documents", data={"source": "aa", "target": "bb"}, files=files, timeout=60)
        assert found.status_code == 202, found.text
        for _ in range(4):
            assert client.get(f"{proxy}/api/documents/{found.json()['id']}", timeout=60).status_code == 200


def test_a_file_may_be_as_large_as_the_server_accepts(proxy):
    fields = {"source": "aa", "target": "bb"}
    files = {"file": ("x.docx", bytes(10 * 2**20))}
    found = requests.post(f"{proxy}/api/documents", data=fields, files=files, timeout=120)
    assert found.status_code == 400, found.text
    assert "x.docx" in found.json()["error"]  # the server has received it
    files = {"file": ("x.docx", bytes(11 * 2**20))}
    assert requests.post(f"{proxy}/api/documents", data=fields, files=files, timeout=120).status_code == 413


def test_the_client_address_is_that_of_the_connection(registry, tmp_path):
    """Rates are for each client, who cannot invent an address."""

    def status(client: str, forwarded: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port_of(address), source_address=(client, 0), timeout=60)
        headers = {"X-Forwarded-For": forwarded, "Content-Type": "application/json"}
        connection.request("POST", "/detect", b'{"q": "a"}', headers)
        return connection.getresponse().status

    settings = SETTINGS.model_copy(update={"per_minute": 1})
    with serving(registry, settings) as server, nginx([port_of(server)] * 2, tmp_path) as address:
        assert status("127.0.0.1", "203.0.113.1") == 200
        assert status("127.0.0.1", "203.0.113.2") == 429
        assert status("127.0.0.2", "203.0.113.1") == 200


def test_events_are_passed_on_at_once(proxy, address, tmp_path):
    body = {"q": "a b c", "source": "aa", "target": "bb"}
    assert b"event: done" in requests.post(f"{proxy}/api/stream", json=body, timeout=60).content
    direct = requests.post(f"{address}/api/stream", json=body, timeout=60)
    assert direct.headers["X-Accel-Buffering"] == "no"
    with events_server() as (port, received), nginx([port, port], tmp_path) as fake:
        response = requests.post(f"{fake}/api/stream", json=body, stream=True, timeout=60)
        lines = response.iter_lines()
        assert next(lines) == b"event: word"  # the server has not sent the rest yet
        received.set()
        assert b"event: done" in list(lines)


@contextmanager
def events_server() -> Iterator[tuple[int, threading.Event]]:
    """A server that sends its second event only once the first has been received, with the headers of /api/stream."""
    received, listening = threading.Event(), socket.create_server(("127.0.0.1", 0))

    def respond() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Accel-Buffering: no\r\n"
                b"Connection: close\r\n\r\nevent: word\ndata: {}\n\n"
            )
            received.wait(60)
            connection.sendall(b"event: done\ndata: {}\n\n")

    thread = threading.Thread(target=respond)
    thread.start()
    with listening:
        yield listening.getsockname()[1], received
        thread.join()


def test_operation_pages_are_not_public(proxy):
    for path in ("/metrics", "/ready", "/health"):
        assert requests.get(proxy + path, timeout=60).status_code == 404
    assert requests.get(f"{proxy}/proxy/health", timeout=60).text == "ok\n"


def test_keys_pass_through(registry, tmp_path):
    keys = tmp_path / "keys.json"
    key = add_key(keys, "team")
    (tmp_path / "nginx").mkdir()
    settings, folder = SETTINGS.model_copy(update={"keys": keys}), tmp_path / "nginx"
    with serving(registry, settings) as server, nginx([port_of(server)] * 2, folder) as address:
        body = {"q": "a b", "source": "aa", "target": "bb"}
        assert requests.post(f"{address}/api/translate", json=body, timeout=60).status_code == 403
        headers = {"Authorization": f"Bearer {key}"}
        assert requests.post(f"{address}/api/translate", json=body, headers=headers, timeout=60).ok
