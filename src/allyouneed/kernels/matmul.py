"""Products of two matrices that both change from call to call, as in training, in fp32 or in bf16 with fp32 sums.

Matrices are packed as in BLIS (Van Zee and van de Geijn 2015): the left matrix in tiles, the right matrix in panels.

A panel holds 16 or 32 columns of a block of the depth. The thread that multiplies by it packs it, so that it stays in
that thread's cache; `tiles.py` multiplies them. In bf16, packing rounds fp32 values to the nearest bf16 value, ties to
even, and puts two adjacent values of the depth into a word (AVX512_BF16): a block has the same number of words as in
fp32, twice the depth, and is multiplied in the same time. On processors with AMX, `matmul_amx.py` multiplies in bf16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from allyouneed.kernels import LANES, Mode, choice, matmul_amx
from allyouneed.kernels.bf16 import pair_lines, transpose_pairs
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Record, no_floats
from allyouneed.kernels.simd import broadcast
from allyouneed.kernels.simd_memory import load, store, store_lanes, transpose
from allyouneed.kernels.tiles import DEPTH, PANEL, ROWS, narrow, narrow_bf16, panel_on_stack, wide, wide_bf16

if TYPE_CHECKING:
    from torch import Tensor

_TILES = 40  # approximate number of tiles in a part: 480 rows of 512 words fit into a core's L2 cache
_LINES = 32  # lines of words of a transposed matrix that a part packs; a divisor of DEPTH
_EXACT = -(-(LANES - ROWS) // ROWS)  # last lines of a part: copied by element, as no line overwrites their excess


class _Product(Record):
    """Arguments of `_multiply`. The depth is in values; a word holds one of them, or two in bf16."""

    packed: Floats  # the left matrix: see `_tile_offset`
    rows: int
    depth: int
    right: Floats  # [depth, columns], or [columns, depth] if transposed
    right_stride: int
    is_transposed: int
    columns: int
    bias: Floats | None  # [columns]
    mode: int
    out: Floats  # [rows, columns]
    out_stride: int
    panels: int
    tiles_of_group: int


def matmul(
    a: Tensor,
    b: Tensor,
    bias: Tensor | None = None,
    mode: Mode = Mode.SET,
    out: Tensor | None = None,
    bf16: bool = False,
) -> Tensor:
    """Compute a @ b + bias in fp32, or with bf16 products and fp32 sums.

    `a` and `b` may be transposed views, or columns of a wider matrix. All sizes must be multiples of 16, with two
    exceptions: the number of rows if `a` is not a transposed view, and the depth if `a` is one and `b` is not.

    Args:
        a: [rows, depth].
        b: [depth, columns].
        bias: [columns].
        mode: How the product is written.
        out: Output [rows, columns], which may be columns of a wider matrix; by default a new tensor.
        bf16: Whether to round `a` and `b` to bf16; only if `kernels.has_bf16`.

    Returns:
        `out`.
    """
    out = torch.empty(len(a), b.shape[1]) if out is None else out
    if bf16 and choice.uses_amx():
        matmul_amx.multiply(a, b, bias, mode, out)
    else:
        multiply(a, b, bias, mode, out, bf16)
    return out


def gradients(
    grad: Tensor, x: Tensor, weight: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Compute the gradients of x and of the weight of x @ weightᵀ, with bf16 products; only if `kernels.has_bf16`.

    Args:
        grad: Gradient of the product [rows, columns], contiguous.
        x: [rows, depth], contiguous.
        weight: [columns, depth], contiguous.
        needs_x: Whether the gradient of x is needed.
        needs_weight: Whether the gradient of the weight is needed.

    Returns:
        The gradients, or None where they are not needed.
    """
    if choice.uses_amx():
        return matmul_amx.gradients(grad, x, weight, needs_x, needs_weight)
    grad_x = matmul(grad, weight, bf16=True) if needs_x else None
    return grad_x, matmul(grad.T, x, bf16=True) if needs_weight else None


