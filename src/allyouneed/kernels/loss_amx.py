"""Cross-entropy with its gradients as in `loss.py`, with products in bf16 by AMX.

A thread computes 32 rows at a time, whose logits stay in its core's L2 cache from the first product to the last. Each
matrix is rounded once for each product that it takes part in: the embeddings once for all rows, the gradient of the
logits while it is in the cache. Sums, softmax and loss are in fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.amx import (
    BLOCK,
    TILE,
    configure_tiles,
    left_from_lines,
    left_from_rows,
    multiply_and_prefetch,
    release_tiles,
)
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.loss import row_loss
from allyouneed.kernels.matmul_amx import Tiles, copy, multiply_rounded, round_left, round_right
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd_memory import fetch_and_increment

if TYPE_CHECKING:
    from torch import Tensor

_DEPTH = 16  # tiles of the gradient of the logits that are multiplied at a time, in the L1 cache: 512 tokens


class AmxTokenLoss:
    """Cross-entropy as `loss.TokenLoss`, with a vocabulary of any size. Tile registers must have been granted.

    Args:
        weight: Output embeddings [vocabulary, d_model].
        rows: Maximum number of rows in a call.
        parts: certain, uniform and share.
        teacher_weight: The teacher's output embeddings [vocabulary, its d_model], or None without a teacher.
        needs_weight: Whether the gradient of the embeddings is needed.
    """

    def __init__(
        self,
        weight: Tensor,
        rows: int,
        parts: tuple[float, float, float],
        teacher_weight: Tensor | None,
        needs_weight: bool,
    ):
        self._vocab_size, self._depth = weight.shape
        self._parts = parts
        self._to_logits, self._to_hidden = round_right(weight), round_right(weight.T)
        self._to_teacher_logits = None if teacher_weight is None else round_right(teacher_weight)
        columns = -(-self._vocab_size // BLOCK) * BLOCK
        self._stride = columns + LANES  # an odd number of lines: rows of a block differ in their sets of the L1 cache
        self._threads = min(torch.get_num_threads(), -(-rows // BLOCK))
        count, width = 1 + (teacher_weight is not None), -(-self._depth // BLOCK) * BLOCK
        self._sizes = [count * BLOCK * self._stride, 2 * _DEPTH * TILE, BLOCK * width]
        self._buffers, self._zeros = torch.empty(self._threads, sum(self._sizes)), torch.zeros(BLOCK)
        self._grad_logits = torch.empty(columns * -(-rows // BLOCK) * LANES) if needs_weight else None

    def __call__(
        self, hidden: Tensor, targets: Tensor, grad_hidden: Tensor | None, teacher_hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of some rows and its gradients, see `TokenLoss.__call__`."""
        rows, (certain, uniform, share) = len(hidden), self._parts
        losses, next_block, blocks = torch.empty(2, rows), torch.zeros(1, dtype=torch.int64), -(-rows // BLOCK)
        rounded = round_left(hidden)
        teacher_rounded = None if teacher_hidden is None else round_left(teacher_hidden)
        arguments = _Arguments(
            rows=rows,
            next_block=next_block.data_ptr(),
            hidden=rounded.words,
            depth=self._depth,
            vocab_size=self._vocab_size,
            stride=self._stride,
            zeros=self._zeros,
            targets=targets,
            certain=certain,
            uniform=uniform,
            share=share,
            losses=losses,
            buffers=self._buffers,
            logits_size=self._sizes[0],
            tiles_size=self._sizes[1],
            buffer_size=sum(self._sizes),
            to_logits=self._to_logits.words,
            to_hidden=self._to_hidden.words,
            teacher_hidden=None if teacher_rounded is None else teacher_rounded.words,
            teacher_depth=0 if teacher_hidden is None else teacher_hidden.shape[1],
            to_teacher_logits=None if self._to_teacher_logits is None else self._to_teacher_logits.words,
            grad_hidden=grad_hidden,
            grad_logits=self._grad_logits,
        )
        _token_loss(min(blocks, self._threads), arguments)
        return losses[0].sum(), losses[1].sum()

    def add_weight_gradient(self, total: Tensor, hidden: Tensor, is_first: bool) -> None:
        """Add the gradient of the embeddings due to the previous call, see `TokenLoss.add_weight_gradient`."""
        assert self._grad_logits is not None
        left = Tiles(self._grad_logits, self._vocab_size, -(-len(hidden) // BLOCK))
        multiply_rounded(left, round_right(hidden.T), None, Mode.SET if is_first else Mode.ADD, total)


class _Arguments(Record):
    """Arguments of `_token_loss`. Matrices of tiles are described in `matmul_amx.py`."""

    rows: int
    next_block: int  # address of the index of the next block of rows
    hidden: Floats  # tiles
    depth: int  # of the hidden states, in values
    vocab_size: int
    stride: int  # from one row of logits to the next
    zeros: Floats
    targets: Longs  # [rows]
    certain: float
    uniform: float
    share: float
    losses: Floats  # [2, rows]
    buffers: Floats  # [threads, buffer_size]: logits, teacher's logits, tiles of their gradient, gradient of hidden
    logits_size: int
    tiles_size: int
    buffer_size: int
    to_logits: Floats  # tiles of columns [vocabulary, depth]
    to_hidden: Floats  # tiles of columns [depth, vocabulary]
    teacher_hidden: Floats | None  # tiles
    teacher_depth: int  # 0 without a teacher
    to_teacher_logits: Floats | None
    grad_hidden: Floats | None  # [rows, depth]
    grad_logits: Floats | None  # tiles of rows [vocabulary, rows]


@kernel
def _token_loss(part, a: _Arguments):
    """Compute the loss and the gradients of blocks of rows, until none is left, in the buffer of this part."""
    blocks, columns, stride = -(-a.rows // BLOCK), -(-a.vocab_size // LANES) * LANES, a.stride
    logits = a.buffers + part * a.buffer_size
    teacher_logits, tiles = logits + BLOCK * stride, logits + a.logits_size
    grads = tiles + a.tiles_size
    configure_tiles(LANES)
    block = fetch_and_increment(a.next_block)
    while block < blocks:
        begin = block * BLOCK
        count = min(BLOCK, a.rows - begin)
        _logits(a.hidden, a.depth, block, count, a.to_logits, columns, a.zeros, logits, stride)
        if a.teacher_depth:
            to = a.to_teacher_logits
            _logits(a.teacher_hidden, a.teacher_depth, block, count, to, columns, a.zeros, teacher_logits, stride)
        for row in range(count):
            line = logits + row * stride
            row_loss(a, begin + row, line, teacher_logits + row * stride)
            for token in range(a.vocab_size, -(-a.vocab_size // BLOCK) * BLOCK):
                line[token] = 0.0
        if a.grad_hidden:
            _grad_hidden(a, logits, count, tiles, grads)
            width = -(-a.depth // BLOCK) * BLOCK
            copy(grads, width, a.grad_hidden + begin * a.depth, a.depth, count, a.depth)
        if a.grad_logits:
            for token in range(0, columns, LANES):
                place = (token // LANES * blocks + block) * TILE
                left_from_lines(logits, token, stride, 0, count, a.grad_logits, place)
        block = fetch_and_increment(a.next_block)
    release_tiles()


@kernel_function
def _logits(hidden, depth, block, count, to_logits, columns, zeros, logits, stride):
    """Multiply a block of 32 rows, of which `count` exist, by the embeddings."""
    tiles = -(-depth // BLOCK)
    step = tiles * TILE
    left, left_step = hidden + 2 * block * step, step if count > LANES else 0
    for column in range(0, columns, BLOCK):
        right, right_step = to_logits + column // LANES * step, step if columns - column > LANES else 0
        to, ahead = logits + column, 2 * step
        multiply_and_prefetch(left, left_step, right, right_step, tiles, zeros, 0, to, stride, ahead)


@kernel_function
def _grad_hidden(a, grad_logits, count, tiles, grads):
    """Multiply the gradient of the logits of 32 rows by the embeddings; grads: [32, depth, padded to 32s]."""
    stride, whole, width = a.stride, -(-a.vocab_size // BLOCK), -(-a.depth // BLOCK) * BLOCK
    last = (count - 1) * stride
    for first in range(0, whole, _DEPTH):
        some = min(_DEPTH, whole - first)
        for half in range(2):
            for tile in range(some):
                token = (first + tile) * BLOCK
                at, to = half * LANES * stride + token, (half * some + tile) * TILE
                left_from_rows(grad_logits, at, stride, last + token, BLOCK, tiles, to)
        for column in range(0, a.depth, BLOCK):
            right = a.to_hidden + (column // LANES * whole + first) * TILE
            right_step, ahead = whole * TILE if a.depth - column > LANES else 0, 2 * whole * TILE
            to, left_step = grads + column, some * TILE
            initial, initial_stride = (to, width) if first else (a.zeros, 0)
            multiply_and_prefetch(tiles, left_step, right, right_step, some, initial, initial_stride, to, width, ahead)
