"""Products in bf16 with fp32 sums by AMX, for `matmul`.

Both matrices are rounded to the tiles of `amx.py`: those of 16 rows of the left matrix, or 16 columns of the right one,
are adjacent. A part of the product multiplies a group of rows, whose tiles stay in a core's L2 cache, by 32 columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from allyouneed.kernels import LANES, Mode, amx
from allyouneed.kernels.amx import BLOCK, TILE, configure_tiles, multiply_tiles, release_tiles
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Record
from allyouneed.kernels.simd import at_least, broadcast
from allyouneed.kernels.simd_memory import load, prefetch_to_write, store
from allyouneed.kernels.tiles import panel_on_stack

if TYPE_CHECKING:
    from torch import Tensor

_GROUP = 256  # tiles of a group of rows, approximately: 256 KB


class _Product(Record):
    """Arguments of `_multiply`."""

    left: Floats  # see `Tiles`
    right: Floats
    depth: int  # in tiles
    rows: int
    columns: int
    initial: Floats  # what the sums begin with: bias or output
    initial_stride: int
    relu: int
    out: Floats  # [rows, columns]
    out_stride: int
    group_rows: int  # of a part


class Tiles(NamedTuple):
    """A matrix [rows, depth] that is rounded to tiles: the rows of a left matrix, or the columns of a right one.

    Attributes:
        words: Tiles [rows / 16, depth, 16, 16], each a word of two values.
        rows: Number of rows.
        depth: Number of tiles along the depth.
    """

    words: Tensor
    rows: int
    depth: int


def multiply(a: Tensor, b: Tensor, bias: Tensor | None, mode: Mode, out: Tensor) -> None:
    """Compute a @ b + bias as `matmul`, with its arguments.

    Tile registers must have been granted to the process, see `amx.request`.
    """
    multiply_rounded(round_left(a), round_right(b.T), bias, mode, out)


def multiply_rounded(left: Tiles, right: Tiles, bias: Tensor | None, mode: Mode, out: Tensor) -> None:
    """Compute left @ rightᵀ + bias as `matmul`, for matrices of `round_left` and `round_right`."""
    rows, columns, tiles, stride = left.rows, right.rows, left.depth, out.stride(0)
    if mode == Mode.ADD and bias is not None:
        out += bias
    initial = out if mode == Mode.ADD else torch.zeros(columns) if bias is None else bias
    group_rows = max(1, _GROUP // (2 * tiles)) * BLOCK
    product = _Product(
        left=left.words,
        right=right.words,
        depth=tiles,
        rows=rows,
        columns=columns,
        initial=initial,
        initial_stride=stride if mode == Mode.ADD else 0,
        relu=mode == Mode.RELU,
        out=out,
        out_stride=stride,
        group_rows=group_rows,
    )
    _multiply(-(-rows // group_rows) * -(-columns // BLOCK), product)


def round_left(matrix: Tensor) -> Tiles:
    """Round a left matrix [rows, depth]."""
    return _round(matrix, _round_rows, _round_row_lines)


def round_right(matrix: Tensor) -> Tiles:
    """Round a right matrix, given as its transpose [columns, depth]."""
    return _round(matrix, _round_columns, _round_column_lines)


def _round(matrix: Tensor, by_rows: Callable[..., None], by_lines: Callable[..., None]) -> Tiles:
    """Round a matrix with a kernel for its order in memory."""
    rows, depth = matrix.shape
    parts, count = -(-rows // LANES), -(-depth // BLOCK)
    tiles = torch.empty(parts * count * TILE)
    if matrix.stride(1) == 1:
        by_rows(parts, matrix, matrix.stride(0), rows, depth, tiles)
    else:
        by_lines(count, matrix, matrix.stride(1), rows, depth, tiles)
    return Tiles(tiles, rows, count)


@kernel
def _round_rows(part, matrix: Floats, stride, rows, depth, tiles: Floats):
    _round_sixteen(part, matrix, stride, rows, depth, amx.left_from_rows, tiles)


@kernel
def _round_columns(part, matrix: Floats, stride, rows, depth, tiles: Floats):
    _round_sixteen(part, matrix, stride, rows, depth, amx.right_from_columns, tiles)


@kernel
def _round_row_lines(part, matrix: Floats, stride, rows, depth, tiles: Floats):
    _round_lines(part, matrix, stride, rows, depth, amx.left_from_lines, tiles)


@kernel
def _round_column_lines(part, matrix: Floats, stride, rows, depth, tiles: Floats):
    _round_lines(part, matrix, stride, rows, depth, amx.right_from_lines, tiles)


@kernel_function
def _round_sixteen(part, matrix, stride, rows, depth, round_tile, tiles):
    """Round sixteen rows of a matrix [rows, depth]."""
    first, last, count = part * LANES * stride, (rows - 1) * stride, -(-depth // BLOCK)
    for tile in range(count):
        d = tile * BLOCK
        round_tile(matrix, first + d, stride, last + d, depth - d, tiles, (part * count + tile) * TILE)


@kernel_function
def _round_lines(part, matrix, stride, rows, depth, round_tile, tiles):
    """Round 32 lines of a matrix that is stored as [depth, rows]."""
    d, count = part * BLOCK, -(-depth // BLOCK)
    for row in range(0, rows, LANES):
        round_tile(matrix, d * stride + row, stride, 0, depth - d, tiles, (row // LANES * count + part) * TILE)


@kernel
def _multiply(part, product: _Product):
    """Multiply a group of rows by 32 columns; blocks that exceed the output are computed beside it."""
    columns, stride, initial_stride = product.columns, product.out_stride, product.initial_stride
    step, blocks = product.depth * TILE, -(-columns // BLOCK)
    begin, column = part // blocks * product.group_rows, part % blocks * BLOCK
    end, width = min(product.rows, begin + product.group_rows), min(BLOCK, columns - column)
    right, right_step = product.right + column // LANES * step, step if width > LANES else 0
    beside: Floats = panel_on_stack()
    configure_tiles(LANES)
    for row in range(begin, end, BLOCK):
        height = min(BLOCK, end - row)
        left, left_step = product.left + row // LANES * step, step if height > LANES else 0
        initial, out = product.initial + (row * initial_stride + column), product.out + (row * stride + column)
        for line in range(BLOCK, min(2 * BLOCK, end - row)):
            prefetch_to_write(out, line * stride)
            prefetch_to_write(out, line * stride + LANES)
        if width == BLOCK and height == BLOCK:
            multiply_tiles(left, left_step, right, right_step, product.depth, initial, initial_stride, out, stride, 0)
        else:
            copy(initial, initial_stride, beside, BLOCK, height, width)
            multiply_tiles(left, left_step, right, right_step, product.depth, beside, BLOCK, beside, BLOCK, 0)
            copy(beside, BLOCK, out, stride, height, width)
        if product.relu:
            _relu(out, stride, height, width)
    release_tiles()


@kernel_function
def copy(source, source_stride, target, target_stride, rows, columns):
    """Copy a matrix whose number of columns is a multiple of 16."""
    for row in range(rows):
        for c in range(0, columns, LANES):
            store(target, row * target_stride + c, load(source, row * source_stride + c))


@kernel_function
def _relu(out, stride, rows, columns):
    for row in range(rows):
        for index in range(row * stride, row * stride + columns, LANES):
            store(out, index, at_least(load(out, index), broadcast(0.0)))
