"""Checkpoints of sharded runs, which any number of ranks can read."""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

import pytest
from torch import Tensor

from allyouneed.config import load_recipe
from allyouneed.errors import UserError
from allyouneed.files import add_to_manifest
from allyouneed.training.checkpoint import load_checkpoint, save_checkpoint
from allyouneed.training.distributed.ranks import Ranks, whole
from allyouneed.training.planning.schedule import plan_for_steps
from allyouneed.training.step import TrainingState, update
from tests.training.ranks import in_ranks
from tests.training.test_parallel import SMALL, global_batch, make_state, part_of

CONFIG = load_recipe("tiny").override([*SMALL, "training.sharding=full", "training.optimizer=muon"])
RANKS = 3
STEP = "step-00000002"


def take_step(state: TrainingState, ranks: Ranks) -> None:
    share = part_of(global_batch(9, state.step), ranks.rank, ranks.count)
    update(state, [share], CONFIG.training, plan_for_steps(CONFIG), ranks)


def tensors_of(state: TrainingState) -> dict[str, Tensor]:
    named = {name: whole(parameter.detach()).clone() for name, parameter in state.model.named_parameters()}
    names = {parameter: name for name, parameter in state.model.named_parameters()}
    for optimizer in state.optimizers:
        for parameter, values in optimizer.state.items():
            named |= {f"{names[parameter]}|{key}": whole(tensor).clone() for key, tensor in values.items()}
    return named


def train_and_save(ranks: Ranks, folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    state = make_state(CONFIG, ranks)
    for _ in range(2):
        take_step(state, ranks)
    save_checkpoint(folder, state, b"a log.\n", ranks)
    save_checkpoint(folder, state, b"a log.\n", ranks)  # replaces it
    saved = tensors_of(state)
    take_step(state, ranks)
    return saved, tensors_of(state)


def load_and_train(ranks: Ranks, folder: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    state = make_state(CONFIG, ranks)
    assert load_checkpoint(folder, state) == len(b"a log.\n")
    assert state.step == 2
    loaded = tensors_of(state)
    take_step(state, ranks)
    return loaded, tensors_of(state)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "ranks").mkdir()
    return folder / "checkpoints", in_ranks(RANKS, folder / "ranks", train_and_save, folder / "checkpoints")[0]


def assert_goes_on(found, expected) -> None:
    for name, tensor in expected[0].items():
        assert found[0][name].equal(tensor), name
    assert found[0].keys() == expected[0].keys()
    for name, tensor in expected[1].items():
        assert (found[1][name] - tensor).norm() <= 1e-5 * tensor.norm() + 1e-9, name


def test_one_process_goes_on(saved):
    folder, expected = saved
    assert_goes_on(load_and_train(Ranks(), folder), expected)


def test_another_number_of_ranks_goes_on(saved, tmp_path):
    folder, expected = saved
    for found in in_ranks(2, tmp_path, load_and_train, folder):
        assert_goes_on(found, expected)


def test_files_are_safetensors_and_json_with_checksums(saved):
    folder, _ = saved
    assert [path.name for path in folder.iterdir()] == [STEP]
    names = {path.name for path in (folder / STEP).iterdir()}
    shards = {f"shard-{rank:05d}-model-00001-of-00001.safetensors" for rank in range(1, RANKS + 1)}
    assert names == {*shards, "state.json", "log.jsonl", "manifest.json"}
    checksums = json.loads((folder / STEP / "manifest.json").read_text())["sha256"]
    assert checksums.keys() == names - {"manifest.json"}


@pytest.mark.parametrize("prefix", ["model/", "optimizer/"])
def test_numbers_that_are_not_finite_are_refused(prefix, saved, tmp_path):
    shutil.copytree(saved[0], tmp_path / "checkpoints")
    shard = next((tmp_path / "checkpoints" / STEP).glob("shard-00002-*"))
    content = bytearray(shard.read_bytes())
    [size] = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    name, entry = next((k, v) for k, v in header.items() if k.startswith(prefix) and len(v["shape"]) == 2)
    start = 8 + size + entry["data_offsets"][0]
    content[start : start + 4] = struct.pack("<f", float("nan"))
    shard.write_bytes(content)
    (shard.parent / "manifest.json").unlink()
    add_to_manifest(shard.parent, *(path.name for path in shard.parent.iterdir()))
    with pytest.raises(UserError, match=rf"{re.escape(name.removeprefix(prefix))}.*is not finite\. Delete .*step-0"):
        load_checkpoint(tmp_path / "checkpoints", make_state(CONFIG, Ranks()))


def test_damaged_and_missing_shards_are_refused(saved, tmp_path):
    folder, _ = saved
    shard = next((folder / STEP).glob("shard-00002-*"))
    content = shard.read_bytes()
    try:
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UserError, match=r"shard-00002-.*changed since it was written.*Delete "):
            load_checkpoint(folder, make_state(CONFIG, Ranks()))
        shard.unlink()
        with pytest.raises(UserError, match=r"shard-00002-.*missing"):
            load_checkpoint(folder, make_state(CONFIG, Ranks()))
    finally:
        shard.write_bytes(content)


def test_another_model_is_refused(saved):
    folder, _ = saved
    wider = CONFIG.override(["model.d_ff=64"])
    with pytest.raises(UserError, match=r"feed_forward.* is not a state of the optimizer of this model"):
        load_checkpoint(folder, make_state(wider, Ranks()))
