"""Checkpoints that restore the training state exactly: a resumed run takes the same steps as an uninterrupted one.

`checkpoints/step-N/` holds weights and optimizer state (safetensors), all other state (JSON) and a copy of the log,
written atomically. If they are sharded, each rank writes its part (`distributed/sharded_checkpoint.py`). Any number of
ranks can resume. The last two checkpoints are kept, in case the newest is damaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from allyouneed.bundle import check_weights, weights_of
from allyouneed.data.batches import Position
from allyouneed.errors import UserError
from allyouneed.files import check_folder, delete_folder, read_tensors, tensor_bytes, write_folder
from allyouneed.json_text import to_json
from allyouneed.training import distributed
from allyouneed.training.distributed.ranks import Ranks, assign, is_sharded, local
from allyouneed.training.health import Health
from allyouneed.training.step import Totals, TrainingState
from allyouneed.untrusted import read_typed

LOG = "log.jsonl"  # copy of the log, absent in checkpoints of earlier versions
_KEPT = 2
_SCALAR = torch.Size([])
_Count = Annotated[int, Field(strict=True, ge=0, le=10**15)]
_Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_WEIGHTS, _MOMENTS = "model.safetensors", "optimizer.safetensors"
_OF_MODEL, _OF_OPTIMIZER = "model/", "optimizer/"  # prefixes of the names of sharded tensors
SHARDS = "shard-*.safetensors"  # names that PyTorch gives


class _Best(BaseModel):
    step: _Count = 0
    quality: _Number = 0.0
    loss: _Number = 0.0


class _Facts(BaseModel):
    """Content of `state.json`."""

    step: _Count
    epoch: _Count
    index: _Count
    seconds: _Number
    best: _Best
    validations_without_gain: _Count
    since_log: Totals
    health: Health = Field(default_factory=Health)  # absent in checkpoints of earlier versions
    log_bytes: _Count | None


def save_checkpoint(folder: Path, state: TrainingState, log: bytes | None, ranks: Ranks | None = None) -> None:
    """Write `folder/step-N` and delete older checkpoints. All ranks call this.

    Args:
        folder: The folder of the checkpoints.
        state: The state to save.
        log: The log at this step; None if it cannot be read.
        ranks: Processes of the run; None for a single one.

    Raises:
        UserError: If the disk is full; older checkpoints are kept.
    """
    ranks = ranks or Ranks()
    facts = {
        "step": state.step,
        "epoch": state.position.epoch,
        "index": state.position.batch,
        "seconds": state.seconds,
        "best": state.best,
        "validations_without_gain": state.validations_without_gain,
        "since_log": asdict(state.since_log),
        "health": asdict(state.health),
        "log_bytes": None if log is None else len(log),
    }
    contents: dict[str, bytes | str] = {"state.json": to_json(facts), **({} if log is None else {LOG: log})}
    newest, weights, moments = folder / f"step-{state.step:08d}", weights_of(state.model), _optimizer_tensors(state)
    if any(map(is_sharded, weights.values())):
        tensors = _with_prefixes(weights, moments)
        distributed.sharded_checkpoint.write_shards(newest, tensors, contents, ranks)
    elif ranks.is_first:
        write_folder(newest, {_WEIGHTS: tensor_bytes(weights), _MOMENTS: tensor_bytes(moments), **contents})
    if not ranks.is_first:
        return
    for old in _checkpoints(folder)[:-_KEPT]:
        delete_folder(old)


def load_checkpoint(folder: Path, state: TrainingState, name: str | None = None) -> int | None:
    """Restore the newest checkpoint, if there is one.

    Args:
        folder: The folder of the checkpoints.
        state: A new state, which is overwritten.
        name: Name of the checkpoint; by default, this process looks for the newest.

    Returns:
        Size of the log at the checkpoint in bytes; 0 without a checkpoint, None if it could not be read then.

    Raises:
        UserError: If a file is missing, truncated or changed.
    """
    name = name or newest_checkpoint(folder)
    if name is None:
        return 0
    newest, earlier = folder / name, [path for path in _checkpoints(folder) if path.name != name]
    fallback = f"resumes at {earlier[-1].name}" if earlier else "starts over"
    remedy = f"Delete {newest} and run the same command again: it then {fallback}."
    is_sharded_form = any(newest.glob(SHARDS))
    check_folder(newest, ("state.json",) if is_sharded_form else (_WEIGHTS, _MOMENTS, "state.json"), remedy)
    facts = read_typed(newest / "state.json", _Facts, remedy)
    if is_sharded_form:
        _restore_shards(newest, state, remedy)
    else:
        weights = read_tensors(newest / _WEIGHTS)
        check_weights(state.model, weights, newest / _WEIGHTS)
        for name, parameter in state.model.named_parameters():
            assign(parameter, weights[name])
        moments = read_tensors(newest / _MOMENTS)
        if infinite := next((name for name, tensor in moments.items() if not tensor.isfinite().all()), None):
            raise UserError(f"{newest / _MOMENTS}: {infinite[:80]!r} is not finite. {remedy}")
        shapes = {name: tensor.shape for name, tensor in moments.items()}
        for name, slot in _slots(state, shapes, newest, remedy).items():
            assign(slot, moments[name])
    state.step, state.seconds, state.best = facts.step, facts.seconds, facts.best.model_dump(exclude_unset=True)
    state.position = Position(facts.epoch, facts.index)
    state.validations_without_gain = facts.validations_without_gain
    state.since_log, state.health = facts.since_log, facts.health
    return facts.log_bytes


def progress(folder: Path) -> tuple[int, float]:
    """Read the step of the newest checkpoint and the training time in seconds up to it; zeros without a checkpoint.

    Raises:
        UserError: If the file is missing or damaged; see `load_checkpoint`.
    """
    saved = _checkpoints(folder)
    if not saved:
        return 0, 0.0
    remedy = f"Delete {saved[-1]} and run the same command again."
    facts = read_typed(saved[-1] / "state.json", _Facts, remedy)
    return facts.step, facts.seconds


def newest_checkpoint(folder: Path) -> str | None:
    """Return the name of the newest checkpoint; None if there is none."""
    saved = _checkpoints(folder)
    return saved[-1].name if saved else None


def has_checkpoint(folder: Path) -> bool:
    """Return whether a checkpoint was saved."""
    return bool(_checkpoints(folder))


def _checkpoints(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("step-*") if path.is_dir() and "." not in path.name]
    return sorted(found, key=lambda path: (len(path.name), path.name))  # step numbers have at least eight digits


def _optimizer_tensors(state: TrainingState) -> dict[str, Tensor]:
    """Return the optimizer state by `parameter name|key`; each parameter belongs to one optimizer."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in state.model.named_parameters()}
    return {
        f"{names[parameter]}|{key}": tensor
        for optimizer in state.optimizers
        for parameter, values in optimizer.state.items()
        for key, tensor in values.items()
    }


