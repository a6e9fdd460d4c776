"""Malformed and hostile requests: no request causes a server error or stops the server."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from allyouneed.serving.queue.model_worker import ModelWorker
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving

pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install '.[dev]'")
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


CONFIGURATION = """
[checks.not_a_server_error]
expected-statuses = ["2XX", "4XX", "503"]

[generation]
dictionaries.string = { dictionary = "likely", probability = 0.3 }

[dictionaries.likely]
values = ["aa", "bb", "auto", "a b c", "html", "xml", "<b>a</b> b", "tsv", "a\\tb"]
"""
CHECKS = [
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "allow_header_conformance", "unsupported_method", "use_after_free",
]  # fmt: skip


def attack_with_schemathesis(registry, folder: Path, caplog, phases: str, examples: int) -> Counter[str]:
    """Let schemathesis send valid and invalid requests to each route; returns the number of requests by status."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    with serving(registry, ServerSettings(threads=2, seconds=300)) as address:
        command = [Path(sys.executable).with_name("schemathesis"), "--config-file", folder / "schemathesis.toml", "run",
                   f"{address}/openapi.json", "--phases", phases, "--max-examples", str(examples), "--checks",
                   ",".join(CHECKS), "--request-timeout", "60", "--generation-database", "none", "--workers", "2",
                   "--continue-on-failure", "--no-color"]  # fmt: skip
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        metrics = requests.get(f"{address}/metrics", timeout=30).text
        assert requests.get(f"{address}/ready", timeout=30).ok
    assert run.returncode == 0, run.stdout[-20_000:]
    assert [record.message for record in caplog.records if record.exc_info] == []
    sent: Counter[str] = Counter()
    for status, number in re.findall(r'^allyouneed_requests_total{.*status="(\d+)"} (\d+)', metrics, re.MULTILINE):
        sent[status] += int(number)
    print(f"{sent.total():,} requests: {dict(sorted(sent.items()))}")
    return sent


def test_a_few_requests_generated_from_the_openapi_document(registry, tmp_path, caplog):
    assert attack_with_schemathesis(registry, tmp_path, caplog, "fuzzing", 2).total() > 50


@pytest.mark.slow
def test_requests_generated_from_the_openapi_document(registry, tmp_path, caplog):
    """All phases of schemathesis."""
    sent = attack_with_schemathesis(registry, tmp_path, caplog, "examples,coverage,fuzzing,stateful", 600)
    assert sent.total() >= 20_000
