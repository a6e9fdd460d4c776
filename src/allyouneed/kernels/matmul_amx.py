"""Products in bf16 with fp32 sums by AMX, for `matmul`.

Both matrices are rounded to the tiles of `amx.py`: those of 16 rows of the left matrix, or 16 columns of the right one,
are adjacent. A part of the product multiplies some rows, whose tiles stay in a core's L2 cache, by 32 columns; or by
all columns, after it has rounded the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from allyouneed.kernels import LANES, Mode, amx
from allyouneed.kernels.amx import (
    BLOCK,
    TILE,
    configure_tiles,
    left_from_lines,
    left_from_rows,
    multiply_tiles,
    release_tiles,
)
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.records import Floats, Record
from allyouneed.kernels.simd import at_least, broadcast
from allyouneed.kernels.simd_memory import load, prefetch_to_write, store
from allyouneed.kernels.tiles import panel_on_stack

if TYPE_CHECKING:
    from torch import Tensor

_GROUP = 256  # tiles of a part's rows that were rounded before, approximately: 256 KB
_BLOCKS, _PARTS = 8, 4  # of a product that rounds rows: at most 8 blocks of rows in a part, 4 parts per thread


class _Product(Record):
    """Arguments of `_multiply`."""

    left: Floats  # see `Tiles`
    source: Floats | None  # the left matrix [rows, source_depth] if parts are to round their rows to `left`
    source_stride: int
    source_depth: int  # in values
    transposed: Floats | None  # if it is to be rounded to this as well, transposed
    right: Floats
    depth: int  # in tiles
    rows: int
    columns: int
    initial: Floats  # what the sums begin with: bias or output
    initial_stride: int
    relu: int
    out: Floats  # [rows, columns]
    out_stride: int
    part_rows: int
    part_columns: int


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
    if a.stride(1) == 1:
        _round_and_multiply(a, round_right(b.T), bias, mode, out)
    else:
        multiply_rounded(round_left(a), round_right(b.T), bias, mode, out)


def gradients(
    grad: Tensor, x: Tensor, weight: Tensor, needs_x: bool, needs_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Compute grad @ weight and gradᵀ @ x as `matmul.gradients`; grad is read once."""
    grad_x = grad_weight = transposed = None
    if needs_weight:
        transposed = _empty_tiles(*reversed(grad.shape)) if needs_x else round_left(grad.T)
    if needs_x:
        grad_x = torch.empty_like(x)
        _round_and_multiply(grad, round_right(weight.T), None, Mode.SET, grad_x, transposed)
    if transposed is not None:
        grad_weight = torch.empty_like(weight)
        multiply_rounded(transposed, round_right(x.T), None, Mode.SET, grad_weight)
    return grad_x, grad_weight


