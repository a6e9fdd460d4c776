"""Work ends with its client, and with the server."""

from __future__ import annotations

import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from allyouneed.serving.queue.model_worker import ModelWorker
from allyouneed.serving.queue.request_queue import RequestQueue
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.translation.stopping import StoppedError, check_needed
from tests.serving.conftest import serving

_HEAD = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"
_PATIENCE = 300  # seconds, of which a test that passes needs few
TEXT = {"q": "a b c", "source": "aa", "target": "bb"}


class Holding:
    """Holds sentences with "h" in the model threads until they are released or nobody waits for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.begun, self.stopped, self.release = threading.Event(), threading.Event(), threading.Event()
        self.queues: list[RequestQueue] = []
        work, start = ModelWorker.work, RequestQueue.start

        def hold(worker, key, payloads):
            if any("h" in payload.text for payload in payloads):
                self.begun.set()
                try:
                    while not self.release.wait(0.001):
                        check_needed()
                except StoppedError:
                    self.stopped.set()
                    raise
            return work(worker, key, payloads)

        def remember(queue):
            self.queues.append(queue)
            start(queue)

        monkeypatch.setattr(ModelWorker, "work", hold)
        monkeypatch.setattr(RequestQueue, "start", remember)

    def is_drained(self) -> bool:
        return self.queues[0].waiting == 0


@pytest.fixture
def holding(monkeypatch):
    holding = Holding(monkeypatch)
    yield holding
    holding.release.set()


def wait(condition) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def translate(address: str, text: str, **more: object) -> requests.Response:
    return requests.post(f"{address}/translate", json={**TEXT, "q": text, **more}, timeout=300)


def upload(address: str, text: str) -> dict:
    form, file = {"source": "aa", "target": "bb"}, {"file": ("a.txt", io.BytesIO(text.encode()))}
    return requests.post(f"{address}/api/documents", data=form, files=file, timeout=300).json()


@pytest.mark.parametrize("path", ["/translate", "/api/translate", "/api/stream"])
def test_the_search_stops_when_its_client_disconnects(registry, holding, path):
    body = json.dumps({**TEXT, "q": "h a b\nh c d"}).encode()
    head = _HEAD.format(path, "application/json", len(body))
    with serving(registry, ServerSettings(threads=1)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + body)
            assert holding.begun.wait(_PATIENCE)
        assert holding.stopped.wait(_PATIENCE)
        wait(holding.is_drained)
        assert translate(address, "a b").ok


def test_a_deleted_document_leaves_the_queue_and_its_search_stops(registry, holding):
    lines = "\n".join(f"h {x} {y}" for x in "abcdefg" for y in "abcdefg")
    with serving(registry, ServerSettings(threads=1)) as address:
        job = upload(address, lines)
        assert holding.begun.wait(_PATIENCE)
        assert requests.delete(f"{address}/api/documents/{job['id']}", timeout=300).status_code == 204
        assert holding.stopped.wait(_PATIENCE)
        wait(holding.is_drained)
        assert translate(address, "a b").ok


def test_a_file_of_a_client_that_has_left_is_not_translated(registry, holding):
    boundary = "x"
    parts = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n{value}\r\n'
        for name, more, value in [("source", "", "aa"), ("target", "", "bb"), ("file", '; filename="a.txt"', "h a b")]
    )
    body = f"{parts}--{boundary}--\r\n".encode()
    head = _HEAD.format("/translate_file", f"multipart/form-data; boundary={boundary}", len(body))
    with serving(registry, ServerSettings(threads=1)) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + body)
            assert holding.begun.wait(_PATIENCE)
        assert holding.stopped.wait(_PATIENCE)


def test_the_search_stops_at_the_time_limit(registry, holding):
    with serving(registry, ServerSettings(threads=1, seconds=0.2)) as address:
        response = translate(address, "h a b")
        assert response.status_code == 503
        assert "not translated within" in response.json()["error"]
        assert holding.stopped.wait(_PATIENCE)


def test_a_short_text_is_translated_while_files_are(registry, holding):
    """Files of several clients occupy all threads; the short text is answered before any of them."""
    lines = "\n".join(f"h {x} {y} {z}" for x in "abcdefg" for y in "abcdefg" for z in "abcdefg")
    with serving(registry, ServerSettings(threads=2)) as address:
        jobs = [upload(address, lines) for _ in range(3)]
        assert holding.begun.wait(_PATIENCE)
        wait(lambda: len(holding.queues[0]._running) == 2)
        assert [translate(address, text).status_code for text in ("a b", "c d")] == [200, 200]
        states = [requests.get(f"{address}/api/documents/{job['id']}", timeout=300).json() for job in jobs]
        assert {state["status"] for state in states} == {"translating"}


def test_shutdown_answers_what_does_not_finish_in_time(registry, holding):
    """Accepted requests are answered, and the server ends although a batch runs."""
    with ThreadPoolExecutor(2) as clients:
        with serving(registry, ServerSettings(threads=1, shutdown_seconds=0)) as address:
            slow = clients.submit(translate, address, "h a b")
            assert holding.begun.wait(_PATIENCE)
        response = slow.result()
        assert response.status_code == 503
        assert "shutting down" in response.json()["error"]
        assert int(response.headers["retry-after"]) >= 1
        assert holding.stopped.wait(_PATIENCE)


def test_shutdown_cancels_files_and_says_so(registry, holding):
    with ThreadPoolExecutor(2) as clients:
        with serving(registry, ServerSettings(threads=1)) as address:
            form, file = {"source": "aa", "target": "bb"}, {"file": ("a.txt", io.BytesIO(b"h a b"))}
            sent = clients.submit(requests.post, f"{address}/translate_file", data=form, files=file, timeout=300)
            assert holding.begun.wait(_PATIENCE)
        assert sent.result().status_code == 503
        assert "shutting down" in sent.result().json()["error"]


SERVER = """
import sys
import threading
from allyouneed import serving
from allyouneed.serving.queue.model_worker import ModelWorker

