"""Snapshots of the weights by step, in a folder: those to average (section 6.1), and those kept for later study."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from torch import Tensor, nn

from allyouneed.bundle import weights_of
from allyouneed.files import check_folder, delete_folder, read_tensors, tensor_bytes, write_folder

KEPT = "snapshots"  # folder of a RUN with the snapshots of `training.keep_snapshots`
_REMEDY = "Train again to restore it."


class Snapshots:
    """Snapshots of the weights by step, in a folder.

    Args:
        folder: The folder, which need not exist.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def save(self, step: int, model: nn.Module) -> None:
        """Write the model's weights for a step; raises `UserError` if the disk is full."""
        write_folder(self.path(step), {"model.safetensors": tensor_bytes(weights_of(model))})

    def prune(self, until: int, keep: Collection[int]) -> None:
        """Delete the snapshots up to and including step `until`, except the steps in `keep`."""
        self._delete(step for step in self.steps(until) if step not in keep)

    def rewind(self, step: int) -> None:
        """Delete the snapshots after a step."""
        self._delete(later for later in self.steps() if later > step)

    def steps(self, until: int | None = None) -> list[int]:
        """List the steps of the snapshots, up to and including step `until` if it is given, in ascending order."""
        numbers = (path.name.partition("-")[2] for path in self.folder.glob("weights-*"))
        steps = (int(number) for number in numbers if number.isdecimal() and number.isascii())  # no copies or leftovers
        return sorted(step for step in steps if until is None or step <= until)

    def check(self, step: int) -> None:
        """Verify the checksum of a snapshot.

        Raises:
            DamagedFile: If the file is missing, truncated or changed.
            UserError: If the system cannot read it.
        """
        check_folder(self.path(step), ["model.safetensors"], _REMEDY)

    def load(self, step: int) -> dict[str, Tensor]:
        """Read weights by name, on the CPU; raises the errors of `check`."""
        self.check(step)
        return read_tensors(self.path(step) / "model.safetensors")

    def path(self, step: int) -> Path:
        """Return the folder of a step."""
        return self.folder / f"weights-{step:08d}"

    def _delete(self, steps: Iterable[int]) -> None:
        for step in steps:
            delete_folder(self.path(step))
