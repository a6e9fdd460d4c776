"""Resuming: a resumed run is bitwise identical to an uninterrupted run."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from allyouneed import UserError
from allyouneed.data.corpora import corpus
from allyouneed.files import read_tensors
from allyouneed.training.checkpoint import _checkpoints
from allyouneed.training.loop import Loop
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.train import FINISHED, INTERRUPTED, train
from tests.conftest import silent, toy_request

STEPS = 40


class _Crash(Exception):
    """Simulated crash of the process."""


def final_state(run: Path) -> dict:
    """Return all tensors and facts of the last checkpoint, and the weights of the bundle."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    facts = json.loads((last / "state.json").read_text())
    kept = {key: facts[key] for key in ("step", "epoch", "index", "best", "validations_without_gain")}
    tensors = {
        **{f"model {name}": tensor for name, tensor in read_tensors(last / "model.safetensors").items()},
        **{f"optimizer {name}": tensor for name, tensor in read_tensors(last / "optimizer.safetensors").items()},
        **{f"bundle {name}": t for name, t in read_tensors(run / "bundle" / "model.safetensors").items()},
    }
    return {"facts": kept, "tensors": tensors}


def assert_same(run: Path, other: Path) -> None:
    ours, theirs = final_state(run), final_state(other)
    assert ours["facts"] == theirs["facts"]
    assert ours["facts"]["step"] == STEPS
    assert ours["tensors"].keys() == theirs["tensors"].keys()
    assert any("exp_avg" in name for name in ours["tensors"])
    for name, tensor in ours["tensors"].items():
        assert torch.equal(tensor, theirs["tensors"][name]), name


def losses(run: Path) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"]) for record in records if record["event"] == "train"]


