"""Saves and restores a training run exactly: the next step after a resume is the one that would have come anyway.

`checkpoints/step-N/` holds weights, optimizer state (safetensors) and the rest (JSON), written whole or not at all. The
last two are kept, so that one damaged by the disk costs minutes, not the run.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from allyouneed.bundle import load_weights, weights_of
from allyouneed.data.batches import Position
from allyouneed.files import check_folder, read_json, read_tensors, tensor_bytes, to_json, write_folder
from allyouneed.training.step import Totals, TrainingState

_KEPT = 2


def save_checkpoint(folder: Path, state: TrainingState, log_bytes: int) -> None:
    """Writes `folder/step-N` and deletes older ones. Errors: `UserError` when the disk is full; older ones stay."""
    facts = {
        "step": state.step,
        "epoch": state.position.epoch,
        "index": state.position.batch,
        "seconds": state.seconds,
        "best": state.best,
        "validations_without_gain": state.validations_without_gain,
        "since_log": asdict(state.since_log),
        "log_bytes": log_bytes,
    }
    contents: dict[str, bytes | str] = {
        "model.safetensors": tensor_bytes(weights_of(state.model)),
        "optimizer.safetensors": tensor_bytes(_optimizer_tensors(state)),
        "state.json": to_json(facts),
    }
    write_folder(folder / f"step-{state.step:08d}", contents)
    for old in _checkpoints(folder)[:-_KEPT]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path, state: TrainingState) -> int:
    """Restores the newest checkpoint into a fresh state, if there is one. Returns the log's length then, in bytes.

    Errors: `UserError` naming the file that is missing, truncated or changed, and what to delete to go on.
    """
    saved = _checkpoints(folder)
    if not saved:
        return 0
    newest = saved[-1]
    before = f"goes on from {saved[-2].name}" if len(saved) > 1 else "begins anew"
    remedy = f"Delete {newest} and run the same command again: it then {before}."
    check_folder(newest, ("model.safetensors", "optimizer.safetensors", "state.json"), remedy)
    keys = ("step", "epoch", "index", "seconds", "best", "validations_without_gain", "since_log", "log_bytes")
    facts = read_json(newest / "state.json", remedy, lambda facts: [facts[key] for key in keys])
    load_weights(state.model, read_tensors(newest / "model.safetensors"), newest / "model.safetensors")
    _restore_optimizers(state, read_tensors(newest / "optimizer.safetensors"))
    state.step, state.seconds, state.best = facts["step"], facts["seconds"], facts["best"]
    state.position = Position(facts["epoch"], facts["index"])
    state.validations_without_gain = facts["validations_without_gain"]
    state.since_log = Totals(**facts["since_log"])
    return facts["log_bytes"]


def _checkpoints(folder: Path) -> list[Path]:
    found = [place for place in folder.glob("step-*") if place.is_dir() and "." not in place.name]
    return sorted(found, key=lambda place: (len(place.name), place.name))  # numbers of eight digits, or more


def _optimizer_tensors(state: TrainingState) -> dict[str, Tensor]:
    """`parameter.name|key` -> tensor, over all optimizers: a parameter belongs to one."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in state.model.named_parameters()}
    return {
        f"{names[parameter]}|{key}": tensor
        for optimizer in state.optimizers
        for parameter, values in optimizer.state.items()
        for key, tensor in values.items()
    }


def _restore_optimizers(state: TrainingState, tensors: dict[str, Tensor]) -> None:
    parameters = dict(state.model.named_parameters())
    owner = {p: o for o in state.optimizers for group in o.param_groups for p in group["params"]}
    for name, tensor in tensors.items():
        parameter, key = parameters[name.partition("|")[0]], name.partition("|")[2]
        owner[parameter].state[parameter][key] = tensor.to(parameter.device)
