"""Malformed and hostile requests: no request causes a server error or stops the server."""

from __future__ import annotations

import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable as NoExamples

from allyouneed.serving.model_worker import ModelWorker
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install '.[dev]'")
from schemathesis import GenerationMode  # noqa: E402

PATHS = st.sampled_from(
    ["/translate", "/detect", "/api/translate", "/api/stream", "/v2/translate", "/look", "/translate_file"]
)
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["q", "text", "source", "target", "target_lang", "format", "alternatives", "beam_size", "words"]
)
VALUES = st.sampled_from(["aa", "bb", "auto", "a b", "html", 10**400, -1, 1e308, "\ud800", "\0", "", [], {}]) | NESTED
BODIES = st.one_of(
    st.binary(max_size=200),
    st.dictionaries(NAMES, VALUES).map(lambda body: json.dumps(body).encode("utf-8", "replace")),
    st.integers(1, 20_000).map(lambda depth: b"[" * depth),
    st.integers(1, 5000).map(lambda digits: b'{"q": ' + b"9" * digits + b"}"),
)
FORMS = ["application/json", "application/x-www-form-urlencoded", "multipart/form-data", "é"]
TYPES = st.sampled_from([*FORMS, "multipart/form-data; boundary=x", ""])
MODEST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def assert_no_server_error(status: int) -> None:
    assert status < 500 or status == 503


@given(PATHS, BODIES, TYPES)
@MODEST
def test_any_body(address, path, body, type):
    headers = {"Content-Type": type.encode("latin-1")}
    assert_no_server_error(requests.post(address + path, data=body, headers=headers, timeout=30).status_code)


@given(st.binary(max_size=300))
@MODEST
def test_any_bytes(address, data):
    answer = send_bytes(address, data)
    if answer.startswith(b"HTTP/1."):
        assert_no_server_error(int(answer.split()[1]))
    assert requests.get(f"{address}/ready", timeout=30).ok


SEARCH_OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "beam_size": st.sampled_from([None, 1, 2, 4, 16]),
        "num_hypotheses": st.sampled_from([1, 2, 4]),
        "length_penalty": st.sampled_from([None, -10, 10]),
        "coverage_penalty": st.sampled_from([0, 100]),
        "num_beam_groups": st.sampled_from([1, 2, 4]),
        "min_decoding_length": st.sampled_from([0, 1, 20, 100]),
        "max_decoding_length": st.sampled_from([None, 1, 5, 100_000]),
        "no_repeat_ngram_size": st.sampled_from([0, 1, 2, 100_000]),
        "repetition_penalty": st.sampled_from([1e-300, 0.01, 1.0, 1000.0]),
        "suppress_sequences": st.lists(st.sampled_from(["", " ", "h", "a b c", "\0", "한", "h g"]), max_size=4),
        "sampling_topk": st.sampled_from([None, 0, 1, 5, 2**31 - 1]),
        "sampling_topp": st.sampled_from([1e-300, 0.5, 1.0]),
        "sampling_temperature": st.sampled_from([1e-300, 0.5, 1.0, 1e6]),
        "seed": st.sampled_from([0, 2**63 - 1]),
        "target_prefix": st.sampled_from(["", "h"]),
        "force_words": st.sampled_from([[], ["h"]]),
        "words": st.booleans(),
    },
)


@given(SEARCH_OPTIONS)
@example({"suppress_sequences": list("abcdefgh"), "sampling_temperature": 1e-300})
@MODEST
def test_extreme_search_options(address, options):
    body = {"q": "a b c", "source": "aa", "target": "bb", **options}
    assert requests.post(f"{address}/api/translate", json=body, timeout=300).status_code in (200, 400)


@pytest.mark.parametrize("sent", [b"", b'{"q": "a', b'{"q": "a b c", "source": "aa", "target": "bb"}'])
def test_clients_that_disconnect(address, sent):
    """The client sends no body, half a body, or a whole body, and disconnects without reading the response."""
    head = (
        b"POST /api/stream HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 46\r\n\r\n"
    )
    for _ in range(5):
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head + sent)
    assert requests.get(f"{address}/ready", timeout=30).ok


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_every_request_is_answered_although_model_threads_die(registry, monkeypatch):
    work, batches, lock = ModelWorker.work, count(1), threading.Lock()

    def work_or_die(worker, key, payloads):
        with lock:
            number = next(batches)
        if number % 5 == 0:
            raise SystemExit
        return work(worker, key, payloads)

    monkeypatch.setattr(ModelWorker, "work", work_or_die)

    def ask(number: int) -> tuple[int, dict]:
        body = {"q": f"a b {' '.join('abcdefgh'[: number % 8])}", "source": "aa", "target": "bb"}
        answer = requests.post(f"{address}/translate", json=body, timeout=60)
        return answer.status_code, answer.json()

    with serving(registry, ServerSettings(threads=2)) as address, ThreadPoolExecutor(16) as clients:
        answers = list(clients.map(ask, range(300)))
        assert requests.get(f"{address}/ready", timeout=30).ok
    statuses = Counter(status for status, _ in answers)
    assert set(statuses) == {200, 503}
    assert statuses[200] > statuses[503]
    assert all(answer["translatedText"] if status == 200 else "failed" in answer["error"] for status, answer in answers)


def send_bytes(address: str, data: bytes) -> bytes:
    """Send bytes, close the sending side, and return the response."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.settimeout(10)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        try:
            return connection.recv(10_000)
        except ConnectionError:
            return b""


@pytest.mark.slow
def test_requests_generated_from_the_openapi_document(registry):
    """For each route, schemathesis generates valid and invalid requests."""
    sent: Counter[int] = Counter()
    with serving(registry, ServerSettings(threads=2)) as address:
        for found in schemathesis.openapi.from_url(f"{address}/openapi.json").get_all_operations():
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                with suppress(NoExamples):
                    attack(found.ok(), mode, sent)
        assert requests.get(f"{address}/ready", timeout=30).ok
    print(f"{sent.total():,} requests: {dict(sorted(sent.items()))}")
    assert sent.total() >= 5000


def attack(operation, mode: GenerationMode, sent: Counter[int]) -> None:
    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def send(case) -> None:
        status = case.call(timeout=60).status_code
        sent[status] += 1
        assert_no_server_error(status)

    send()
