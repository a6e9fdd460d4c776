"""Recognition of sinusoids in stored position encodings, and the order of a model's units.

Other systems store their sinusoids as a table. A table that holds sinusoids up to rounding is replaced by the settings
that compute them, so that the model has no maximum length and can be exported everywhere; any other table becomes
learned positions. Most systems put all sines before all cosines; permuting d_model in the whole model turns one layout
into the other, since nothing else depends on the order of units.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from allyouneed.model.embedding import sinusoids

_FREQUENCIES = ("paper", "tensor2tensor")
_FIRST_POSITIONS = range(9)
_FP32_ERROR = 2.0**-21  # of the product of position and frequency when it is computed in fp32, relative
_MODEL_AXIS = {"query": 1, "key": 1, "value": 1, "inner": 1, "tokens": 1, "outer": 0, "norm": 0}


class Sinusoids(NamedTuple):
    """Kind of sinusoids.

    Attributes:
        frequencies: The setting `model.sinusoid_frequencies`.
        first: The setting `model.first_position`.
        halves: Whether all sines come first; otherwise sines and cosines alternate, as in the paper.
    """

    frequencies: str
    first: int
    halves: bool

    def table(self, length: int, d_model: int) -> Tensor:
        """Return the encodings of the first `length` positions, shape [length, d_model]."""
        encodings = sinusoids(length, d_model, frequencies=self.frequencies, first=self.first)
        return encodings[:, torch.argsort(sines_first(d_model))] if self.halves else encodings


def sines_first(d_model: int) -> Tensor:
    """Return the index of each unit in a layout that has all sines first: 0, d/2, 1, d/2 + 1, ..."""
    return torch.arange(d_model).view(2, -1).T.flatten()


def find_sinusoids(table: Tensor, rounding: float = 1e-6) -> Sinusoids | None:
    """Recognise a table of sinusoids that was computed in fp32 or fp64; in fp16, a table is too inexact to be replaced.

    Args:
        table: Position encodings, shape [positions, d_model].
        rounding: Error of stored values.

    Returns:
        Their kind, or None if the table holds something else.
    """
    length, d_model = table.shape
    if d_model % 2:
        return None
    for frequencies in _FREQUENCIES:
        for halves in (False, True):
            for first in _FIRST_POSITIONS:
                kind = Sinusoids(frequencies, first, halves)
                allowed = rounding + _FP32_ERROR * torch.arange(first, first + length)[:, None]
                # The first row rules out nearly all other kinds; the whole table decides
                if all(((table[:n] - kind.table(n, d_model)).abs() <= allowed[:n]).all() for n in (1, length)):
                    return kind
    return None


def reorder_units(parameters: Mapping[str, Tensor], order: Tensor) -> dict[str, Tensor]:
    """Permute d_model wherever it occurs in the parameters of a `Transformer`.

    Args:
        parameters: Parameters by name.
        order: For each unit of the result, its index in the given parameters.

    Returns:
        The permuted parameters.
    """
    permuted = {}
    for name, tensor in parameters.items():
        axis = _model_axis(name)
        permuted[name] = tensor if axis is None else tensor.index_select(axis, order)
    return permuted


def _model_axis(name: str) -> int | None:
    """Return the axis of d_model of a parameter, or None if it has none."""
    *_, owner, kind = name.split(".")
    if kind == "positions" or name == "output.weight":
        return 1
    if owner == "output":  # of an attention; the bias of the pre-softmax linear has no such axis
        return None if name == "output.bias" else 0
    axis = _MODEL_AXIS[owner]
    return axis if kind == "weight" or axis == 0 else None
