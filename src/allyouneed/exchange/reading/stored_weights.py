"""Tensors of another system's model, each of which has to be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import torch
from torch import Tensor

from allyouneed.errors import UserError


@contextmanager
def shapes_checked(path: Path) -> Iterator[None]:
    """Report tensors whose shapes do not fit together, so that PyTorch cannot convert them.

    Args:
        path: The file that they come from.

    Raises:
        UserError: If they do not.
    """
    try:
        yield
    except (IndexError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n", 1)[0][:200]
        raise UserError(f"{path}: its tensors do not fit together ({reason}). Get the file again.") from error


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
            UserError: If it is missing, empty, a single number or not of a float type, or has values that are not
                finite.
        """
        if name not in self._tensors:
            raise UserError(f"{self.path}: has no tensor {name}. Get the whole model again.")
        tensor = self._tensors.pop(name)
        if not tensor.is_floating_point():
            raise UserError(
                f"{self.path}: {name} has type {str(tensor.dtype).removeprefix('torch.')}, not a float type."
            )
        if not tensor.dim() or not tensor.numel():
            size = "empty" if tensor.dim() else "a single number"
            raise UserError(f"{self.path}: {name} is {size}. Get the whole model again.")
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{self.path}: {name} has values that are not finite numbers. Get another checkpoint.")
        return tensor.detach().float()

    def take_if_stored(self, name: str) -> Tensor | None:
        """Remove a tensor and return it in fp32, or None if there is none; see `take`."""
        return self.take(name) if name in self._tensors else None

    def count_layers(self, prefix: str) -> int:
        """Return the number of layers: {} at the end of the prefix stands for 0, 1, ..."""
        start = prefix.removesuffix("{}")
        found = {name.removeprefix(start).partition(".")[0] for name in self._tensors if name.startswith(start)}
        return next(number for number in count() if str(number) not in found)

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
