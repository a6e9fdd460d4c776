"""Many, slow and broken connections: a server with room for a few serves whoever sends whole requests."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import requests

from allyouneed.serving.protocol import LimitedProtocol
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving

BODY = {"q": "a b c", "source": "aa", "target": "bb"}
SLOW = [
    b"",
    b"GET /hea",
    b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ",
    b"POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    b"POST /detect HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
]


def connect(address: str, stack: ExitStack) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return stack.enter_context(closing(socket.create_connection((host, int(port)), timeout=60)))


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection, once it has had time to do so."""
    connection.settimeout(0.01)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def closed(connections: list[socket.socket], count: int) -> str:
    """Wait until the server has closed a number of connections, and return which, as x."""
    deadline = time.monotonic() + 30
    while (found := "".join(".x"[is_closed(each)] for each in connections)).count("x") < count:
        assert time.monotonic() < deadline
    return found


def attack(address: str, count: int) -> None:
    """Hold slow connections open, and ask for translations meanwhile."""
    with ExitStack() as stack:
        connections = []
        for number in range(count):
            connections.append(connect(address, stack))
            connections[-1].sendall(SLOW[number % len(SLOW)])
            if number % (count // 10) == 0:
                assert requests.post(f"{address}/translate", json=BODY, timeout=60).status_code == 200
        assert requests.get(f"{address}/ready", timeout=60).ok
        for number, connection in enumerate(connections):
            if number % 2:
                connection.close()  # in the middle
        assert requests.post(f"{address}/translate", json=BODY, timeout=60).status_code == 200


def test_slow_connections_do_not_keep_others_out(registry):
    with serving(registry, ServerSettings(threads=1, connections=20)) as address:
        attack(address, 100)


@pytest.mark.slow
def test_a_thousand_slow_connections_do_not_keep_others_out(registry):
    with serving(registry, ServerSettings(threads=1)) as address:
        before = open_files()
        attack(address, 1000)
        attack(address, 3000)
        deadline = time.monotonic() + 60
        while open_files() > before + 10 and time.monotonic() < deadline:
            time.sleep(0.5)
        assert open_files() <= before + 10


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_longest_idle_connection_is_closed(registry):
    with serving(registry, ServerSettings(threads=1, connections=3)) as address, ExitStack() as stack:
        requests.get(f"{address}/health", timeout=30)
        time.sleep(0.1)
        first, second, third = (connect(address, stack) for _ in range(3))
        time.sleep(0.1)
        first.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert first.recv(1000).startswith(b"HTTP/1.1 200")
        fourth = connect(address, stack)
        assert closed([first, second, third, fourth], 1) == ".x.."


class EveryAddressIsLimited(LimitedProtocol):
    max_per_address, _is_proxy = 5, False


def test_one_address_has_a_share_of_the_connections(registry):
    with serving(registry, ServerSettings(threads=1), EveryAddressIsLimited) as address, ExitStack() as stack:
        connections = [connect(address, stack) for _ in range(12)]
        assert closed(connections, 7) == "xxxxxxx....."


class Impatient(LimitedProtocol):
    max_seconds = 0.5


def send_until_closed(connection: socket.socket) -> None:
    for _ in range(600):
        connection.sendall(b"\r\n")
        time.sleep(0.05)


def test_a_client_that_does_not_read_is_disconnected(registry):
    """It asks for large pages and leaves them in the socket's buffer."""
    with serving(registry, ServerSettings(threads=1), Impatient) as address, ExitStack() as stack:
        host, port = address.removeprefix("http://").split(":")
        connection = stack.enter_context(closing(socket.socket()))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        connection.settimeout(60)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
        with pytest.raises(ConnectionError):
            send_until_closed(connection)
        assert requests.get(f"{address}/ready", timeout=30).ok
