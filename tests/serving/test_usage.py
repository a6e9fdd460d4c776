"""Quotas: what is charged, and what is not."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from allyouneed.errors import UserError
from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.access.usage import MonthlyUsage
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.queue.model_worker import ModelWorker
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving


def test_a_reservation_counts_until_it_is_settled(tmp_path):
    usage = MonthlyUsage(tmp_path / "usage.json")
    first, second = usage.reserve("anna", 6, 10), usage.reserve("anna", 4, 10)
    for more in (1, 5):
        with pytest.raises(ApiError, match="quota exceeded: 0 of 10 characters") as raised:
            usage.reserve("anna", more, 10)
        assert raised.value.status == 456
    usage.reserve("anna", 0, 10)  # a request without text is always possible
    usage.reserve("otto", 5, 10)
    first.settle(True)
    assert usage.used("anna") == 6
    second.settle(False)
    second.settle(True)  # without effect
    assert usage.used("anna") == 6
    usage.reserve("anna", 4, 10)


def test_processes_share_the_file_of_usage(tmp_path):
    """Each adds what it has counted since it last wrote the file."""
    file = tmp_path / "usage.json"
    servers = [MonthlyUsage(file) for _ in range(4)]
    barrier = threading.Barrier(4)

    def work(server: MonthlyUsage) -> None:
        for _ in range(20):
            server.reserve("anna", 1, None).settle(True)
            barrier.wait()
            server.save()

    threads = [threading.Thread(target=work, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert MonthlyUsage(file).used("anna") == 80


def test_usage_of_another_month_does_not_count(tmp_path, monkeypatch):
    usage = MonthlyUsage(tmp_path / "usage.json")
    usage.reserve("anna", 5, 5).settle(True)
    usage.save()
    monkeypatch.setattr("allyouneed.serving.access.usage.current_month", lambda: "2099-01")
    over_midnight = usage.reserve("anna", 5, 5)
    over_midnight.settle(True)
    usage.save()
    assert MonthlyUsage(tmp_path / "usage.json").used("anna") == 5


def test_a_file_that_cannot_be_written_is_reported_and_nothing_is_lost(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir()
    usage = MonthlyUsage(folder / "usage.json")
    usage.reserve("anna", 5, None).settle(True)
    (folder / "usage.json").mkdir()
    with pytest.raises(UserError, match=r"usage\.json"):
        usage.save()
    (folder / "usage.json").rmdir()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"usage\.json"):
        usage.save()
    (tmp_path / "elsewhere").rename(folder)
    usage.save()
    assert MonthlyUsage(folder / "usage.json").used("anna") == 5


@pytest.fixture(scope="module")
def metered(registry, tmp_path_factory):
    """A server with keys: its address, and a function that makes a key with a quota."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    add_key(file, "operator")
    numbers = iter(range(1000))
    settings = ServerSettings(threads=1, keys=file, characters=200, seconds=300)
    with serving(registry, settings) as address:
        yield address, lambda quota=1000: add_key(file, f"key {next(numbers)}", characters=quota)


def used(address: str, secret: str) -> int:
    headers = {"Authorization": f"DeepL-Auth-Key {secret}"}
    return requests.get(f"{address}/v2/usage", headers=headers, timeout=30).json()["character_count"]


