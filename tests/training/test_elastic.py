"""Runs that torchrun starts: a process is killed or fails, all are interrupted, their number changes."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from allyouneed.files import read_tensors
from allyouneed.training.train import FINISHED, train
from tests.conftest import silent, toy_request
from tests.training.test_resume import command as as_typed
from tests.training.test_resume import losses

pytestmark = pytest.mark.slow
LAST = "checkpoints/step-00000040/model.safetensors"
OFTEN = ["training.save_minutes=0.00001", "training.bleu_sentences=0"]


def start(request, processes: int, *options: str, more=()) -> subprocess.Popen:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    arguments = [*torchrun, *options, "-m", "allyouneed", *as_typed(request)[3:], *more]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=environment)


def errors(stderr: str) -> list[str]:
    """Return the lines that the program itself reports."""
    return [line for line in stderr.splitlines() if line.startswith("error: ")]


def wait_for_step(run: Path, step: int) -> None:
    deadline = time.monotonic() + 300
    while not list(run.glob(f"checkpoints/step-{step:08d}")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def worker_of(process: subprocess.Popen, rank: int) -> int:
    """Return the process id of a rank."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if f"\0RANK={rank}\0" in Path(f"/proc/{child}/environ").read_text():
            return int(child)
    raise AssertionError("no such rank")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    request = toy_request(folder / "text", folder / "run", OFTEN)
    process = start(request, 2)
    assert process.wait() == 0, process.stderr.read()
    return request


def same_weights(run: Path, other: Path) -> bool:
    weights, others = read_tensors(run / LAST), read_tensors(other / LAST)
    return all(weights[name].equal(others[name]) for name in weights)


@pytest.mark.parametrize("rank", [0, 1])
def test_torchrun_restarts_a_killed_process(undisturbed, tmp_path, rank):
    request = dataclasses.replace(undisturbed, out=tmp_path / "run")
    process = start(request, 2, "--max-restarts=2")
    wait_for_step(request.out, 7)
    os.kill(worker_of(process, rank), signal.SIGKILL)
    stderr = process.communicate()[1]
    assert process.returncode == 0, stderr
    assert len(errors(stderr)) == 1
    assert errors(stderr)[0].startswith("error: lost another process of this run (")
    assert same_weights(request.out, undisturbed.out)


def test_without_restarts_the_others_end_and_the_run_can_be_resumed(undisturbed, tmp_path):
    request = dataclasses.replace(undisturbed, out=tmp_path / "run")
    process = start(request, 2)
    wait_for_step(request.out, 7)
    os.kill(worker_of(process, 1), signal.SIGKILL)
    stderr = process.communicate()[1]
    assert process.returncode == 1
    assert len(errors(stderr)) == 1
    assert "allyouneed/training" not in stderr  # no traceback of this program
    process = start(request, 2)
    assert process.wait() == 0, process.stderr.read()
    assert same_weights(request.out, undisturbed.out)


def test_a_signal_saves_in_all_processes(undisturbed, tmp_path):
    request = dataclasses.replace(undisturbed, out=tmp_path / "run", settings=[*undisturbed.settings[:-2], OFTEN[1]])
    process = start(request, 2)
    while b'"step": 10' not in ((request.out / "log.jsonl").read_bytes() if request.out.is_dir() else b""):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    stderr = process.communicate()[1]
    saved = re.search(r"interrupted by SIGTERM at step (\d+) of 40; a checkpoint is saved", stderr)
    assert saved, stderr
    assert (request.out / "checkpoints" / f"step-{int(saved[1]):08d}").is_dir()
    process = start(request, 2)
    assert process.wait() == 0
    assert same_weights(request.out, undisturbed.out)


def test_an_error_is_reported_once(undisturbed, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    for request in (
        dataclasses.replace(undisturbed, out=blocked / "run"),  # found by rank 0 alone
        dataclasses.replace(undisturbed, out=tmp_path / "run", recipe="none"),  # found by all
    ):
        process = start(request, 3)
        stderr = process.communicate()[1]
        assert process.returncode == 1
        assert len(errors(stderr)) == 1, stderr
        assert "exitcode  : 2" in stderr


def test_another_number_of_processes_goes_on_with_the_same_batches(tmp_path):
    settings = [*OFTEN, "model.dropout=0.0", "training.log_every=1", "data.subword_sampling=0.1"]
    whole = toy_request(tmp_path / "text", tmp_path / "whole", settings)
    train(whole, silent())
    request = dataclasses.replace(whole, out=tmp_path / "run")
    for processes, step in ((2, 12), (1, 24), (3, 0)):
        process = start(request, processes)
        if step:
            wait_for_step(request.out, step)
            process.send_signal(signal.SIGTERM)
        stderr = process.communicate()[1]
        assert (process.returncode == 0) == (not step), stderr
    assert train(request, silent()).status == FINISHED
    curve, expected = losses(tmp_path / "run"), losses(tmp_path / "whole")
    assert [step for step, _ in curve] == [step for step, _ in expected]
    assert max(abs(loss - other) for (_, loss), (_, other) in zip(curve, expected, strict=True)) < 1e-3


def test_tasks_of_srun_train_together(undisturbed, tmp_path):
    """As in the second script for Slurm, with the variables that srun sets; torchrun is not involved."""
    request = dataclasses.replace(undisturbed, out=tmp_path / "run")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    slurm = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2", "SLURM_NODEID": "0", "SLURM_STEP_TASKS_PER_NODE": "2"}
    tasks = [
        subprocess.Popen(
            as_typed(request),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **meeting, **slurm, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
        )
        for rank in ("0", "1")
    ]
    said = [task.communicate()[1] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert same_weights(request.out, undisturbed.out)
    assert not said[1]  # only rank 0 reports progress
