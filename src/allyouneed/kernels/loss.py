"""The pre-softmax linear, the softmax, the loss of the right words and its gradients, a few rows at a time.

A thread's rows of logits stay in its own cache from the first product to the last. The words' embeddings are laid out
once a step for both products; PyTorch's would lay them out again for each chunk of rows.
"""

from __future__ import annotations

import torch
from numba import njit
from torch import Tensor

from allyouneed.kernels import LANES
from allyouneed.kernels.launch import kernel
from allyouneed.kernels.layers import whole_lanes
from allyouneed.kernels.product import ADD, PANEL, SET, multiply_floats
from allyouneed.kernels.simd import (
    each,
    exp,
    get,
    get_long,
    larger,
    largest,
    load,
    log,
    multiply_add,
    put,
    store,
    total,
    transpose,
)

_ROWS = 16  # a part: two tiles
_WORDS = 512  # whose gradients are summed at a time: sums of sums err less


class WordLoss:
    """Label-smoothed cross-entropy of hidden states with these words' embeddings.

    weight [vocabulary, d_model]; rows: the most that come at once. All fp32, d_model a multiple of 16.
    """

    def __init__(self, weight: Tensor, rows: int, smoothing: float):
        self._words, self._depth = weight.shape
        self._smoothing = smoothing
        self._to_words, self._to_hidden = lay_out(weight)
        self._room = torch.empty(rows, whole_lanes(self._words))
        self._zeros = torch.zeros(max(self._room.shape[1], self._depth))

    def __call__(self, hidden: Tensor, targets: Tensor, grad_hidden: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """hidden [rows, d_model], targets [rows]; grad_hidden like hidden, to be written, or None.

        -> d loss / d logits [rows, vocabulary] = p - (1 - ε) · onehot - ε/V, which the next call overwrites, and the
        sums of the smoothed loss and of the negative log likelihood, in nats.
        """
        rows, words = len(hidden), self._words
        logits, losses = self._room[:rows], torch.empty(2, rows)
        _word_loss(
            -(-rows // _ROWS),
            hidden,
            rows,
            self._depth,
            self._to_words,
            words,
            logits.shape[1],
            self._zeros,
            targets,
            1 - self._smoothing,
            self._smoothing / words,
            logits,
            losses,
            grad_hidden is not None,
            self._to_hidden,
            hidden if grad_hidden is None else grad_hidden,
        )
        return logits[:, :words], losses[0].sum(), losses[1].sum()


def lay_out(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [vocabulary, d_model] -> `panels(weight)`, and `panels` of each 512 words' transpose, one after another.

    In one pass, since it is done once a step. What fills the vocabulary up to 16s has no meaning.
    """
    words, depth = weight.shape
    to_words, to_hidden = torch.empty(whole_lanes(words) * depth), torch.empty(words * depth)
    _lay_out(-(-words // PANEL), weight.contiguous(), words, depth, to_words, to_hidden)
    return to_words, to_hidden


@kernel
def _lay_out(part, weight, words, depth, to_words, to_hidden):
    begin = part * PANEL
    width = min(PANEL, whole_lanes(words) - begin)
    for d in range(0, depth, LANES):
        for word in range(begin, begin + width, LANES):
            place, last = word * depth + d, (words - 1) * depth + d
            transpose(weight, place, depth, last, to_words, begin * depth + d * width + word - begin, width)
    for word in range(begin, min(words, begin + PANEL)):
        first = word // _WORDS * _WORDS
        some = min(_WORDS, words - first)
        for d in range(0, depth, LANES):
            panel = d // PANEL * PANEL
            line = first * depth + panel * some + (word - first) * min(PANEL, depth - panel)
            store(to_hidden, line + d - panel, load(weight, word * depth + d))


@kernel
def _word_loss(
    part,
    hidden,
    rows,
    depth,
    to_words,
    words,
    room,
    zeros,
    targets,
    certain: float,
    uniform: float,
    logits,
    losses,
    wanted,
    to_hidden,
    grad_hidden,
):
    begin = part * _ROWS
    count = min(_ROWS, rows - begin)
    first_row, lines = 4 * begin * depth, logits + 4 * begin * room
    multiply_floats(hidden + first_row, depth, count, to_words, depth, zeros, 0, room, lines, room, SET)
    for row in range(begin, begin + count):
        loss, nll = _softmax_gradient(logits + 4 * row * room, words, get_long(targets, row), certain, uniform)
        put(losses, row, loss)
        put(losses, rows + row, nll)
    if wanted:
        grads = grad_hidden + first_row
        for word in range(0, words, _WORDS):
            some, mode = min(_WORDS, words - word), ADD if word else SET
            here = to_hidden + 4 * word * depth
            multiply_floats(lines + 4 * word, room, count, here, some, zeros, 0, depth, grads, depth, mode)


@njit
def _softmax_gradient(line, words, target, certain, uniform):
    """A row of logits becomes the loss's gradient by them. -> the smoothed loss, the negative log likelihood."""
    whole = words // LANES * LANES
    top, summed = each(get(line, 0)), each(0.0)
    for place in range(0, whole, LANES):
        these = load(line, place)
        top, summed = larger(top, these), summed + these
    highest, sum_of_logits = largest(top), total(summed)
    for place in range(whole, words):
        highest, sum_of_logits = max(highest, get(line, place)), sum_of_logits + get(line, place)
    right = get(line, target)
    summed = each(0.0)
    for place in range(0, whole, LANES):
        these = exp(load(line, place) - highest)
        store(line, place, these)
        summed = summed + these
    normaliser = total(summed)
    for place in range(whole, words):
        this = largest(exp(each(get(line, place) - highest)))
        put(line, place, this)
        normaliser += this
    scale = 1 / normaliser
    for place in range(0, whole, LANES):
        store(line, place, multiply_add(load(line, place), each(scale), each(-uniform)))
    for place in range(whole, words):
        put(line, place, get(line, place) * scale - uniform)
    put(line, target, get(line, target) - certain)
    log_normaliser = highest + log(normaliser)
    return log_normaliser - certain * right - uniform * sum_of_logits, log_normaliser - right
