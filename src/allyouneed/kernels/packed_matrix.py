"""Weight matrices packed for the products of `product.py`, in fp32 or rounded to integers of 8, 16 or 24 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from allyouneed.kernels import LANES, has_vnni
from allyouneed.kernels.byte_tiles import DEPTH, has_byte_tiles
from allyouneed.kernels.digit_tiles import digit_tiles, initial_sums, to_digits
from allyouneed.kernels.half_tiles import half_tiles
from allyouneed.kernels.records import Floats, Record
from allyouneed.kernels.target import has_avx512

if TYPE_CHECKING:
    from torch import Tensor

VECTORS = 2 if has_avx512() else 1
PANEL = VECTORS * LANES  # columns of a panel
LONGEST = 46_000  # maximum length of a row or column in 16 bits: its square is less than 2³¹


class Matrix(Record):
    """A weight matrix [depth, columns] packed for `multiply_rows` by `pack`."""

    # 32-bit words [panels, depth, PANEL]; a word holds an fp32 number, two integers or four bytes. Integers of 16 bits
    # in tiles: see `half_tiles`; of 24 bits: see `digit_tiles`.
    panels: Floats
    terms: Floats  # fp32 [1, columns]: bias; for integers [3 or 5, columns]: bias, scale, initial sums (int32)
    depth: int
    columns: int  # padded to a multiple of 16
    in_bytes: int
    in_digits: int  # whether integers of 24 bits stand for fp32 numbers
    in_tiles: int  # whether integers are multiplied in AMX's tile registers


def pack(weight: Tensor, bias: Tensor, in_bytes: bool = False) -> Matrix:
    """Pack a weight matrix.

    Args:
        weight: fp32 [columns, depth], depth a multiple of 16.
        bias: fp32 [columns].
        in_bytes: Round the weights to 8 bits, with one scale per column.
    """
    bias = _pad(bias.detach())
    in_tiles = in_bytes and weight.shape[1] % DEPTH == 0 and has_vnni() and has_byte_tiles()
    forms = {"in_bytes": in_bytes, "in_digits": 0, "in_tiles": in_tiles}
    sizes = {"depth": weight.shape[1], "columns": len(bias), **forms}
    if not in_bytes:
        return Matrix(panels=panels(weight), terms=bias, **sizes)
    whole, scale = to_bytes(weight.detach())
    initial = (-128 * whole.sum(1, dtype=torch.int32)).view(torch.float32)
    terms = torch.cat([bias, _pad(scale), _pad(initial)])
    return Matrix(panels=panels(whole.view(torch.int32)), terms=terms, **sizes)


def pack_halves(weight: Tensor, bias: Tensor) -> Matrix:
    """Pack a weight matrix [columns, depth], columns a multiple of 16, rounded to 16 bits with one scale per column."""
    whole, scale = to_halves(weight.detach())
    terms = torch.stack([bias.detach(), scale, torch.zeros(len(bias))])
    in_tiles = weight.shape[1] % DEPTH == 0 and has_vnni() and has_byte_tiles()
    sizes = {"depth": weight.shape[1], "columns": len(weight), "in_bytes": 0, "in_digits": 0, "in_tiles": in_tiles}
    laid_out = half_tiles(whole) if in_tiles else panels(whole.view(torch.int32))
    return Matrix(panels=laid_out, terms=terms, **sizes)


def pack_fastest(weight: Tensor, bias: Tensor) -> Matrix:
    """Pack a weight matrix [columns, depth], depth a multiple of 16, in 24 bits if there is AMX, and else in fp32."""
    if weight.shape[1] % DEPTH or not (has_vnni() and has_byte_tiles()):
        return pack(weight, bias)
    digits, scale = to_digits(_pad(weight.detach()))
    terms = torch.cat([_pad(bias.detach())[None], scale[None], initial_sums(digits).view(torch.float32)])
    sizes = {"depth": weight.shape[1], "columns": len(digits), "in_bytes": 0, "in_digits": 1, "in_tiles": 1}
    return Matrix(panels=digit_tiles(digits), terms=terms, **sizes)


def to_halves(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix [n, depth] to int16; return it with the scale of each row [n]."""
    scale = torch.maximum(weight.norm(dim=1) / LONGEST, weight.abs().amax(1) / 32_767).clamp(min=1e-30)
    return (weight / scale[:, None]).round().to(torch.int16), scale


def to_bytes(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix [n, depth] to int8 from -127 to 127; return it with the scale of each row [n]."""
    scale = weight.abs().amax(1).clamp(min=1e-30) / 127
    return (weight / scale[:, None]).round().to(torch.int8), scale


def panels(weight: Tensor) -> Tensor:
    """Pack [n, depth] into panels [n / PANEL, depth, PANEL]; n is padded to 16s, and the last panel may be narrower."""
    depth = weight.shape[1]
    weight = _pad(weight.detach())
    whole = len(weight) // PANEL * PANEL
    standing = weight[:whole].view(-1, PANEL, depth).transpose(1, 2)
    return torch.cat([standing.reshape(-1), weight[whole:].t().reshape(-1)])


def _pad(values: Tensor) -> Tensor:
    """Append rows of zeros up to a multiple of 16."""
    missing = -len(values) % LANES
    return torch.cat([values, values.new_zeros(missing, *values.shape[1:])]) if missing else values
