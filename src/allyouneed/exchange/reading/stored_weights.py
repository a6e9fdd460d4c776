"""Tensors of another system's model, each of which has to be used."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from allyouneed.errors import UserError


class StoredWeights:
    """Tensors by name, taken one by one, so that none is overlooked.

    Args:
        path: The file that they come from, for messages.
        tensors: The tensors.
    """

    def __init__(self, path: Path, tensors: Mapping[str, Tensor]):
        self.path, self._tensors = path, dict(tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def take(self, name: str) -> Tensor:
        """Remove a tensor and return it in fp32.

        Raises:
            UserError: If it is missing, a single number or not of a float type, or has values that are not finite.
        """
        if name not in self._tensors:
            raise UserError(f"{self.path}: has no tensor {name}. Get the whole model again.")
        tensor = self._tensors.pop(name)
        if not tensor.is_floating_point():
            raise UserError(
                f"{self.path}: {name} has type {str(tensor.dtype).removeprefix('torch.')}, not a float type."
            )
        if not tensor.dim():
            raise UserError(f"{self.path}: {name} is a single number. Get the whole model again.")
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{self.path}: {name} has values that are not finite numbers. Get another checkpoint.")
        return tensor.detach().float()

    def take_if_stored(self, name: str) -> Tensor | None:
        """Remove a tensor and return it in fp32, or None if there is none; see `take`."""
        return self.take(name) if name in self._tensors else None

    def count_layers(self, prefix: str) -> int:
        """Return the number of layers: {} in the prefix stands for 0, 1, ..."""
        names = tuple(self._tensors)
        starts = (prefix.format(number) + "." for number in count())
        return next(number for number, start in enumerate(starts) if not any(name.startswith(start) for name in names))

    def check_all_used(self) -> None:
        """Check that nothing is left.

        Raises:
            UserError: If there are tensors that no part of the model has used.
        """
        if self._tensors:
            name = min(self._tensors)
            others = f" and {len(self._tensors) - 1} more" if len(self._tensors) > 1 else ""
            raise UserError(
                f"{self.path}: the tensor {name}{others} belongs to a part that the Transformer of this package does "
                "not have. The model cannot be imported."
            )