def _with_prefixes(weights: Mapping[str, Tensor], moments: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named = {f"{_OF_MODEL}{name}": tensor for name, tensor in weights.items()}
    return named | {f"{_OF_OPTIMIZER}{name}": tensor for name, tensor in moments.items()}


def _restore_shards(folder: Path, state: TrainingState, remedy: str) -> None:
    """Read a checkpoint that all ranks have written; the model may be sharded among other ranks, or whole."""
    parameters, shards = dict(state.model.named_parameters()), distributed.sharded_checkpoint
    shapes = {name.removeprefix(_OF_OPTIMIZER): shape for name, shape in shards.shapes_of_shards(folder).items()}
    slots = _slots(
        state, {name: shape for name, shape in shapes.items() if not name.startswith(_OF_MODEL)}, folder, remedy
    )
    shards.read_shards(folder, _with_prefixes(parameters, slots))
    for name, tensor in {**parameters, **slots}.items():
        if not bool(local(tensor).isfinite().all()):
            raise UserError(f"{folder}: {name[:80]!r} is not finite. {remedy}")


def _slots(state: TrainingState, shapes: Mapping[str, torch.Size], folder: Path, remedy: str) -> dict[str, Tensor]:
    """Make the tensors of the optimizers' state, which are to be overwritten, by the names of `_optimizer_tensors`."""
    parameters = dict(state.model.named_parameters())
    owner = {p: o for o in state.optimizers for group in o.param_groups for p in group["params"]}
    slots: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        parameter, key = parameters.get(name.partition("|")[0]), name.partition("|")[2]
        if parameter is None or parameter not in owner or shape not in (parameter.shape, _SCALAR):
            raise UserError(f"{folder}: {name[:80]!r} is not a state of the optimizer of this model. {remedy}")
        is_alike = shape == parameter.shape  # and sharded in the same way
        slots[name] = torch.zeros_like(parameter) if is_alike else torch.zeros(shape, device=parameter.device)
        owner[parameter].state[parameter][key] = slots[name]
    for optimizer in state.optimizers:
        if len({(*sorted(values),) for values in optimizer.state.values()}) > 1:
            raise UserError(f"{folder}: lacks a part of the state of a parameter's optimizer. {remedy}")
    return slots
