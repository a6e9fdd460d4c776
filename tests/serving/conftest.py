"""A live server on loopback, which real clients talk to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
import uvicorn

from allyouneed import Translator
from allyouneed.serving.app import build_app
from allyouneed.serving.pairs import Pairs, replica
from allyouneed.serving.protocol import LimitedProtocol
from allyouneed.serving.server_settings import Settings
from allyouneed.training.train import train
from tests.conftest import silent, toy_request

_LONGER = ["training.steps=300", "training.validate_every=300", "training.average=1"]


@contextmanager
def serving(pairs: Pairs, settings: Settings, protocol: type[LimitedProtocol] = LimitedProtocol) -> Iterator[str]:
    """The address of a server that runs while the block does, on a port that was free."""
    config = uvicorn.Config(build_app(pairs, settings), port=0, http=protocol, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
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


@pytest.fixture(scope="session")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Translator:
    """Of a run longer than `toy_run`, so that what it says has words."""
    folder = tmp_path_factory.mktemp("serving")
    train(toy_request(folder / "text", folder / "run", _LONGER), silent())
    return Translator.load(folder / "run")


@pytest.fixture(scope="session")
def pairs(translator: Translator) -> Pairs:
    """aa to bb, and bb to cc by the same model: aa to cc goes over bb."""
    return Pairs({("aa", "bb"): translator, ("bb", "cc"): replica(translator)})


@pytest.fixture(scope="session")
def address(pairs: Pairs) -> Iterator[str]:
    with serving(pairs, Settings(threads=2)) as address:
        yield address


@pytest.fixture
def post(address: str) -> Callable[..., requests.Response]:
    """Posts JSON to the shared server."""
    return lambda path, **body: requests.post(address + path, json=body, timeout=30)


@pytest.fixture
def page(browser, address):
    """Fresh, in English; an error of a script fails the test."""
    context = browser.new_context(locale="en-US", permissions=["clipboard-read", "clipboard-write"])
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(address)
    page.select_option("#source", "aa")
    yield page
    context.close()
    assert errors == []
