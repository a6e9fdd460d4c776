"""Data parallelism: two processes compute the same result as one process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
import torch

from allyouneed.errors import UserError
from allyouneed.files import read_tensors
from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.training.distributed.launch import announced_ranks
from allyouneed.training.distributed.ranks import Ranks, join_ranks
from allyouneed.training.train import FINISHED, train
from tests.conftest import silent, toy_request
from tests.training.test_resume import command as as_typed
from tests.training.test_resume import losses

EXACT = ["model.dropout=0.0", "training.log_every=1"]  # without dropout, because each rank has its own masks


def with_two_ranks(request, more=()) -> subprocess.CompletedProcess:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*torchrun, "-m", "allyouneed", *as_typed(request)[3:], *more], capture_output=True, text=True, env=environment
    )


def assert_close(run, other) -> None:
    curves = losses(run), losses(other)
    assert [step for step, _ in curves[0]] == [step for step, _ in curves[1]]
    for (_, loss), (_, expected) in zip(*curves, strict=True):
        assert abs(loss - expected) < 1e-3
    last = "bundle/model.safetensors"
    weights, expected = read_tensors(run / last), read_tensors(other / last)
    assert weights.keys() == expected.keys()
    for name, tensor in weights.items():
        # Adam amplifies rounding of gradients near zero, and a ReLU near zero may flip: see test_plain.py
        assert (tensor - expected[name]).norm() < 1e-2 * expected[name].norm(), name


@pytest.mark.parametrize("sharding", ["full", pytest.param("none", marks=pytest.mark.slow)])
def test_two_gloo_ranks_equal_one_process(tmp_path, sharding):
    one = toy_request(tmp_path / "text", tmp_path / "one", [*EXACT, "training.keep_snapshots=3"])
    train(one, silent())
    two = dataclasses.replace(one, out=tmp_path / "two", settings=[*one.settings, f"training.sharding={sharding}"])
    done = with_two_ranks(two)
    assert done.returncode == 0, done.stderr
    assert_close(tmp_path / "two", tmp_path / "one")
    kept = Snapshots(tmp_path / "two" / KEPT), Snapshots(tmp_path / "one" / KEPT)
    assert kept[0].steps() == kept[1].steps()
    assert all(torch.equal(weight, kept[1].load(0)[name]) for name, weight in kept[0].load(0).items())
    assert train(two, silent()).status == FINISHED  # one process can read the run of two


def test_micro_batches_change_nothing(tmp_path):
    one = toy_request(tmp_path / "text", tmp_path / "one", EXACT)
    train(one, silent())
    three = dataclasses.replace(one, out=tmp_path / "three", settings=[*one.settings, "training.micro_batches=3"])
    train(three, silent())
    assert_close(tmp_path / "three", tmp_path / "one")


TORCHRUNS = {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.fixture
def announced(monkeypatch):
    """Set some of torchrun's environment variables and remove the others."""

    def announce(**variables: str) -> None:
        for name in TORCHRUNS:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return announce


def test_one_rank_without_torchrun(announced):
    for variables in ({}, {"WORLD_SIZE": "1"}, {"RANK": "3"}):
        announced(**variables)
        assert join_ranks("cpu") == Ranks()
    announced(**TORCHRUNS)
    assert announced_ranks() == 2


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"RANK": None, "MASTER_ADDR": None}, "RANK, MASTER_ADDR"),
        ({"MASTER_PORT": "any"}, "MASTER_PORT"),
        ({"MASTER_PORT": "99999"}, "MASTER_PORT"),
        ({"RANK": "2"}, "RANK"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE"),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE"),
    ],
)
def test_an_incomplete_environment_is_refused(announced, changed, named):
    announced(**{name: value for name, value in {**TORCHRUNS, **changed}.items() if value})
    with pytest.raises(
        UserError, match=rf"these variables are missing or invalid: {named}\. Start several processes with torchrun"
    ):
        join_ranks("cpu")


def test_an_incomplete_environment_is_a_user_error(announced, tmp_path, command):
    announced(WORLD_SIZE="8")
    code, _, stderr = command(*as_typed(toy_request(tmp_path / "text", tmp_path / "run"))[3:])
    assert code == 2
    assert stderr.startswith("error: WORLD_SIZE is 8 in the environment")
    assert stderr.count("\n") == 1
