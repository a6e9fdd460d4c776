"""Heartbeats: a lost process is noticed, and one error ends all processes with one message."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack
from datetime import timedelta

import pytest
from torch.distributed import DistBackendError, HashStore, TCPStore

from allyouneed.errors import UserError
from allyouneed.interruption import Interrupted, raising_interrupts
from allyouneed.training.distributed import lifeline as module
from allyouneed.training.distributed.lifeline import Lifeline, PeerError
from allyouneed.training.distributed.rendezvous import meet

ALIVE = {"interval": 0.02, "missed": 5}


@pytest.fixture
def lives(monkeypatch):
    """Make the heartbeats of several processes in this one; their exit codes are recorded."""
    monkeypatch.setattr(module, "_GRACE", 0.05)
    with ExitStack() as stack:

        def make(*hosts: str) -> tuple[list[Lifeline], list[int]]:
            store, codes = HashStore(), list[int]()
            made = [Lifeline(store, i, len(hosts), host, end=codes.append, **ALIVE) for i, host in enumerate(hosts)]
            for each in made:
                stack.callback(each.close)
            return made, codes

        yield make


def wait_for(condition) -> None:
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError("nothing happened")


def test_a_silent_process_ends_the_others(lives, capfd):
    (first, second, _), codes = lives("a", "b", "c")
    first.start()
    second.start()
    wait_for(lambda: len(codes) == 2)
    assert codes == [75, 75]
    assert first.ending.message.startswith("lost another process of this run (no heartbeat of rank 2 for 0 seconds)")
    lines = capfd.readouterr().err.splitlines()
    assert sorted(lines) == sorted(
        [f"error: {first.ending.message}", f"error: rank 0 on a: {first.ending.message}"]  # one line on each host
    )


def test_processes_that_leave_are_not_missed(lives):
    made, codes = lives("a", "a")
    for each in made:
        each.start()
    made[1].close()
    threading.Event().wait(0.3)
    assert not codes
    assert made[0].ending is None


def test_the_first_error_is_reported_once_on_each_host(lives, monkeypatch, capfd):
    (first, second, third), _ = lives("a", "a", "b")
    cause = UserError("the disk is full")
    assert second.explain(cause) is cause
    assert capfd.readouterr().err == "error: the disk is full\n"
    lost = first.explain(DistBackendError("connection closed by peer"))
    assert isinstance(lost, PeerError)
    assert (lost.is_reported, lost.exit_code, capfd.readouterr().err) == (True, 2, "")
    third.explain(RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer"))
    assert capfd.readouterr().err == "error: rank 1 on a: the disk is full\n"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert third.explain(UserError("the disk is full")).is_reported
    assert not capfd.readouterr().err


def test_interruptions_and_faults_keep_their_exceptions(lives):
    (first, second), _ = lives("a", "a")
    interrupted, fault = Interrupted(15), ValueError("a fault of the program")
    assert first.explain(interrupted) is interrupted
    assert (first.ending.exit_code, first.ending.message) == (143, "interrupted by SIGTERM")
    assert second.explain(fault) is fault


def test_a_lost_store_is_noticed(lives):
    class Gone(HashStore):
        def check(self, keys):
            raise DistBackendError("broken")

    codes = []
    alone = Lifeline(Gone(), 1, 2, "a", end=codes.append, **ALIVE)
    alone.start()
    wait_for(lambda: codes == [75])
    assert "the store is gone: broken" in alone.ending.message


def test_a_store_that_does_not_answer_is_noticed(lives):
    answers = threading.Event()

    class Silent(HashStore):
        def check(self, keys):
            answers.wait()
            return False

    codes = []
    alone = Lifeline(Silent(), 1, 2, "a", end=codes.append, **ALIVE)
    alone.start()
    wait_for(lambda: codes == [75])
    assert "the store has not answered" in alone.ending.message
    alone.close()
    answers.set()


def test_processes_meet_in_a_store_with_leftovers_of_an_earlier_start(monkeypatch):
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    server.set("hello/1", "a process that has ended")
    for name, value in {
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.port), "TORCHELASTIC_USE_AGENT_STORE": "True"},
    }.items():
        monkeypatch.setenv(name, value)
    met = {}
    threads = [threading.Thread(target=lambda rank=rank: met.update({rank: meet(rank, 2)})) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    met[0][0].set("key", "value")
    assert met[1][0].get("key") == b"value"
    for _, alive in met.values():
        alive.close()


def test_missing_processes_are_reported(monkeypatch):
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(server.port))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    with pytest.raises(UserError, match=r"rank 1 of 2 did not meet the other processes at 127\.0\.0\.1"):
        meet(1, 2, patience=timedelta(seconds=0.2))


def test_the_reason_is_named_if_the_port_is_in_use(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.create_server(("", 0)) as other:
        monkeypatch.setenv("MASTER_PORT", str(other.getsockname()[1]))
        with pytest.raises(UserError, match="address already in use"):
            meet(0, 2)


@pytest.fixture
def closed_port(monkeypatch):
    """Announce an address at which nobody listens."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("MASTER_PORT", str(server.getsockname()[1]))


def test_an_address_that_cannot_be_reached_is_reported_without_traces(closed_port, capfd):
    with pytest.raises(UserError, match=r"at 127\.0\.0\.1:\d+: connection refused\. Look"):
        meet(1, 2, patience=timedelta(seconds=0.2))
    assert capfd.readouterr() == ("", "")


def test_waiting_for_rank_0_can_be_interrupted(closed_port):
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGTERM]).start()
    with raising_interrupts(), pytest.raises(Interrupted):
        meet(1, 2)
