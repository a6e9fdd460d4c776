"""Cross-entropy with its gradients: pre-softmax linear, softmax and loss, a few rows of logits at a time.

A thread's rows of logits stay in its own cache from the first product to the last. The embeddings are packed once per
step for both products, whereas PyTorch would pack them again for each chunk of rows. Wide embeddings exceed the cache
and would be read again for every few rows; in that case, `matmul` computes the products for all rows in one call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from allyouneed.kernels import LANES, Mode, multiplies
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.matmul import matmul
from allyouneed.kernels.packed_matrix import PANEL
from allyouneed.kernels.product import Rows, multiply_floats
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd import broadcast, exp, log, maximum, multiply_add, reduce_max, reduce_sum
from allyouneed.kernels.simd_memory import load, store, transpose

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 16  # rows per part: two tiles
_TOKENS = 512  # tokens per partial sum of a gradient: summing partial sums reduces rounding errors


class TokenLoss:
    """Cross-entropy against a mixture of the label, the uniform and a teacher's distribution (section 5.4).

    The target distribution has `certain` on the label, plus `uniform` on every token, plus `share` times the teacher's
    distribution. All tensors are fp32 with rows whose size is a multiple of 16.

    Args:
        weight: Output embeddings [vocabulary, d_model].
        rows: Maximum number of rows in a call.
        parts: certain, uniform and share.
        teacher_weight: The teacher's output embeddings [vocabulary, its d_model], or None without a teacher.
        bf16: Whether the products round to bf16, if the size of the vocabulary is a multiple of 16.
    """

    def __init__(
        self,
        weight: Tensor,
        rows: int,
        parts: tuple[float, float, float],
        teacher_weight: Tensor | None,
        bf16: bool = False,
    ):
        self._vocab_size, self._depth = weight.shape
        self._parts = parts
        self._weight, self._teacher_weight = weight, teacher_weight
        weights = [weight] if teacher_weight is None else [weight, teacher_weight]
        self._wide, self._bf16 = multiplies(rows, weight, *weights, bf16=bf16), bf16
        self._logits = torch.empty(rows, pad_to_lanes(self._vocab_size))
        self._zeros = torch.zeros(max(self._logits.shape[1], self._depth))
        self._teacher_logits = self._logits if teacher_weight is None else torch.empty_like(self._logits)
        if not self._wide:
            self._to_logits, self._to_hidden = lay_out(weight)
            self._to_teacher_logits = self._zeros if teacher_weight is None else lay_out(teacher_weight)[0]

    def __call__(
        self, hidden: Tensor, targets: Tensor, grad_hidden: Tensor | None, teacher_hidden: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss of some rows and its gradients.

        Args:
            hidden: [rows, d_model].
            targets: int64 labels [rows].
            grad_hidden: Output [rows, d_model] for the gradient of `hidden`, or None if it is not needed.
            teacher_hidden: The teacher's hidden states [rows, its d_model], or None.

        Returns:
            The sums over rows of the loss and of the negative log-likelihood, in nats.
        """
        rows, wide = len(hidden), self._wide
        logits, teacher_logits = self._logits[:rows], self._teacher_logits[:rows]
        losses = torch.empty(2, rows)
        if wide:
            matmul(hidden, self._weight.T, out=logits, bf16=self._bf16)
            if teacher_hidden is not None and self._teacher_weight is not None:
                matmul(teacher_hidden, self._teacher_weight.T, out=teacher_logits, bf16=self._bf16)
        certain, uniform, share = self._parts
        arguments = _Arguments(
            hidden=hidden,
            rows=rows,
            depth=self._depth,
            vocab_size=self._vocab_size,
            stride=logits.shape[1],
            zeros=self._zeros,
            targets=targets,
            certain=certain,
            uniform=uniform,
            share=share,
            logits=logits,
            losses=losses,
            grad_hidden=grad_hidden,
            to_logits=None if wide else self._to_logits,
            to_hidden=None if wide or grad_hidden is None else self._to_hidden,
            teacher_hidden=teacher_hidden,
            teacher_depth=0 if teacher_hidden is None else teacher_hidden.shape[1],
            to_teacher_logits=None if wide or teacher_hidden is None else self._to_teacher_logits,
            teacher_logits=teacher_logits,
        )
        _token_loss(-(-rows // _ROWS), arguments)
        if wide and grad_hidden is not None:
            matmul(logits, self._weight, out=grad_hidden, bf16=self._bf16)
        return losses[0].sum(), losses[1].sum()

    def add_weight_gradient(self, total: Tensor, hidden: Tensor, is_first: bool) -> None:
        """Add the gradient of the embeddings due to the previous call: gradient of its logits, transposed, @ hidden.

        The gradient of the logits is p - certain · onehot - uniform - share · teacher's p.

        Args:
            total: Sum of the gradients [vocabulary, d_model], for the first call overwritten.
            hidden: Hidden states of the previous call.
            is_first: Whether that was the first call.
        """
        grad_logits = self._logits[: len(hidden), : self._vocab_size].T
        if multiplies(len(hidden), hidden, total, bf16=self._bf16):
            mode = Mode.SET if is_first else Mode.ADD
            matmul(grad_logits, hidden, mode=mode, out=total, bf16=self._bf16)
        else:
            total.addmm_(grad_logits, hidden, beta=0 if is_first else 1)


class _Arguments(Record):
    """Arguments of `_token_loss`. Where a packed matrix (`to_...`) is null, the kernel skips the product."""

    hidden: Floats  # [rows, depth]
    rows: int
    depth: int
    vocab_size: int
    stride: int  # from one row of logits to the next
    zeros: Floats  # a bias for the products
    targets: Longs  # [rows]
    certain: float
    uniform: float
    share: float
    logits: Floats  # [rows, stride]
    losses: Floats  # [2, rows]
    grad_hidden: Floats | None  # [rows, depth]
    to_logits: Floats | None  # see `lay_out`
    to_hidden: Floats | None
    teacher_hidden: Floats | None  # [rows, teacher_depth]
    teacher_depth: int  # 0 without a teacher
    to_teacher_logits: Floats | None
    teacher_logits: Floats  # [rows, stride]


def lay_out(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Pack embeddings [vocabulary, d_model] for both products in one pass, since this is done at every step.

    Returns:
        `panels(weight)`; and for each block of 512 tokens, `panels` of their transposed embeddings, concatenated. The
        values that pad the vocabulary to a multiple of 16 are arbitrary.
    """
    vocab_size, depth = weight.shape
    to_logits, to_hidden = torch.empty(pad_to_lanes(vocab_size) * depth), torch.empty(vocab_size * depth)
    _lay_out(-(-vocab_size // PANEL), weight.contiguous(), vocab_size, depth, to_logits, to_hidden)
    return to_logits, to_hidden


@kernel
def _lay_out(part, weight: Floats, vocab_size, depth, to_logits: Floats, to_hidden: Floats):
    begin = part * PANEL
    width = min(PANEL, pad_to_lanes(vocab_size) - begin)
    for d in range(0, depth, LANES):
        for token in range(begin, begin + width, LANES):
            index, last = token * depth + d, (vocab_size - 1) * depth + d
            transpose(weight, index, depth, last, to_logits, begin * depth + d * width + token - begin, width)
    for token in range(begin, min(vocab_size, begin + PANEL)):
        first = token // _TOKENS * _TOKENS
        count = min(_TOKENS, vocab_size - first)
        for d in range(0, depth, LANES):
            panel = d // PANEL * PANEL
            line = first * depth + panel * count + (token - first) * min(PANEL, depth - panel)
            store(to_hidden, line + d - panel, load(weight, token * depth + d))


@kernel
def _token_loss(part, a: _Arguments):
    """Compute the loss and the gradients of a few rows."""
    begin, depth, stride, vocab_size, zeros = part * _ROWS, a.depth, a.stride, a.vocab_size, a.zeros
    count = min(_ROWS, a.rows - begin)
    logits = Rows(a.logits + begin * stride, stride)
    if a.to_logits:
        hidden = Rows(a.hidden + begin * depth, depth)
        multiply_floats(hidden, count, a.to_logits, depth, zeros, 0, stride, logits, Mode.SET)
    if a.to_teacher_logits:
        d, to = a.teacher_depth, Rows(a.teacher_logits + begin * stride, stride)
        hidden = Rows(a.teacher_hidden + begin * d, d)
        multiply_floats(hidden, count, a.to_teacher_logits, d, zeros, 0, stride, to, Mode.SET)
    for row in range(begin, begin + count):
        row_loss(a, row, a.logits + row * stride, a.teacher_logits + row * stride)
    if a.to_hidden:
        grads = Rows(a.grad_hidden + begin * depth, depth)
        for token in range(0, vocab_size, _TOKENS):
            some, mode = min(_TOKENS, vocab_size - token), Mode.ADD if token else Mode.SET
            grad_logits = Rows(logits.start + token, stride)
            multiply_floats(grad_logits, count, a.to_hidden + token * depth, some, zeros, 0, depth, grads, mode)


@kernel_function
def row_loss(a, row, line, teacher_line):
    """Store the loss of a row, and turn its logits into their gradient; a: arguments, as of `_token_loss`."""
    vocab_size, teacher_part = a.vocab_size, 0.0
    if a.teacher_depth:
        teacher_part = _share_of_teacher(teacher_line, line, vocab_size, a.share)
    loss, nll = _softmax_gradient(line, vocab_size, a.targets[row], a.certain, a.uniform)
    if a.teacher_depth:
        _subtract(line, teacher_line, vocab_size)
    a.losses[row] = loss - teacher_part
    a.losses[a.rows + row] = nll


@kernel_function
def _share_of_teacher(line, logits, vocab_size, share):
    """Turn a row of the teacher's logits into probabilities times its share; return their dot product with `logits`."""
    whole = vocab_size // LANES * LANES
    top = broadcast(line[0])
    for index in range(0, whole, LANES):
        top = maximum(top, load(line, index))
    highest = reduce_max(top)
    for index in range(whole, vocab_size):
        highest = max(highest, line[index])
    normaliser = _exponentials(line, vocab_size, highest)
    scale, product = share / normaliser, broadcast(0.0)
    for index in range(0, whole, LANES):
        values = load(line, index) * broadcast(scale)
        store(line, index, values)
        product = multiply_add(values, load(logits, index), product)
    result = reduce_sum(product)
    for index in range(whole, vocab_size):
        line[index] = line[index] * scale
        result += line[index] * logits[index]
    return result


@kernel_function
def _exponentials(line, vocab_size, highest):
    """Turn a row of logits into exp(logit - highest), and return their sum."""
    whole = vocab_size // LANES * LANES
    summed = broadcast(0.0)
    for index in range(0, whole, LANES):
        values = exp(load(line, index) - highest)
        store(line, index, values)
        summed = summed + values
    normaliser = reduce_sum(summed)
    for index in range(whole, vocab_size):
        value = reduce_max(exp(broadcast(line[index] - highest)))
        line[index] = value
        normaliser += value
    return normaliser


@kernel_function
def _subtract(line, other, vocab_size):
    whole = vocab_size // LANES * LANES
    for index in range(0, whole, LANES):
        store(line, index, load(line, index) - load(other, index))
    for index in range(whole, vocab_size):
        line[index] = line[index] - other[index]


@kernel_function
def _softmax_gradient(line, vocab_size, target, certain, uniform):
    """Turn a row of logits into the gradient of the loss; return the loss and the negative log-likelihood."""
    whole = vocab_size // LANES * LANES
    top, summed = broadcast(line[0]), broadcast(0.0)
    for index in range(0, whole, LANES):
        values = load(line, index)
        top, summed = maximum(top, values), summed + values
    highest, sum_of_logits = reduce_max(top), reduce_sum(summed)
    for index in range(whole, vocab_size):
        highest, sum_of_logits = max(highest, line[index]), sum_of_logits + line[index]
    label = line[target]
    normaliser = _exponentials(line, vocab_size, highest)
    scale = 1 / normaliser
    for index in range(0, whole, LANES):
        store(line, index, multiply_add(load(line, index), broadcast(scale), broadcast(-uniform)))
    for index in range(whole, vocab_size):
        line[index] = line[index] * scale - uniform
    line[target] = line[target] - certain
    log_normaliser = highest + log(normaliser)
    return log_normaliser - certain * label - uniform * sum_of_logits, log_normaliser - label
