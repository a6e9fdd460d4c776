"""Behavior common to all APIs: limits, errors, health, metrics, expiry of files, and shutdown."""

from __future__ import annotations

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

import pytest
import requests

from allyouneed.serving.queue.model_worker import ModelWorker
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.state import ApplicationState
from tests.serving.conftest import serving


@pytest.fixture(scope="module")
def limited(registry):
    """A server with low limits."""
    settings = ServerSettings(
        threads=1, body_bytes=2000, file_bytes=2000, body_seconds=0.5, file_minutes=0.05,
        characters=1000, metrics_token="secret", origins=("https://example.org",),
    )  # fmt: skip
    with serving(registry, settings) as address:
        yield address


def test_a_large_body_is_rejected_before_it_is_parsed(limited):
    for path, name in (("/translate", "error"), ("/v2/translate", "message"), ("/api/translate", "error")):
        response = requests.post(limited + path, data=b"{" * 3000, timeout=300)
        assert response.status_code == 413
        assert "too large" in response.json()[name]


def test_a_large_chunked_body_is_rejected(limited):
    response = requests.post(f"{limited}/translate", data=(b"x" * 1000 for _ in range(5)), timeout=300)
    assert response.status_code == 413


def test_a_slow_body_times_out(limited):
    host, port = limited.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nq=")
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_full_queue_is_503_with_retry_after(registry, monkeypatch):
    work, release, begun = ModelWorker.work, threading.Event(), threading.Semaphore(0)

    def hold(worker, key, payloads):
        begun.release()
        release.wait()
        return work(worker, key, payloads)

    monkeypatch.setattr(ModelWorker, "work", hold)

    def ask(text: str) -> requests.Response:
        body = {"q": text, "source": "aa", "target": "bb"}
        return requests.post(f"{address}/translate", json=body, timeout=300)

    with serving(registry, ServerSettings(threads=1, queue_sentences=8)) as address, ThreadPoolExecutor(8) as clients:
        first = clients.submit(ask, "a")
        begun.acquire()  # the model thread is busy, so further sentences wait
        others = [clients.submit(ask, f"a b\na c\na d\na {letter}") for letter in "abcde"]
        rejected = next(each.result() for each in as_completed(others))
        assert rejected.status_code == 503
        assert "queue is full" in rejected.json()["error"]
        assert int(rejected.headers["retry-after"]) >= 1
        release.set()
        assert first.result().ok
        assert any(each.result().ok for each in others)


def test_metrics_require_the_token(limited):
    assert requests.get(f"{limited}/metrics", timeout=300).status_code == 401
    requests.post(f"{limited}/translate", json={"q": "a b", "source": "aa", "target": "bb"}, timeout=300)
    text = requests.get(f"{limited}/metrics", headers={"Authorization": "Bearer secret"}, timeout=300).text
    for name in ("queue_sentences", "batch_sentences_bucket", "request_seconds_bucket", "source_tokens_total"):
        assert f"allyouneed_{name}" in text


def test_cross_origin_requests_need_an_allowed_origin(limited, address):
    headers = {"Origin": "https://example.org"}
    allowed, other = (
        requests.get(f"{server}/languages", headers=headers, timeout=300) for server in (limited, address)
    )
    assert allowed.headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in other.headers


def test_files_are_checked_and_expire(limited):
    def send(name: str, data: bytes) -> requests.Response:
        form = {"source": "aa", "target": "bb"}
        return requests.post(f"{limited}/api/documents", files={"file": (name, data)}, data=form, timeout=300)

    assert "file extension .exe is not supported" in send("a.exe", b"MZ").json()["error"]
    assert send("a.txt", b"x" * 3000).status_code == 413
    answer = send("../../../etc/passwd.txt", b"a b\n").json()
    assert answer["name"] == "passwd_bb.txt"
    state = answer
    while state["status"] != "done":
        state = requests.get(f"{limited}/api/documents/{answer['id']}", timeout=300).json()
    assert requests.get(limited + state["url"], timeout=300).ok
    while requests.get(limited + state["url"], timeout=300).ok:
        time.sleep(0.1)
    assert requests.get(limited + state["url"], timeout=300).status_code == 404
    damaged = send("a.xml", b"<a><b></a>")
    assert damaged.status_code == 400
    assert "a.xml" in damaged.json()["error"]
    assert "archive is damaged" in send("a.docx", b"PK\x03\x04").json()["error"]


def test_health_and_readiness(address):
    assert requests.get(f"{address}/health", timeout=300).json() == {"status": "ok"}
    assert requests.get(f"{address}/ready", timeout=300).json() == {"status": "ready"}


def test_an_unpaired_surrogate_is_a_client_error(address):
    body = b'{"q": "\\ud800", "source": "aa", "target": "bb"}'
    response = requests.post(
        f"{address}/translate", data=body, headers={"Content-Type": "application/json"}, timeout=30
    )
    assert response.status_code == 400
    assert "not valid Unicode" in response.json()["error"]


def test_a_request_over_the_time_limit_is_503(translator):
    slow = TranslatorRegistry({("aa", "bb"): translator})
    with serving(slow, ServerSettings(threads=1, seconds=0.001)) as address:
        body = {"q": " ".join("abcdefgh" * 4), "source": "aa", "target": "bb"}
        response = requests.post(f"{address}/translate", json=body, timeout=300)
        assert response.status_code == 503
        assert "not translated within" in response.json()["error"]


def test_shutdown_finishes_accepted_requests(registry, monkeypatch):
    answers: list[int] = []
    admit, admitted = ApplicationState.admit, []
    monkeypatch.setattr(ApplicationState, "admit", lambda *arguments: admitted.append(1) or admit(*arguments))

    def ask(address: str) -> None:
        body = {"q": "\n".join(f"a b {x} {y}" for x in "abcdefgh" for y in "abcdefgh"), "source": "aa", "target": "bb"}
        answers.append(requests.post(f"{address}/translate", json=body, timeout=300).status_code)

    with serving(registry, ServerSettings(threads=1)) as address:
        clients = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for client in clients:
            client.start()
        while len(admitted) < 4:
            time.sleep(0.005)
    for client in clients:
        client.join()
    assert answers == [200] * 4


def test_logs_contain_text_only_if_enabled(registry, caplog):
    caplog.set_level("INFO", logger="allyouneed.serving.requests")
    body = {"q": "a b c secret", "source": "aa", "target": "bb"}
    for log_text in (False, True):
        caplog.clear()
        with serving(registry, ServerSettings(threads=1, log_text=log_text)) as address:
            requests.post(f"{address}/translate", json=body, timeout=300)
        [fields] = [record.log_fields for record in caplog.records]
        assert fields["status"] == 200
        assert fields["characters"] == 12
        assert ("secret" in json.dumps(fields)) == log_text