def multiply(a: Tensor, b: Tensor, bias: Tensor | None, mode: Mode, out: Tensor, bf16: bool = True) -> None:
    """Compute a @ b + bias without AMX; see `matmul`."""
    (rows, depth), columns = a.shape, b.shape[1]
    words = -(-depth // 2) if bf16 else depth
    tiles, panels = -(-rows // ROWS), -(-columns // PANEL)
    packed = torch.empty(tiles * (ROWS * words + LANES * -(-words // DEPTH)))
    lay_out, lay_out_transposed, multiply_panels = _BF16 if bf16 else _FP32
    if a.stride(1) == 1:
        lay_out(tiles, a, a.stride(0), rows, depth, packed)
    else:
        lay_out_transposed(-(-words // _LINES), a, a.stride(1), rows, depth, packed)
    groups = max(1, round(tiles / _TILES))
    tiles_of_group, is_transposed = -(-tiles // groups), b.stride(1) != 1
    product = _Product(
        packed=packed,
        rows=rows,
        depth=depth,
        right=b,
        right_stride=b.stride(int(is_transposed)),
        is_transposed=is_transposed,
        columns=columns,
        bias=bias,
        mode=mode,
        out=out,
        out_stride=out.stride(0),
        panels=panels,
        tiles_of_group=tiles_of_group,
    )
    multiply_panels(panels * -(-tiles // tiles_of_group), product)


@kernel_function
def _tile_offset(tile, tiles, words, begin):
    """Return the offset of a tile [up to DEPTH, ROWS] in the block of the depth that starts at the word `begin`.

    All tiles of such a block are adjacent, each with padding for vectors written past its end.
    """
    length = min(DEPTH, words - begin)
    return tiles * (ROWS * begin + LANES * (begin // DEPTH)) + tile * (ROWS * length + LANES)


# ---- the two number formats: blocks [16, 16 words] of rows and lines of words, as stored by packing


@kernel_function
def _fp32_block(source, index, stride, last, words, target, target_index, target_stride):
    transpose(source, index, stride, last, target, target_index, target_stride)


@kernel_function
def _bf16_block(source, index, stride, last, words, target, target_index, target_stride):
    transpose_pairs(source, index, stride, last, words, target, target_index, target_stride)


@kernel_function
def _fp32_line(source, stride, depth, word, column):
    return load(source, word * stride + column)


@kernel_function
def _bf16_line(source, stride, depth, word, column):
    index = 2 * word * stride + column
    second = load(source, index + stride) if 2 * word + 1 < depth else broadcast(0.0)
    return pair_lines(load(source, index), second)


@kernel
def _lay_out(part, a: Floats, stride, rows, depth, packed: Floats):
    _lay_out_tile(part, a, stride, rows, depth, 1, _fp32_block, packed)


@kernel
def _lay_out_bf16(part, a: Floats, stride, rows, depth, packed: Floats):
    _lay_out_tile(part, a, stride, rows, depth // 2, 2, _bf16_block, packed)


@kernel
def _lay_out_transposed(part, a: Floats, stride, rows, depth, packed: Floats):
    _lay_out_lines(part, a, stride, rows, depth, depth, _fp32_line, packed)


@kernel
def _lay_out_transposed_bf16(part, a: Floats, stride, rows, depth, packed: Floats):
    _lay_out_lines(part, a, stride, rows, depth, (depth + 1) // 2, _bf16_line, packed)


@kernel
def _multiply(part, product: _Product):
    _multiply_group(part, product, product.depth, 1, _fp32_block, _fp32_line, wide, narrow)


@kernel
def _multiply_bf16(part, product: _Product):
    _multiply_group(part, product, (product.depth + 1) // 2, 2, _bf16_block, _bf16_line, wide_bf16, narrow_bf16)


_FP32 = _lay_out, _lay_out_transposed, _multiply
_BF16 = _lay_out_bf16, _lay_out_transposed_bf16, _multiply_bf16


# ---- both formats


@kernel_function
def _lay_out_tile(part, a, stride, rows, words, values, write_block, packed):
    """Pack a tile of the matrix a [rows, words · values], padded by repeating the last row."""
    tiles, first, last = -(-rows // ROWS), part * ROWS * stride, (rows - 1) * stride
    for begin in range(0, words, DEPTH):
        to, end = _tile_offset(part, tiles, words, begin), min(begin + DEPTH, words)
        for word in range(begin, end, LANES):  # overwrites the excess of the previous block
            d = word * values
            write_block(a, first + d, stride, last + d, end - word, packed, to + ROWS * (word - begin), ROWS)


@kernel_function
def _lay_out_lines(part, a, stride, rows, depth, words, read_line, packed):
    """Pack some lines of the matrix a [depth, rows], for all tiles."""
    tiles, begin = -(-rows // ROWS), part * _LINES // DEPTH * DEPTH
    first, end = part * _LINES, min((part + 1) * _LINES, words)
    exact = max(first, end - _EXACT)
    for word in range(first, exact):  # each line overwrites the excess of the previous one
        for tile in range(tiles):
            to = _tile_offset(tile, tiles, words, begin) + ROWS * (word - begin)
            store(packed, to, read_line(a, stride, depth, word, ROWS * tile))
    for word in range(exact, end):
        for column in range(0, rows, LANES):
            line = read_line(a, stride, depth, word, column)
            for tile in range(column // ROWS, (column + LANES - 1) // ROWS + 1):
                lane = ROWS * tile - column  # that becomes the tile's first row
                to = _tile_offset(tile, tiles, words, begin) + ROWS * (word - begin)
                store_lanes(packed, to - lane, line, lane, lane + ROWS)


@kernel_function
def _multiply_group(part, product, words, values, write_block, read_line, wide_tile, narrow_tile):
    """Multiply a group of tiles by the columns of a panel."""
    rows, out_stride = product.rows, product.out_stride
    group = part // product.panels
    first, tiles = (part - group * product.panels) * PANEL, -(-rows // ROWS)
    width = min(PANEL, product.columns - first)
    panel: Floats = panel_on_stack()
    first_tile, last_tile = group * product.tiles_of_group, min((group + 1) * product.tiles_of_group, tiles)
    for begin in range(0, words, DEPTH):
        length = min(DEPTH, words - begin)
        _lay_out_panel(product, first, width, begin, length, values, write_block, read_line, panel)
        is_last = begin + length == words
        bias = product.bias + first if product.bias and is_last else no_floats()
        add, cut = begin > 0 or product.mode == Mode.ADD, is_last and product.mode == Mode.RELU
        for tile in range(first_tile, last_tile):
            a, row = product.packed + _tile_offset(tile, tiles, words, begin), tile * ROWS
            to, valid = product.out + (row * out_stride + first), min(ROWS, rows - row)
            if width == PANEL:
                wide_tile(a, panel, length, bias, add, cut, to, out_stride, valid)
            else:
                narrow_tile(a, panel, length, bias, add, cut, to, out_stride, valid)


@kernel_function
def _lay_out_panel(product, first, width, begin, length, values, write_block, read_line, panel):
    """Copy the block of the right matrix at the word `begin` and the column `first` to a panel [length, width]."""
    b, stride = product.right, product.right_stride
    for c in range(0, width, LANES):
        if product.is_transposed:
            for word in range(0, length, LANES):
                index = (first + c) * stride + (begin + word) * values
                last = index + (LANES - 1) * stride
                write_block(b, index, stride, last, length - word, panel, word * width + c, width)
        else:
            for word in range(length):
                line = read_line(b, stride, product.depth, begin + word, first + c)
                store(panel, word * width + c, line)