def multiply_rounded(left: Tiles, right: Tiles, bias: Tensor | None, mode: Mode, out: Tensor) -> None:
    """Compute left @ rightᵀ + bias as `matmul`, for matrices of `round_left` and `round_right`."""
    part_rows = max(1, _GROUP // (2 * left.depth)) * BLOCK
    _start(left, right, bias, mode, out, part_rows, BLOCK)


def _round_and_multiply(
    a: Tensor, right: Tiles, bias: Tensor | None, mode: Mode, out: Tensor, transposed: Tiles | None = None
) -> None:
    """Compute a @ rightᵀ + bias, and round aᵀ, as by `round_left`, to `transposed`; the rows of a are contiguous."""
    words = None if transposed is None else transposed.words
    blocks = min(_BLOCKS, len(a) // (BLOCK * _PARTS * torch.get_num_threads()))
    _start(_empty_tiles(*a.shape), right, bias, mode, out, max(1, blocks) * BLOCK, right.rows, a, words)


def _start(
    left: Tiles,
    right: Tiles,
    bias: Tensor | None,
    mode: Mode,
    out: Tensor,
    part_rows: int,
    part_columns: int,
    source: Tensor | None = None,
    transposed: Tensor | None = None,
) -> None:
    rows, columns, stride = left.rows, right.rows, out.stride(0)
    if mode == Mode.ADD and bias is not None:
        out += bias
    product = _Product(
        left=left.words,
        source=source,
        source_stride=0 if source is None else source.stride(0),
        source_depth=0 if source is None else source.shape[1],
        transposed=transposed,
        right=right.words,
        depth=left.depth,
        rows=rows,
        columns=columns,
        initial=out if mode == Mode.ADD else torch.zeros(columns) if bias is None else bias,
        initial_stride=stride if mode == Mode.ADD else 0,
        relu=mode == Mode.RELU,
        out=out,
        out_stride=stride,
        part_rows=part_rows,
        part_columns=part_columns,
    )
    _multiply(-(-rows // part_rows) * -(-columns // part_columns), product)


def round_left(matrix: Tensor) -> Tiles:
    """Round a left matrix [rows, depth]."""
    return _round(matrix, _round_rows, _round_row_lines)


def round_right(matrix: Tensor) -> Tiles:
    """Round a right matrix, given as its transpose [columns, depth]."""
    return _round(matrix, _round_columns, _round_column_lines)


def _round(matrix: Tensor, by_rows: Callable[..., None], by_lines: Callable[..., None]) -> Tiles:
    """Round a matrix with a kernel for its order in memory."""
    rows, depth = matrix.shape
    tiles = _empty_tiles(rows, depth)
    if matrix.stride(1) == 1:
        by_rows(-(-rows // LANES), matrix, matrix.stride(0), rows, depth, tiles.words)
    else:
        by_lines(tiles.depth, matrix, matrix.stride(1), rows, depth, tiles.words)
    return tiles


def _empty_tiles(rows: int, depth: int) -> Tiles:
    count = -(-depth // BLOCK)
    return Tiles(torch.empty(-(-rows // LANES) * count * TILE), rows, count)


@kernel
def _round_rows(part, matrix: Floats, stride, rows, depth, tiles: Floats):
    _round_sixteen(part, matrix, stride, rows, depth, left_from_rows, tiles)


@kernel
def _round_columns(part, matrix: Floats, stride, rows, depth, tiles: Floats):
    _round_sixteen(part, matrix, stride, rows, depth, amx.right_from_columns, tiles)


@kernel
def _round_row_lines(part, matrix: Floats, stride, rows, depth, tiles: Floats):
    _round_lines(part, matrix, stride, rows, depth, left_from_lines, tiles)


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
    """Multiply some rows by some columns."""
    splits = -(-product.columns // product.part_columns)
    begin, first = part // splits * product.part_rows, part % splits * product.part_columns
    end = min(product.rows, begin + product.part_rows)
    if product.source:
        _round_part(product, begin, end)
    configure_tiles(LANES)
    for column in range(first, min(product.columns, first + product.part_columns), BLOCK):
        _multiply_columns(product, begin, end, column)
    release_tiles()


@kernel_function
def _round_part(product, begin, end):
    """Round rows of the left matrix, a few at a time in both layouts."""
    source, stride, rows, depth = product.source, product.source_stride, product.rows, product.source_depth
    for block in range(begin, end, BLOCK):
        for row in range(block, min(block + BLOCK, end), LANES):
            _round_sixteen(row // LANES, source, stride, rows, depth, left_from_rows, product.left)
        if product.transposed:
            _round_lines(block // BLOCK, source, stride, depth, rows, left_from_lines, product.transposed)


@kernel_function
def _multiply_columns(product, begin, end, column):
    """Multiply rows by 32 columns; blocks that exceed the output are computed beside it."""
    columns, stride, initial_stride = product.columns, product.out_stride, product.initial_stride
    step, width = product.depth * TILE, min(BLOCK, columns - column)
    right, right_step = product.right + column // LANES * step, step if width > LANES else 0
    beside: Floats = panel_on_stack()
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
