"""Snapshots kept over the whole training: which steps, and the same after a crash."""

import dataclasses

import pytest
import torch
from torch import nn

from allyouneed.bundle import load_bundle, weights_of
from allyouneed.config import load_recipe
from allyouneed.files import read_tensors
from allyouneed.snapshots import Snapshots
from allyouneed.training.loop import Loop
from allyouneed.training.planning.schedule import TrainingPlan, snapshot_steps
from allyouneed.training.train import FINISHED, INTERRUPTED, train
from tests.conftest import silent, toy_request
from tests.training.ranks import train_in_two_ranks
from tests.training.test_distributed import EXACT
from tests.training.test_resume import crashing_after

KEEP = "training.keep_snapshots=5"
STEPS = [0, 2, 10, 22, 40]  # 40 · (i / 4)², rounded


def kept(run) -> Snapshots:
    return Snapshots(run / "snapshots")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    train(toy_request(folder / "text", folder / "run", [KEEP]), silent())
    return folder / "run"


def test_steps_are_even_on_a_square_root_scale():
    assert snapshot_steps(400, 5) == {0, 25, 100, 225, 400}
    assert snapshot_steps(400, 1) == {400}
    assert snapshot_steps(400, 0) == set()
    assert snapshot_steps(3, 1000) == {0, 1, 2, 3}
    assert len(snapshot_steps(100_000, 20)) == 20


def test_initial_and_last_weights_are_kept(whole, toy_run):
    assert kept(whole).steps() == STEPS
    assert not (toy_run / "snapshots").exists()  # none by default
    last = read_tensors(whole / "checkpoints" / "step-00000040" / "model.safetensors")
    assert all(torch.equal(tensor, last[name]) for name, tensor in kept(whole).load(40).items())
    expected = weights_of(load_bundle(toy_run).model)
    for name, tensor in weights_of(load_bundle(whole).model).items():  # keeping snapshots changes nothing
        assert torch.equal(tensor, expected[name])


@pytest.mark.parametrize("step", [23, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 39))])
def test_a_crash_changes_no_snapshot(whole, tmp_path, monkeypatch, step):
    request = toy_request(tmp_path / "text", tmp_path / "run", [KEEP])
    with crashing_after(step, monkeypatch):
        train(request, silent())
    before = kept(request.out).steps()
    assert before == [kept for kept in STEPS if kept <= step]
    assert train(request, silent()).status == FINISHED
    assert kept(request.out).steps() == STEPS
    for each in STEPS:
        expected = kept(whole).load(each)
        assert all(torch.equal(tensor, expected[name]) for name, tensor in kept(request.out).load(each).items())


def test_a_resumed_run_deletes_snapshots_that_it_has_not_reached(tmp_path, monkeypatch):
    """A corrected plan may keep other steps than the one before the crash."""
    request = toy_request(tmp_path / "text", tmp_path / "run", [KEEP])
    with crashing_after(12, monkeypatch):
        train(request, silent())
    kept(request.out).path(10).rename(kept(request.out).path(11))
    monkeypatch.setattr(Loop, "train", lambda loop: INTERRUPTED)
    train(request, silent())
    assert kept(request.out).steps() == [0]


@pytest.mark.slow  # three processes
def test_only_the_first_rank_writes(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", [*EXACT, KEEP])
    train_in_two_ranks(request, tmp_path)
    assert kept(request.out).steps() == STEPS


def test_a_longer_plan_keeps_more(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", [KEEP])
    plan = TrainingPlan(8, warmup=2, decay="linear", learning_rate=0.005, validate_every=8, average_every=2)
    train(dataclasses.replace(request, plan=plan), silent())
    assert kept(request.out).steps() == [0, 2, 4, 8]  # 0.5 is rounded to 0


def test_the_quickstart_keeps_snapshots():
    assert load_recipe("dates").training.keep_snapshots == 12


def test_folders_of_other_names_are_no_snapshots(tmp_path):
    """For example a copy by a file manager, or a folder that was being written."""
    snapshots = Snapshots(tmp_path)
    snapshots.save(5, nn.Linear(1, 1))
    for name in ("weights-00000005 copy", "weights-old", "weights-00000007.unfinished", "weights-²"):
        (tmp_path / name).mkdir()
    assert snapshots.steps() == [5]
    snapshots.rewind(1)
    assert len(list(tmp_path.iterdir())) == 4
