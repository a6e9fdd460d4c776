"""`allyouneed serve --processes`: translation in other processes, streaming, a process that ends, shutdown."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import requests

from allyouneed.errors import UserError
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.queue import model_processes
from allyouneed.serving.queue.model_processes import ProcessWorker
from allyouneed.serving.queue.model_threads import WorkerDiedError
from allyouneed.serving.queue.model_worker import BatchKey, translate
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.startup import serve
from allyouneed.translation.sentence import Sentence
from allyouneed.translation.stopping import StoppedError, check_needed, stopping_when

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")


@contextmanager
def running(run: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run the command; yields its address and its process."""
    command = [sys.executable, "-m", "allyouneed", "serve", str(run), "--port", "0", "--processes", "2", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            while not (found := re.search(r"^http://127.0.0.1:\d+", server.stderr.readline())):
                assert server.poll() is None
            drain = threading.Thread(target=server.stderr.read, daemon=True)
            drain.start()
            yield found[0], server
        finally:
            server.terminate()
            server.wait()
            drain.join()


def children(process: int) -> list[int]:
    """Return the processes that a process has forked."""
    path = Path(f"/proc/{process}/task/{process}/children")
    if not path.exists():
        pytest.skip("the kernel does not list children")
    return list(map(int, path.read_text().split()))


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_requests_are_translated_in_processes_that_share_the_models(toy_run):
    body = {"q": "a b c", "source": "aa", "target": "bb"}
    with running(toy_run) as (address, server):

        def translated() -> requests.Response:
            return requests.post(f"{address}/translate", json=body, timeout=60)

        expected = translated().json()
        assert "translatedText" in expected
        stream = requests.post(f"{address}/api/stream", json=body, timeout=60).text
        assert stream.count("event: done") == 1
        assert requests.post(f"{address}/look", json=body, timeout=60).status_code == 200
        [template] = children(server.pid)
        models = children(template)
        assert len(models) == 3  # the third one translates short texts that would wait for long ones
        for process in models:
            os.kill(process, signal.SIGKILL)
        answers = [translated() for _ in range(6)]
        assert {answer.status_code for answer in answers} <= {200, 503}
        assert answers[-1].json() == expected
        server.send_signal(signal.SIGTERM)
        server.wait(60)
        deadline = time.monotonic() + 60
        while any(map(is_running, (template, *models))):  # they end once the server has closed their connections
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_threads_and_processes_exclude_each_other(toy_run):
    with pytest.raises(UserError, match="--threads and --processes"):
        serve([toy_run], ServerSettings(threads=2, processes=2), print)


class SteppingWorker:
    """Takes the place of a model: holds batches with "h" until nobody needs them, and copies others."""

    def __init__(self, registry: object):
        pass

    def work(self, key, payloads):
        while any("h" in payload.text for payload in payloads):
            check_needed()
        return [payload.text for payload in payloads]


class PipedProcesses:
    """Takes the place of `ModelProcesses`: the other end of each connection is a thread."""

    def start(self) -> Connection:
        ours, theirs = Pipe()
        threading.Thread(target=model_processes._translate, args=(theirs, None), daemon=True).start()
        return ours


def test_a_model_process_stops_a_batch_that_nobody_needs(monkeypatch):
    monkeypatch.setattr(model_processes, "ModelWorker", SteppingWorker)
    worker, key = ProcessWorker(PipedProcesses()), BatchKey(translate, ("aa", "bb"))
    with pytest.raises(StoppedError), stopping_when(lambda: True):
        worker.work(key, [Sentence("h")])
    with suppress(StoppedError), stopping_when(lambda: True):  # the results may come before the process is stopped
        assert worker.work(key, [Sentence("a")]) == ["a"]
    assert worker.work(key, [Sentence("b"), Sentence("c")]) == ["b", "c"]


class MortalProcesses(PipedProcesses):
    """Starts processes that end at once, as often as given, then others; in the end, none can be started."""

    def __init__(self, dying: int, living: int = 1):
        self.dying, self.living = dying, living

    def start(self) -> Connection:
        if self.dying:
            self.dying -= 1
            ours, theirs = Pipe()
            theirs.close()
            return ours
        if not self.living:
            raise BrokenPipeError  # as if the template had ended
        self.living -= 1
        return super().start()


def test_a_batch_whose_process_ends_is_tried_once_more(monkeypatch):
    monkeypatch.setattr(model_processes, "ModelWorker", SteppingWorker)
    key = BatchKey(translate, ("aa", "bb"))
    assert ProcessWorker(MortalProcesses(dying=1)).work(key, [Sentence("a")]) == ["a"]
    worker = ProcessWorker(MortalProcesses(dying=2))
    with pytest.raises(ApiError, match="a model process ended"):
        worker.work(key, [Sentence("a")])
    assert worker.work(key, [Sentence("a")]) == ["a"]


def test_a_worker_dies_if_no_process_can_be_started():
    worker = ProcessWorker(MortalProcesses(dying=1, living=0))
    with pytest.raises(WorkerDiedError):
        worker.work(BatchKey(translate, ("aa", "bb")), [Sentence("a")])
