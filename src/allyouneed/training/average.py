"""Snapshots of the weights during training, and their average at the end (section 6.1)."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from allyouneed.bundle import weights_of
from allyouneed.files import check_folder, read_tensors, tensor_bytes, write_folder

_REMEDY = "Train again to restore it."


class Snapshots:
    """Snapshots of the weights by step, in a folder.

    Args:
        folder: The folder of the checkpoints.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, model: nn.Module) -> None:
        """Write the model's weights for a step; raises `UserError` if the disk is full."""
        write_folder(self._path(step), {"model.safetensors": tensor_bytes(weights_of(model))})

    def prune(self, until: int, keep: Collection[int]) -> None:
        """Delete the snapshots up to and including step `until`, except the steps in `keep`."""
        for step in self.steps(until):
            if step not in keep:
                shutil.rmtree(self._path(step))

    def steps(self, until: int) -> list[int]:
        """List the steps of the snapshots up to and including step `until`, in ascending order."""
        names = (path.name for path in self.folder.glob("weights-*") if "." not in path.name)
        return sorted(step for name in names if (step := int(name.partition("-")[2])) <= until)

    def load(self, step: int) -> dict[str, Tensor]:
        """Read weights by name, on the CPU; raises `UserError` if the file is missing, truncated or changed."""
        check_folder(self._path(step), ["model.safetensors"], _REMEDY)
        return read_tensors(self._path(step) / "model.safetensors")

    def average(self, steps: Sequence[int]) -> dict[str, Tensor]:
        """Average one or more snapshots in fp32; raises `UserError` like `load`."""
        mean = {name: tensor.float() / len(steps) for name, tensor in self.load(steps[0]).items()}
        for step in steps[1:]:
            for name, tensor in self.load(step).items():
                torch.add(mean[name], tensor.float(), alpha=1 / len(steps), out=mean[name])
        return mean

    def _path(self, step: int) -> Path:
        return self.folder / f"weights-{step:08d}"
