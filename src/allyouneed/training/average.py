"""Snapshots of the weights while training, and the average of the last ones (section 6.1)."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from allyouneed.bundle import weights_of
from allyouneed.files import check_folder, read_tensors, recover_folder, tensor_bytes, write_folder

_REMEDY = "Delete the run's checkpoints and train again, or restore the file."


class Snapshots:
    """Weights by step in a folder: the last `kept`, and those that `keep` names."""

    def __init__(self, folder: Path, kept: int):
        self.folder, self.kept = folder, kept
        for place in folder.glob("weights-*.*") if folder.exists() else ():
            recover_folder(place.with_suffix(""))

    def save(self, step: int, model: nn.Module, keep: int | None = None) -> None:
        """Adds a snapshot and deletes those no longer among the last, but not step `keep`, the best so far."""
        write_folder(self._place(step), {"model.safetensors": tensor_bytes(weights_of(model))})
        for old in self.steps(step)[: -self.kept]:
            if old != keep:
                shutil.rmtree(self._place(old))

    def steps(self, until: int) -> list[int]:
        """Steps of the snapshots up to a step, ascending."""
        places = (place for place in self.folder.glob("weights-*") if "." not in place.name)
        return sorted(step for place in places if (step := int(place.name.partition("-")[2])) <= until)

    def load(self, step: int) -> dict[str, Tensor]:
        check_folder(self._place(step), _REMEDY)
        return read_tensors(self._place(step) / "model.safetensors")

    def average(self, steps: Sequence[int]) -> dict[str, Tensor]:
        """The mean of snapshots, summed one after another in fp32."""
        mean = {name: tensor.float() / len(steps) for name, tensor in self.load(steps[0]).items()}
        for step in steps[1:]:
            for name, tensor in self.load(step).items():
                torch.add(mean[name], tensor.float(), alpha=1 / len(steps), out=mean[name])
        return mean

    def _place(self, step: int) -> Path:
        return self.folder / f"weights-{step:08d}"
