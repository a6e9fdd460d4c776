"""Endless and slow requests are rejected before the application sees them."""

import socket
import time

import pytest
import requests

from allyouneed.serving.protocol import LimitedProtocol
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import exchange, serving

START = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"


class StrictProtocol(LimitedProtocol):
    max_head_bytes, max_seconds = 4000, 1.0


class PatientProtocol(StrictProtocol):
    max_seconds = 3600


@pytest.fixture(scope="module")
def strict(registry):
    with serving(registry, ServerSettings(threads=1), StrictProtocol) as address:
        yield address


@pytest.fixture(scope="module")
def patient(registry):
    """A server that closes connections because of the size of a request, not because of its duration."""
    with serving(registry, ServerSettings(threads=1), PatientProtocol) as address:
        yield address


def test_headers_may_be_as_large_as_the_limit(patient):
    end = b"Connection: close\r\n\r\n"
    padding = StrictProtocol.max_head_bytes - len(START) - len(b"X: \r\n") - len(end)
    allowed = START + b"X: " + b"a" * padding + b"\r\n" + end
    assert len(allowed) == StrictProtocol.max_head_bytes
    assert exchange(patient, allowed).startswith(b"HTTP/1.1 200")
    assert exchange(patient, allowed.replace(b"X: ", b"X: a")).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "endless",
    [START + b"X: ", b"GET /", START + b"X: a\r\n" * 10, b"\r\n", CHUNKED + b"0\r\nX: ", CHUNKED + b"1;x="],
    ids=["header", "request line", "headers", "blank lines", "trailer", "chunk extension"],
)
def test_endless_input_is_rejected_by_its_size(patient, endless):
    piece = {b"\r\n": b"\r\n", START + b"X: a\r\n" * 10: b"Y: b\r\n"}.get(endless, b"a")
    answer = exchange(patient, endless, *[piece * 2000] * 8)
    assert answer.startswith(b"HTTP/1.1 431") or not answer


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET /hea", START, CHUNKED])
def test_incomplete_requests_time_out(strict, start):
    started = time.monotonic()
    assert exchange(strict, start).startswith(b"HTTP/1.1 408")
    assert time.monotonic() - started > StrictProtocol.max_seconds - 0.1


def test_slow_requests_are_cut_off(strict):
    def send_slowly() -> None:
        for byte in START + b"X: " + b"a" * 3900:  # below the size limit; sending takes longer than half a minute
            connection.sendall(bytes([byte]))
            time.sleep(0.01)

    host, port = strict.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection, pytest.raises(ConnectionError):
        send_slowly()


def test_split_and_pipelined_requests_are_answered(strict, patient):
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{strict}/health", timeout=30).ok
            time.sleep(0.5)  # in total longer than the limit for one request
    pieces = [START[:9], START[9:], b"Connection: cl", b"ose\r\n", b"\r\n"]
    assert exchange(patient, *pieces).startswith(b"HTTP/1.1 200")
    two = START + b"\r\n" + START + b"Connection: close\r\n\r\n"
    assert exchange(patient, two).count(b"HTTP/1.1 200") == 2