work = ModelWorker.work

def fail(worker, registry):
    raise MemoryError

def misbehave(worker, key, payloads):
    if any("h" in payload.text for payload in payloads):
        print("busy", file=sys.stderr, flush=True)
        threading.Event().wait()  # as in compiled code, which does not check whether it is needed
    if any("d" in payload.text for payload in payloads):
        ModelWorker.__init__ = fail
        raise SystemExit
    return work(worker, key, payloads)

ModelWorker.work = misbehave
settings = serving.ServerSettings(port=0, threads=1, shutdown_seconds=0, restart_seconds=0.1)
serving.serve([sys.argv[1]], settings, lambda line: print(line, file=sys.stderr, flush=True))
"""


@pytest.fixture
def misbehaving(toy_run):
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-c", SERVER, str(toy_run)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        while not (found := re.match(r"http://[\d.:]+", server.stderr.readline())):
            assert server.poll() is None
        yield server, found[0]
        server.kill()


def read_until(server: subprocess.Popen, text: str) -> None:
    while text not in server.stderr.readline():
        assert server.poll() is None


@pytest.mark.parametrize(
    ("number", "codes"),
    [
        (signal.SIGTERM, {-signal.SIGTERM, 0}),
        pytest.param(signal.SIGINT, {130}, marks=pytest.mark.slow),
    ],
)
def test_the_process_ends_at_a_signal_although_a_model_thread_is_busy(misbehaving, number, codes):
    server, address = misbehaving
    with ThreadPoolExecutor(1) as clients:
        answer = clients.submit(translate, address, "h a b")
        read_until(server, "busy")
        server.send_signal(number)
        assert answer.result().status_code == 503
    assert server.wait(60) in codes


def test_the_process_exits_with_an_error_if_no_model_thread_can_be_started(misbehaving):
    server, address = misbehaving
    assert translate(address, "a b").ok
    for _ in range(2):  # of a server with one thread and one for short texts
        assert translate(address, "d").status_code == 503
    assert server.wait(60) == 1
    assert "the models could not be started" in server.stderr.read()