@contextmanager
def crashing_after(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make training in this block crash after the given step."""
    original = Loop.step

    def step_or_crash(loop: Loop):
        if loop.state.step == step:
            raise _Crash
        return original(loop)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", step_or_crash)
        with pytest.raises(_Crash):
            yield


@pytest.mark.parametrize("step", [7, 16, *(pytest.param(step, marks=pytest.mark.slow) for step in (13, 15, 38))])
def test_a_crash_between_checkpoints(toy_run, tmp_path, monkeypatch, step):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.save_minutes=0.00001"] if step == 7 else [])
    with crashing_after(step, monkeypatch):
        train(request, silent())
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", toy_run)
    assert losses(tmp_path / "run") == losses(toy_run)


def test_random_state_is_a_function_of_the_step(toy_run, tmp_path, monkeypatch):
    states = []
    original = Loop.save
    monkeypatch.setattr(
        Loop, "save", lambda loop: (states.append((loop.state.step, torch.get_rng_state())), original(loop))
    )
    request = toy_request(tmp_path / "text", tmp_path / "run")
    train(request, silent())
    uninterrupted = dict(states)
    states.clear()
    again = dataclasses.replace(request, out=tmp_path / "again")
    with crashing_after(20, monkeypatch):
        train(again, silent())
    train(again, silent())
    assert uninterrupted.keys() == dict(states).keys()
    for step, state in states:
        assert torch.equal(uninterrupted[step], state)


def command(request) -> list[str]:
    settings = [part for setting in request.settings for part in ("--set", setting)]
    return [
        *(sys.executable, "-m", "allyouneed", "train", "--from", "aa", "--to", "bb", "--out", str(request.out)),
        *("--train", *map(str, request.train[0].paths), "--valid", *map(str, request.valid[0].paths)),
        *("--recipe", request.recipe),
        *settings,
    ]


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not list(path.parent.glob(path.name)) and process.poll() is None:
        time.sleep(0.005)


def test_repeated_sigkill(toy_run, tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.save_minutes=0.00001"])
    for step in (5, 22):
        process = subprocess.Popen(command(request), stderr=subprocess.DEVNULL)
        wait_for(tmp_path / "run" / "checkpoints" / f"step-*{step}*", process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command(request), stderr=subprocess.DEVNULL).returncode == 0
    assert_same(tmp_path / "run", toy_run)
    assert losses(tmp_path / "run") == losses(toy_run)


def test_ctrl_c_saves_and_prints_how_to_resume(toy_run, tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    process = subprocess.Popen(command(request), stderr=subprocess.PIPE, text=True)
    wait_for(tmp_path / "run" / "checkpoints" / "weights-*", process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "To resume, run the same command again" in stderr
    assert f"--out {request.out}" in stderr
    assert "Traceback" not in stderr
    assert (tmp_path / "run" / "report.html").exists()
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", toy_run)


def test_a_finished_run_is_unchanged(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    scores = train(request, silent()).scores
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")}
    assert train(request, silent()).scores["valid"] == scores["valid"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run" / "checkpoints").rglob("*")}


def test_different_settings_or_text_are_refused(toy_run, tmp_path):
    request = toy_request(toy_run.parent / "text", toy_run)
    other = dataclasses.replace(request, settings=[*request.settings, "training.seed=9"])
    with pytest.raises(UserError, match=r"was started with training\.seed = 1, now 9\. Repeat the original command"):
        train(other, silent())
    text = toy_request(tmp_path / "text", toy_run)
    source = text.train[0].paths[0]
    source.write_text(source.read_text().replace("a", "b"))
    with pytest.raises(
        UserError, match=r"was started with --train = train\.src, train\.tgt, now the same with other content"
    ):
        train(text, silent())


def test_swapped_sides_or_missing_validation_are_refused(toy_run):
    request = toy_request(toy_run.parent / "text", toy_run)
    with pytest.raises(UserError, match=r"started with --train = train\.src, train\.tgt, now train\.tgt, train\.src"):
        train(dataclasses.replace(request, train=[corpus(*request.train[0].paths[::-1])]), silent())
    with pytest.raises(UserError, match=r"was started with --valid = valid\.src, valid\.tgt, now none"):
        train(dataclasses.replace(request, valid=None), silent())


def test_a_run_without_its_record_and_the_copy_starts_over(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    train(request, silent())
    for name in ("run.json", "run.json.copy"):
        (tmp_path / "run" / name).unlink()
    other = dataclasses.replace(request, settings=[*request.settings, "training.optimizer=adam", "training.seed=4"])
    assert train(other, silent()).status == FINISHED
    assert [step for step, _ in losses(tmp_path / "run")] == [10, 20, 30, 40]


def test_a_damaged_snapshot_is_skipped(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "finish", lambda loop: (_ for _ in ()).throw(_Crash))
        with pytest.raises(_Crash):
            train(request, silent())
    (tmp_path / "run" / "checkpoints" / "weights-00000025" / "model.safetensors").write_bytes(b"broken")
    assert train(request, silent()).status == FINISHED
    weights = json.loads((tmp_path / "run" / "run.json").read_text())["finished"]["weights"]
    assert weights == "average of steps 20, 30, 35, 40 without the damaged 25" or weights.startswith("step ")


def test_an_inverse_square_root_schedule_can_be_extended(tmp_path):
    paper = ["training.decay=inverse_sqrt", "training.average_every=10", "training.validate_every=10"]
    whole = toy_request(tmp_path / "text", tmp_path / "whole", [*paper, "training.steps=40"])
    half = dataclasses.replace(whole, out=tmp_path / "half", settings=[*whole.settings[:-1], "training.steps=20"])
    train(whole, silent())
    train(half, silent())
    train(dataclasses.replace(half, settings=whole.settings), silent())
    assert_same(tmp_path / "half", tmp_path / "whole")


def test_the_remedy_for_a_damaged_checkpoint_works(toy_run, tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    with crashing_after(35, monkeypatch):
        train(request, silent())
    newest = tmp_path / "run" / "checkpoints" / "step-00000030"
    for name in ("model.safetensors", "optimizer.safetensors", "state.json"):
        content = (newest / name).read_bytes()
        (newest / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=f"{name}: truncated or changed.*Delete .*resumes at step-00000015"):
            train(request, silent())
        (newest / name).write_bytes(content)
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", toy_run)


def test_patience_survives_a_resume(tmp_path, monkeypatch):
    hopeless = [
        "training.learning_rate=1e-9",
        "training.matrix_learning_rate=1e-9",
        "training.patience=2",
        "training.steps=400",
        "training.validate_every=5",
    ]
    request = toy_request(tmp_path / "text", tmp_path / "run", hopeless)
    with crashing_after(12, monkeypatch):  # the first validation is the best; one more validation was not better
        train(request, silent())
    assert train(request, silent()).status == "stopped early"
    assert final_state(tmp_path / "run")["facts"]["step"] == 15
    lines = RunLog(tmp_path / "run", silent()).records()
    assert [line["step"] for line in lines if line["event"] == "train"][-1] == 15  # every step is part of a record


def test_the_newest_checkpoint_has_the_largest_number(tmp_path):
    for step in (2, 99_999_999, 100_000_000):
        (tmp_path / f"step-{step:08d}").mkdir()
    assert _checkpoints(tmp_path)[-1].name == "step-100000000"


def test_a_run_killed_after_patience_ended_stops_when_resumed(tmp_path, monkeypatch):
    hopeless = [
        "training.learning_rate=1e-9",
        "training.matrix_learning_rate=1e-9",
        "training.patience=1",
        "training.steps=400",
        "training.validate_every=5",
    ]
    request = toy_request(tmp_path / "text", tmp_path / "run", hopeless)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "finish", lambda loop: (_ for _ in ()).throw(_Crash))
        with pytest.raises(_Crash):
            train(request, silent())
    assert train(request, silent()).status == "stopped early"
    assert final_state(tmp_path / "run")["facts"]["step"] == 10


def test_two_processes_cannot_write_one_run(toy_run, tmp_path):
    import fcntl

    request = toy_request(tmp_path / "text", tmp_path / "run")
    (tmp_path / "run").mkdir()
    with open(tmp_path / "run" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process"):
            train(request, silent())


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("allyouneed.shared_files.fcntl.flock", refuse)
    with pytest.raises(UserError, match=r"cannot write .*run: no locks available"):
        train(toy_request(tmp_path / "text", tmp_path / "run"), silent())


def test_a_full_disk_loses_nothing(toy_run, tmp_path):
    """A temporary limit on file sizes simulates a full disk."""
    request = toy_request(tmp_path / "text", tmp_path / "run")
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from allyouneed.training.loop import Loop; original = Loop.save;\n"
        "def save(loop):\n"
        "    if loop.state.step == 30: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "    original(loop)\n"
        "Loop.save = save; from allyouneed.cli import main; main()"
    )
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("COVERAGE")}
    failed = subprocess.run(
        [sys.executable, "-c", limited, *command(request)[3:]], capture_output=True, text=True, env=environment
    )
    assert failed.returncode == 2
    assert "cannot write" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("step-*")) == ["step-00000015"]
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", toy_run)


def test_interrupted_status_from_python(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    original = Loop.step

    def step_and_interrupt(loop: Loop):
        if loop.state.step == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return original(loop)

    monkeypatch.setattr(Loop, "step", step_and_interrupt)
    assert train(request, silent()).status == INTERRUPTED


def test_a_second_ctrl_c_stops_at_once_and_the_run_can_be_resumed(toy_run, tmp_path, monkeypatch):
    request, before = toy_request(tmp_path / "text", tmp_path / "run"), signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:

        def interrupt_twice(loop: Loop):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Loop, "step", interrupt_twice)
        with pytest.raises(KeyboardInterrupt):
            train(request, silent())
    assert signal.getsignal(signal.SIGINT) is before
    assert train(request, silent()).status == FINISHED
    assert_same(tmp_path / "run", toy_run)


def test_training_in_a_thread_installs_no_signal_handlers(toy_run, tmp_path):
    request, found = toy_request(tmp_path / "text", tmp_path / "run"), []

    def within() -> None:
        torch.set_num_threads(1)  # the setting is per Python thread
        found.append(train(request, silent()).status)

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert found == [FINISHED]
    assert_same(tmp_path / "run", toy_run)
