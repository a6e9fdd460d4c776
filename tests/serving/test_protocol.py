"""What comes in without end is refused, and what comes slowly is not waited for: before any application sees it."""

import socket
import time

import pytest
import requests

from allyouneed.serving.protocol import LimitedProtocol
from allyouneed.serving.server_settings import Settings
from tests.serving.conftest import serving

START = b"GET /health HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /detect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"


class Hasty(LimitedProtocol):
    most_bytes, seconds = 4000, 0.5


@pytest.fixture(scope="module")
def hasty(pairs):
    with serving(pairs, Settings(threads=1), Hasty) as address:
        yield address


def answered(address: str, *parts: bytes) -> bytes:
    """Until the server closes the connection, which it does within ten seconds."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.01)
            return b"".join(iter(lambda: connection.recv(10_000), b""))
        except ConnectionError:
            return b""


def test_a_head_may_be_as_large_as_the_limit(hasty):
    end = b"Connection: close\r\n\r\n"
    room = Hasty.most_bytes - len(START) - len(b"X: \r\n") - len(end)
    allowed = START + b"X: " + b"a" * room + b"\r\n" + end
    assert len(allowed) == Hasty.most_bytes
    assert answered(hasty, allowed).startswith(b"HTTP/1.1 200")
    assert answered(hasty, allowed.replace(b"X: ", b"X: a")).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize(
    "endless",
    [START + b"X: ", b"GET /", START + b"X: a\r\n" * 10, b"\r\n", CHUNKED + b"0\r\nX: ", CHUNKED + b"1;x="],
    ids=["a header", "the address", "headers", "no request", "a trailer", "what follows a size"],
)
def test_what_has_no_end_is_refused_early(hasty, endless):
    piece = {b"\r\n": b"\r\n", START + b"X: a\r\n" * 10: b"Y: b\r\n"}.get(endless, b"a")
    begun = time.monotonic()
    answer = answered(hasty, endless, *[piece * 2000] * 8)
    assert time.monotonic() - begun < Hasty.seconds  # so it was the size
    assert answer.startswith(b"HTTP/1.1 431") or not answer


@pytest.mark.parametrize("start", [b"", b"\r\n", b"GET /hea", START, CHUNKED])
def test_what_does_not_arrive_is_not_waited_for(hasty, start):
    begun = time.monotonic()
    assert answered(hasty, start).startswith(b"HTTP/1.1 408")
    assert Hasty.seconds - 0.1 < time.monotonic() - begun < 5


def test_a_slow_trickle_is_cut_off(hasty):
    begun = time.monotonic()
    answered(hasty, *(START[i : i + 1] for i in range(len(START))), *[b"X: a\r\n"] * 200)
    assert time.monotonic() - begun < 5


def test_a_request_in_pieces_and_several_on_one_connection_are_answered(hasty):
    with requests.Session() as session:
        for _ in range(3):
            assert session.get(f"{hasty}/health", timeout=30).ok
            time.sleep(0.3)  # longer together than one request may take
    pieces = [START[:9], START[9:], b"Connection: cl", b"ose\r\n", b"\r\n"]
    assert answered(hasty, *pieces).startswith(b"HTTP/1.1 200")
    two = START + b"\r\n" + START + b"Connection: close\r\n\r\n"
    assert answered(hasty, two).count(b"HTTP/1.1 200") == 2
