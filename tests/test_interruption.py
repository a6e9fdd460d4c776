"""Ctrl-C, SIGTERM and SIGHUP before, in and after training, and in programs started with `nohup`."""

from __future__ import annotations

import os
import pickle
import pty
import signal
import subprocess
import sys
import threading

import pytest

from allyouneed.interruption import (
    Interrupted,
    deferring_interrupts,
    describing_interrupts,
    raising_interrupts,
    run_interruptibly,
)
from allyouneed.terminal import resume_hint
from allyouneed.training.loop import Loop
from allyouneed.training.train import FINISHED, INTERRUPTED, train
from tests.conftest import silent, toy_request
from tests.training.test_resume import assert_same, command, wait_for

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(autouse=True)
def default_handlers():
    """Restore the defaults, which the program that started the tests may have changed."""
    before = {number: signal.getsignal(number) for number in CODES}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("rank", [0, 1])
def test_only_one_process_of_a_run_reports_a_signal(rank, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", str(rank))
    with pytest.raises(SystemExit) as exit_info, resume_hint():
        send(signal.SIGTERM)
    assert exit_info.value.code == 143
    assert ("To resume" in capsys.readouterr().err) == (rank == 0)


@pytest.mark.parametrize("number", CODES)
def test_exit_codes_are_those_of_shells(number, capsys):
    with pytest.raises(SystemExit) as exit_info, resume_hint():
        send(number)
    assert exit_info.value.code == CODES[number]
    name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP (the terminal was closed)"}[
        number
    ]
    assert f"interrupted by {name}; progress is saved. To resume, run the same command again" in capsys.readouterr().err


@pytest.mark.parametrize("number", CODES)
def test_ignored_signals_stay_ignored(number):
    """`nohup` ignores SIGHUP; shells ignore SIGINT for background jobs of scripts."""
    signal.signal(number, signal.SIG_IGN)
    with raising_interrupts(), deferring_interrupts() as interrupt:
        send(number)
    assert not interrupt.requested
    assert signal.getsignal(number) is signal.SIG_IGN


def test_deferred_signals():
    with deferring_interrupts() as interrupt:
        send(signal.SIGHUP)
        send(signal.SIGTERM)  # closing terminals and process managers send several
        send(signal.SIGHUP)
        assert interrupt.number == signal.SIGHUP
        with pytest.raises(Interrupted):
            send(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_innermost_description_counts():
    outside, inside = (describing_interrupts(lambda text=text: text) for text in ("outside", "inside"))
    with pytest.raises(Interrupted) as caught, outside, raising_interrupts(), inside:
        send(signal.SIGTERM)
    assert str(caught.value) == "interrupted by SIGTERM inside"
    assert isinstance(caught.value, KeyboardInterrupt)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (copy.number, copy.message) == (signal.SIGTERM, "interrupted by SIGTERM inside")


def test_long_compiled_work_can_be_interrupted():
    assert run_interruptibly(lambda: 5) == 5
    with pytest.raises(RuntimeError, match="no"):
        run_interruptibly(lambda: (_ for _ in ()).throw(RuntimeError("no")))
    go_on = threading.Event()
    threading.Timer(0.2, send, [signal.SIGTERM]).start()
    with pytest.raises(Interrupted), raising_interrupts():
        run_interruptibly(lambda: go_on.wait(60))
    go_on.set()


def test_an_exit_does_not_wait_for_abandoned_work():
    code = (
        "import os, signal, threading, time\n"
        "from allyouneed.terminal import resume_hint\n"
        "from allyouneed.interruption import run_interruptibly\n"
        "threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM]).start()\n"
        "threading.Thread(target=time.sleep, args=[60]).start()\n"  # an exit that waits would wait for this thread
        "with resume_hint(): run_interruptibly(lambda: time.sleep(60))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 143
    assert "interrupted by SIGTERM; progress is saved" in done.stderr


@pytest.mark.parametrize(
    ("function", "number", "message"),
    [
        (
            "allyouneed.training.train._prepare",
            signal.SIGTERM,
            "SIGTERM while preparing the text, before the first step",
        ),
        ("allyouneed.training.train.agreed_plans", signal.SIGINT, "Ctrl-C before the first step; the prepared text"),
        ("allyouneed.training.loop.Loop.finish", signal.SIGHUP, "closed\\) in the final scoring; all steps are saved"),
    ],
)
def test_signals_around_the_training_steps(toy_run, tmp_path, monkeypatch, function, number, message):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(function, lambda *_: send(number))
        with pytest.raises(Interrupted, match=message) as caught:
            train(request, silent())
    assert caught.value.exit_code == CODES[number]
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", toy_run)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_while_training_save_a_checkpoint(tmp_path, monkeypatch, number):
    original = Loop.step

    def step_and_send(loop: Loop):
        if loop.state.step == 7:
            send(number)
        return original(loop)

    monkeypatch.setattr(Loop, "step", step_and_send)
    outcome = train(toy_request(tmp_path / "text", tmp_path / "run"), silent())
    assert (outcome.status, outcome.signal) == (INTERRUPTED, number)
    assert outcome.ending.endswith("at step 8 of 40; a checkpoint is saved")
    assert (tmp_path / "run" / "checkpoints" / "step-00000008").is_dir()
    with pytest.raises(Interrupted, match="a checkpoint is saved") as caught:
        outcome.raise_if_interrupted()
    assert caught.value.exit_code == CODES[number]


def test_closing_the_terminal_saves_a_checkpoint(toy_run, tmp_path):
    """The terminal is gone when the program wants to say so."""
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.save_minutes=0.00001"])
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command(request)], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    wait_for(tmp_path / "run" / "checkpoints" / "step-*", process)
    os.close(ours)  # the kernel sends SIGHUP to the programs of the terminal
    assert process.wait(timeout=60) == 129
    assert (tmp_path / "run" / "report.html").is_file()
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", toy_run)


def test_a_program_that_is_told_to_end_before_the_first_step(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    waiting = (
        "import sys, time; from allyouneed.training import train\n"
        "def wait(*_): print('preparing', flush=True); time.sleep(60)\n"
        "train._prepare = wait; from allyouneed.cli import main; main()"
    )
    arguments = [sys.executable, "-c", waiting, *command(request)[3:]]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "preparing\n"
    process.terminate()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "interrupted by SIGTERM while preparing the text, before the first step" in said
    assert "To resume, run the same command again" in said
    assert "Traceback" not in said
