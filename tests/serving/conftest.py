"""Fixtures: a live server on loopback and a browser page."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
import requests
import uvicorn

from allyouneed import Translator
from allyouneed.serving.app import build_app
from allyouneed.serving.bounded_server import BoundedServer
from allyouneed.serving.protocol import LimitedProtocol
from allyouneed.serving.registry import TranslatorRegistry
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.training.train import train
from tests.conftest import silent, toy_request

_SETTINGS = ["training.steps=300", "training.validate_every=300", "training.average=1"]


@contextmanager
def serving(
    registry: TranslatorRegistry,
    settings: ServerSettings,
    protocol: type[LimitedProtocol] | None = None,
    port: int = 0,
) -> Iterator[str]:
    """Run a server for the duration of the block, by default on a free port; yields its address."""
    server = BoundedServer(build_app(registry, settings), settings, protocol=protocol)
    server.config.port = port
    thread = threading.Thread(target=partial(uvicorn.Server.run, server))  # without ending the process
    thread.start()
    try:
        while not server.started:
            thread.join(0.01)
            assert thread.is_alive()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def exchange(address: str, *parts: bytes, pause: float = 0.01, close: bool = False) -> bytes:
    """Send parts, and read until the server closes the connection; fail if it does not do so within a minute.

    Args:
        address: Address of the server.
        parts: Bytes that are sent one after the other.
        pause: Seconds after each part.
        close: Whether to close the sending side after the last part.
    """
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            if close:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(10_000), b""))
        except ConnectionError:
            return b""


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """A translator trained longer than `toy_run`, so that its translations have several words."""
    folder = tmp_path_factory.mktemp("serving")
    train(toy_request(folder / "text", folder / "run", _SETTINGS), silent())
    return Translator.load(folder / "run")


@pytest.fixture(scope="session")
def registry(translator: Translator) -> TranslatorRegistry:
    """Pairs aa to bb and bb to cc, with one model for both; aa to cc is translated through bb."""
    return TranslatorRegistry({("aa", "bb"): translator, ("bb", "cc"): Translator(translator.bundle, inter_threads=1)})


@pytest.fixture(scope="session")
def address(registry: TranslatorRegistry) -> Iterator[str]:
    with serving(registry, ServerSettings(threads=2, seconds=300)) as address:  # kernels may have to be compiled first
        yield address


@pytest.fixture
def post(address: str) -> Callable[..., requests.Response]:
    """Post JSON to the shared server."""
    return lambda path, **body: requests.post(address + path, json=body, timeout=300)


@pytest.fixture
def page(browser, address):
    """A fresh page in English; a script error, a request to another host or a breach of its policy fails the test."""
    context = browser.new_context(locale="en-US", permissions=["clipboard-read", "clipboard-write"])
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda entry: errors.append(entry.text) if "Content Security Policy" in entry.text else None)
    page.on(
        "request", lambda request: None if request.url.startswith((address, "blob:")) else errors.append(request.url)
    )
    page.goto(address)
    page.select_option("#source", "aa")
    yield page
    context.close()
    assert errors == []
