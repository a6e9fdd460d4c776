"""What holds for all APIs: limits, errors, health, metrics, files that go, and the end."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
import requests

from allyouneed.serving.pairs import Pairs
from allyouneed.serving.server_settings import Settings
from tests.serving.conftest import serving


@pytest.fixture(scope="module")
def narrow(pairs):
    """A server with little room."""
    settings = Settings(
        threads=1, body_bytes=2000, file_bytes=2000, body_seconds=0.5, queue_sentences=8, file_minutes=0.01,
        characters=1000, metrics_token="secret", origins=("https://example.org",),
    )  # fmt: skip
    with serving(pairs, settings) as address:
        yield address


def test_a_large_body_is_refused_before_it_is_parsed(narrow):
    for path, name in (("/translate", "error"), ("/v2/translate", "message"), ("/api/translate", "error")):
        response = requests.post(narrow + path, data=b"{" * 3000, timeout=30)
        assert response.status_code == 413
        assert "too large" in response.json()[name]


def test_a_large_body_without_a_length_is_refused(narrow):
    response = requests.post(f"{narrow}/translate", data=(b"x" * 1000 for _ in range(5)), timeout=30)
    assert response.status_code == 413


def test_a_slow_body_is_not_waited_for(narrow):
    host, port = narrow.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /translate HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nq=")
        connection.settimeout(10)
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_full_queue_is_503_with_retry_after(narrow):
    body = {"q": "\n".join(f"a b c {word}" for word in "abcdefghij"), "source": "aa", "target": "bb"}
    response = requests.post(f"{narrow}/translate", json=body, timeout=30)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1


def test_metrics_need_their_token_and_have_what_was_asked_for(narrow):
    assert requests.get(f"{narrow}/metrics", timeout=30).status_code == 401
    requests.post(f"{narrow}/translate", json={"q": "a b", "source": "aa", "target": "bb"}, timeout=30)
    text = requests.get(f"{narrow}/metrics", headers={"Authorization": "Bearer secret"}, timeout=30).text
    for name in ("queue_sentences", "batch_sentences_bucket", "request_seconds_bucket", "source_tokens_total"):
        assert f"allyouneed_{name}" in text


def test_other_sites_pages_may_call_only_if_told_so(narrow, address):
    headers = {"Origin": "https://example.org"}
    told, untold = (requests.get(f"{server}/languages", headers=headers, timeout=30) for server in (narrow, address))
    assert told.headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in untold.headers


def test_files_are_checked_and_go_after_their_time(narrow):
    def send(name: str, data: bytes) -> requests.Response:
        form = {"source": "aa", "target": "bb"}
        return requests.post(f"{narrow}/api/documents", files={"file": (name, data)}, data=form, timeout=30)

    assert "of this type" in send("a.exe", b"MZ").json()["error"]
    assert send("a.txt", b"x" * 3000).status_code == 413
    answer = send("../../../etc/passwd.txt", b"a b\n").json()
    assert answer["name"] == "passwd_bb.txt"
    state = answer
    while state["status"] != "done":
        state = requests.get(f"{narrow}/api/documents/{answer['id']}", timeout=30).json()
    assert requests.get(narrow + state["url"], timeout=30).ok
    time.sleep(0.7)
    assert requests.get(narrow + state["url"], timeout=30).status_code == 404
    not_text = send("a.txt", b"\xff\xfe")
    state = requests.get(f"{narrow}/api/documents/{not_text.json()['id']}", timeout=30).json()
    assert state["status"] == "error"
    assert "not UTF-8" in state["error"]


def test_health_and_readiness(address):
    assert requests.get(f"{address}/health", timeout=30).json() == {"status": "ok"}
    assert requests.get(f"{address}/ready", timeout=30).json() == {"status": "ready"}


def test_half_a_surrogate_is_a_mistake_of_the_client(address):
    body = b'{"q": "\\ud800", "source": "aa", "target": "bb"}'
    response = requests.post(
        f"{address}/translate", data=body, headers={"Content-Type": "application/json"}, timeout=30
    )
    assert response.status_code == 400
    assert "not Unicode" in response.json()["error"]


def test_a_request_that_takes_too_long_is_503(translator):
    slow = Pairs({("aa", "bb"): translator})
    with serving(slow, Settings(threads=1, seconds=0.001)) as address:
        body = {"q": " ".join("abcdefgh" * 4), "source": "aa", "target": "bb"}
        response = requests.post(f"{address}/translate", json=body, timeout=30)
        assert response.status_code == 503
        assert "not translated within" in response.json()["error"]


def test_the_end_waits_for_what_was_accepted(pairs):
    answers: list[int] = []

    def ask(address: str) -> None:
        body = {"q": "\n".join(f"a b {x} {y}" for x in "abcdefgh" for y in "abcdefgh"), "source": "aa", "target": "bb"}
        answers.append(requests.post(f"{address}/translate", json=body, timeout=60).status_code)

    with serving(pairs, Settings(threads=1)) as address:
        clients = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for client in clients:
            client.start()
        while "allyouneed_batch_sentences_count 0.0" in requests.get(f"{address}/metrics", timeout=30).text:
            time.sleep(0.005)
    for client in clients:
        client.join()
    assert answers == [200] * 4


def test_logs_have_no_text_unless_asked_for(pairs, caplog):
    caplog.set_level("INFO", logger="allyouneed.serving.requests")
    body = {"q": "a b c secret", "source": "aa", "target": "bb"}
    for log_text in (False, True):
        caplog.clear()
        with serving(pairs, Settings(threads=1, log_text=log_text)) as address:
            requests.post(f"{address}/translate", json=body, timeout=30)
        [facts] = [record.facts for record in caplog.records]
        assert facts["status"] == 200
        assert facts["characters"] == 12
        assert ("secret" in json.dumps(facts)) == log_text
