"""Checkpoints and prepared text from somebody else: fields are typed, numbers in bounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from allyouneed.config import ModelConfig, TrainingConfig
from allyouneed.data.batches import BatchOrder, Position
from allyouneed.data.prepared import PreparedData
from allyouneed.data.store import STORE, open_store, store_facts, write_store
from allyouneed.data.stored_numbers import checksums
from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.errors import UserError
from allyouneed.files import read_tensors, tensor_bytes, write_folder, write_sealed
from allyouneed.model.transformer import Transformer
from allyouneed.training.checkpoint import load_checkpoint, progress, save_checkpoint
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.step import TrainingState

PLAN = {"steps": 2, "warmup": 1, "decay": "linear", "learning_rate": 1, "validate_every": 1, "average_every": 1}


def new_state() -> TrainingState:
    sizes = {"d_model": 8, "d_ff": 8, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    model = Transformer(ModelConfig(**sizes), 20)
    return TrainingState(model, make_optimizers(model, TrainingConfig(), 1e-3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    state = new_state()
    for parameter in state.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    for optimizer in state.optimizers:
        optimizer.step()
    folder = tmp_path_factory.mktemp("saved")
    save_checkpoint(folder, state, b"a log.\n")
    return folder


def rewritten(saved: Path, folder: Path, name: str, content: bytes | str) -> Path:
    [old] = saved.iterdir()
    contents = {path.name: path.read_bytes() for path in old.iterdir() if path.name != "manifest.json"}
    write_folder(folder / old.name, {**contents, name: content})
    return folder


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, None),
        ({"step": None}, "step = None: input should be a valid integer"),
        ({"index": -1}, "index = -1"),
        ({"epoch": 2**63}, "epoch = 9223372036854775808"),
        ({"seconds": "1"}, "seconds = '1'"),
        ({"best": []}, r"best = \[\]"),
        ({"best": {"quality": None}}, r"best\.quality = None"),
        ({"since_log": {"tokens": {}}}, r"since_log\.tokens = \{\}"),
        ({"health": 1}, "health = 1"),
        ({"log_bytes": -1}, "log_bytes = -1"),
    ],
)
def test_the_state_of_a_checkpoint_is_typed(facts, message, saved, tmp_path):
    [old] = saved.iterdir()
    content = json.loads((old / "state.json").read_text())
    folder = rewritten(saved, tmp_path, "state.json", json.dumps({**content, **facts}))
    if message is None:
        assert load_checkpoint(folder, new_state()) == len(b"a log.\n")
        return
    for read in (progress, lambda folder: load_checkpoint(folder, new_state())):
        with pytest.raises(UserError, match=rf"state\.json: {message}.*Delete "):
            read(folder)


def test_the_state_of_the_optimizer_fits_the_model(saved, tmp_path):
    [old] = saved.iterdir()
    tensors = read_tensors(old / "optimizer.safetensors")
    name = next(name for name in tensors if name.endswith("|exp_avg"))
    for number, (key, tensor, message) in enumerate(
        [
            (name, torch.full_like(tensors[name], torch.nan), "is not finite"),
            (name, torch.zeros(3), "is not a state of the optimizer"),
            ("other|exp_avg", torch.zeros(3), "is not a state of the optimizer"),
            (name, None, "lacks a part of the state"),
        ]
    ):
        changed = {k: v for k, v in {**tensors, key: tensor}.items() if v is not None}
        folder = rewritten(saved, tmp_path / str(number), "optimizer.safetensors", tensor_bytes(changed))
        with pytest.raises(UserError, match=rf"step-.*{message}.*Delete "):
            load_checkpoint(folder, new_state())


@pytest.mark.parametrize(
    ("ids", "offsets", "message"),
    [
        ([4, 3, 4], [0, 1, 3], None),
        ([4, -1, 4], [0, 1, 3], "ids: has a number that is not one of the 5 of the vocabulary"),
        ([4, 3, 5], [0, 1, 3], "ids: has a number that is not one of the 5 of the vocabulary"),
        ([4, 3, 4], [0, 2**40, 3], "offsets does not ascend"),
        ([4, 3, 4], [1, 2, 3], "offsets does not begin at 0"),
        ([4, 3, 4], [0, 1, 2], "offsets does not begin at 0 and end at the last token"),
    ],
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_numbers_of_prepared_text_are_in_bounds(ids, offsets, message, side, tmp_path):
    block = TokenIds(np.array([4, 3, 4], dtype=np.int32), np.array([1, 2]))
    write_store(tmp_path, [(block, block)])
    for part, numbers, dtype in (("ids", ids, "<i4"), ("offsets", offsets, "<i8")):  # with checksums of their own
        path = tmp_path / f"{side}.{part}"
        path.write_bytes(np.array(numbers, dtype=dtype).tobytes())
        facts = store_facts(tmp_path, "")
        write_sealed(tmp_path / STORE, {**facts, "crc32": {**facts["crc32"], path.name: checksums(path)}})
    if message is None:
        assert open_store(tmp_path, sizes=(5, 5)).source[1].tolist() == [3, 4]
        return
    with pytest.raises(UserError, match=rf"{side}\.{message}.*Delete "):
        open_store(tmp_path, sizes=(5, 5)).verify()


def test_a_position_beyond_the_text(tmp_path):
    block = TokenIds(np.array([4, 3, 4], dtype=np.int32), np.array([1, 2]))
    write_store(tmp_path, [(block, block)])
    with pytest.raises(UserError, match=r"the checkpoint is at batch 10, but an epoch has 1\."):
        BatchOrder(open_store(tmp_path), 100, 1).next(Position(0, 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": None}, "train = None: input should be a valid dictionary"),
        ({"valid": {"files": [], "kept": -1}}, r"valid\.kept = -1"),
        ({"valid": {"files": [], "pairs": "1"}}, r"valid\.pairs = '1'"),
        ({"corpora": {"train": [1]}}, r"corpora\.train\.0 = 1"),
        ({"train": {"files": [], "dropped": {"a": {}}}}, "content = .*a report lacks an entry"),
        ({"train": {"files": [], "findings": [{}]}}, "content = .*a report lacks an entry"),
    ],
)
def test_reports_of_prepared_text_are_typed(changes, message, tmp_path):
    report = {"files": ["a"], "pairs": 1, "kept": 1}
    (tmp_path / "corpus.json").write_text(json.dumps({"train": report, "valid": report, **changes}))
    with pytest.raises(UserError, match=rf"corpus\.json: {message}.*Delete "):
        PreparedData(tmp_path).report()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"plan": {**PLAN, "warmup": None}}, r"plan\.warmup = None"),
        ({"plan": {**PLAN, "average_every": 0}}, r"plan\.average_every = 0"),
        (
            {"plan": {**PLAN, "learning_rate": 1e999}},
            r"damaged, or not the expected JSON \(has inf, which is not a number\)",
        ),
        ({"earlier_plans": [PLAN, {}]}, r"earlier_plans\.1\.steps: "),
        ({"asked": []}, r"asked = \[\]"),
        ({"config": {"model": 1}}, r"config\.model = 1"),
        ({"finished": {"valid": {}}}, r"finished\.valid\.bleu: field required"),
        ({"micro_batches": 0}, "micro_batches = 0"),
    ],
)
def test_a_record_of_a_run_is_typed(changes, message, tmp_path):
    asked = {"languages": ["a", "b"], "recipe": None, "settings": []}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"asked": asked, "config": {}, "plan": {**PLAN, "fixed": ["warmup"]}, **changes}))
    if message is None:
        plans = RunRecord(path).plans
        assert plans is not None
        assert plans.last.fixed == ("warmup",)
        return
    with pytest.raises(UserError, match=rf"run\.json: {message}.*ive another --out"):
        RunRecord(path)
