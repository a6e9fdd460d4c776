"""Snapshots of the weights while training, and the average of the last ones (section 6.1)."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from allyouneed.bundle import weights_of
from allyouneed.files import check_folder, read_tensors, tensor_bytes, write_folder

_REMEDY = "Train again to have it."


class Snapshots:
    """Weights by step, in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, model: nn.Module) -> None:
        """Writes the model's weights under this step. Errors: `UserError` when the disk is full."""
        write_folder(self._place(step), {"model.safetensors": tensor_bytes(weights_of(model))})

    def prune(self, until: int, keep: Collection[int]) -> None:
        """Deletes the snapshots up to a step, but not those to keep."""
        for step in self.steps(until):
            if step not in keep:
                shutil.rmtree(self._place(step))

    def steps(self, until: int) -> list[int]:
        """Steps of the snapshots up to a step, ascending."""
        places = (place for place in self.folder.glob("weights-*") if "." not in place.name)
        return sorted(step for place in places if (step := int(place.name.partition("-")[2])) <= until)

    def load(self, step: int) -> dict[str, Tensor]:
        """Weights by name, on the CPU. Errors: `UserError` naming the file that is missing, truncated or changed."""
        check_folder(self._place(step), ["model.safetensors"], _REMEDY)
        return read_tensors(self._place(step) / "model.safetensors")

    def average(self, steps: Sequence[int]) -> dict[str, Tensor]:
        """The mean of snapshots, at least one, summed one after another in fp32. Errors: as `load`."""
        mean = {name: tensor.float() / len(steps) for name, tensor in self.load(steps[0]).items()}
        for step in steps[1:]:
            for name, tensor in self.load(step).items():
                torch.add(mean[name], tensor.float(), alpha=1 / len(steps), out=mean[name])
        return mean

    def _place(self, step: int) -> Path:
        return self.folder / f"weights-{step:08d}"
