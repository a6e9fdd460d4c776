"""Two processes compute what one does."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

from allyouneed.files import read_tensors
from allyouneed.training.run import FINISHED, train
from tests.conftest import silent, toy_request
from tests.training.test_resume import command, losses

EXACT = ["model.dropout=0.0", "training.log_every=1"]  # ranks draw dropout of their own


def with_two_ranks(request) -> subprocess.CompletedProcess:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*torchrun, "-m", "allyouneed", *command(request)[3:]], capture_output=True, text=True, env=environment
    )


def assert_close(run, other) -> None:
    curves = losses(run), losses(other)
    assert [step for step, _ in curves[0]] == [step for step, _ in curves[1]]
    for (_, loss), (_, expected) in zip(*curves, strict=True):
        assert abs(loss - expected) < 1e-5
    last = "checkpoints/step-00000040/model.safetensors"
    weights, expected = read_tensors(run / last), read_tensors(other / last)
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        # sums in another order, which Adam enlarges where a gradient is nearly nothing
        assert (tensor - expected[name]).norm() < 3e-4 * expected[name].norm(), name


def test_two_gloo_ranks_equal_one_process(tmp_path):
    one = toy_request(tmp_path / "text", tmp_path / "one", EXACT)
    train(one, silent())
    two = dataclasses.replace(one, out=tmp_path / "two")
    done = with_two_ranks(two)
    assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "two", tmp_path / "one")
    assert train(two, silent()).status == FINISHED  # what two began one can read


def test_micro_batches_change_nothing(tmp_path):
    one = toy_request(tmp_path / "text", tmp_path / "one", EXACT)
    train(one, silent())
    three = dataclasses.replace(one, out=tmp_path / "three", settings=[*one.settings, "training.micro_batches=3"])
    train(three, silent())
    assert_close(tmp_path / "three", tmp_path / "one")