PAIR = {"source": "aa", "target": "bb"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/translate", {"q": "a b c", **PAIR}, 200),
        ("/translate", {"q": "a b c", "source": "aa", "target": "xx"}, 400),
        ("/translate", {"q": "a" * 201, **PAIR}, 400),
        ("/translate", {"q": 5, **PAIR}, 400),
        ("/detect", {"q": "a b c"}, 200),
        ("/v2/translate", {"text": ["a b c"], "source_lang": "aa", "target_lang": "bb", "glossary_id": "x"}, 404),
        ("/v2/translate", {"text": ["a b", "c"], "source_lang": "aa", "target_lang": "bb"}, 200),
        ("/api/translate", {"q": "a b", "num_hypotheses": 3, "beam_size": 2, **PAIR}, 400),
        ("/api/stream", {"q": "a b", **PAIR}, 200),
        ("/look", {"q": "a b", "source": "bb", "target": "bb"}, 400),
    ],
)
def test_only_what_was_translated_is_charged(metered, path, body, status):
    address, new_key = metered
    secret = new_key()
    headers = {"Authorization": f"Bearer {secret}"}
    response = requests.post(address + path, json={**body, "api_key": secret} if "text" not in body else body,
                             headers=headers, timeout=300)  # fmt: skip
    if path.startswith("/api"):
        response = requests.post(address + path, json=body, headers=headers, timeout=300)
    assert response.status_code == status, response.text
    texts = body.get("text", [body.get("q")])
    expected = sum(map(len, texts)) if status == 200 and path != "/detect" else 0
    assert used(address, secret) == expected


def test_a_failure_of_the_model_is_not_charged(metered, monkeypatch):
    address, new_key = metered
    secret = new_key()

    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(ModelWorker, "work", fail)
    headers = {"Authorization": f"Bearer {secret}"}
    failed = requests.post(f"{address}/translate", json={"q": "a b", **PAIR, "api_key": secret}, timeout=300)
    assert failed.status_code >= 500
    stream = requests.post(f"{address}/api/stream", json={"q": "a b. c d.", **PAIR}, headers=headers, timeout=300)
    assert stream.status_code >= 500 or "event: error" in stream.text
    assert used(address, secret) == 0


def test_concurrent_requests_cannot_exceed_a_quota(metered):
    address, new_key = metered
    secret = new_key(quota=50)

    def ask(number: int) -> int:
        body = {"q": f"{'abcdefgh'[number % 8]} b c", **PAIR, "api_key": secret}
        return requests.post(f"{address}/translate", json=body, timeout=300).status_code

    with ThreadPoolExecutor(16) as clients:
        statuses = list(clients.map(ask, range(40)))
    assert sorted(statuses) == [200] * 10 + [456] * 30
    assert used(address, secret) == 50


def upload(address: str, secret: str, data: bytes, name: str = "a.txt") -> requests.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    files = {"file": (name, data)}
    return requests.post(f"{address}/api/documents", files=files, data=PAIR, headers=headers, timeout=300)


def test_a_document_is_charged_when_it_is_translated(metered):
    address, new_key = metered
    secret = new_key()
    headers = {"Authorization": f"Bearer {secret}"}
    assert upload(address, secret, b"a b\n", "a.exe").status_code == 400
    assert upload(address, secret, b"<a><b></a>", "a.xml").status_code == 400
    assert used(address, secret) == 0
    state = upload(address, secret, b"a b\nc\n").json()
    while state["status"] not in ("done", "error"):
        time.sleep(0.02)
        state = requests.get(f"{address}/api/documents/{state['id']}", headers=headers, timeout=30).json()
    assert used(address, secret) == 4


def test_a_document_that_is_deleted_before_it_is_translated_is_not_charged(metered, monkeypatch):
    address, new_key = metered
    secret = new_key()
    work, started, go_on = ModelWorker.work, threading.Event(), threading.Event()

    def wait(worker, key, payloads):
        started.set()
        go_on.wait(60)
        return work(worker, key, payloads)

    monkeypatch.setattr(ModelWorker, "work", wait)
    job = upload(address, secret, b"a b c d\n").json()
    started.wait(60)
    headers = {"Authorization": f"Bearer {secret}"}
    assert requests.delete(f"{address}/api/documents/{job['id']}", headers=headers, timeout=30).status_code == 204
    go_on.set()
    assert used(address, secret) == 0


@pytest.mark.parametrize("used", [[], {"anna": None}, {"anna": -1}, {"anna": "5"}, {"anna": 1e999}])
def test_usage_of_another_type_is_refused(used, tmp_path):
    (tmp_path / "usage.json").write_text(json.dumps({"month": "2026-12", "used": used}))
    with pytest.raises(UserError, match=r"usage\.json: .*Delete the file to restart this month's count\.$"):
        MonthlyUsage(tmp_path / "usage.json")
