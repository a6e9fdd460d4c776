"""The softmax of logits, the loss of the right words and its gradient, in one go over each row."""

from __future__ import annotations

import torch
from torch import Tensor

from allyouneed.kernels import LANES
from allyouneed.kernels.launch import kernel
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
)

_ROWS = 8  # a part


def loss_gradient(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """logits [tokens, vocabulary] become, in place, d loss / d logits = p - (1 - ε) · onehot - ε/V.

    -> of each token the smoothed loss and the negative log likelihood, in nats. Contiguous fp32, targets int64.
    """
    losses = torch.empty(2, len(logits))
    words = logits.shape[1]
    parts = -(-len(logits) // _ROWS)
    _loss_gradient(parts, logits, targets, losses, len(logits), words, 1 - smoothing, smoothing / words)
    return losses[0], losses[1]


@kernel
def _loss_gradient(part, logits, targets, losses, rows, words, certain: float, uniform: float):
    whole = words // LANES * LANES
    for row in range(part * _ROWS, min(rows, (part + 1) * _ROWS)):
        line = logits + 4 * row * words
        top, summed = each(get(line, 0)), each(0.0)
        for place in range(0, whole, LANES):
            these = load(line, place)
            top, summed = larger(top, these), summed + these
        highest, sum_of_logits = largest(top), total(summed)
        for place in range(whole, words):
            highest, sum_of_logits = max(highest, get(line, place)), sum_of_logits + get(line, place)
        right = get(line, get_long(targets, row))
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
        put(line, get_long(targets, row), get(line, get_long(targets, row)) - certain)
        log_normaliser = highest + log(normaliser)
        put(losses, row, log_normaliser - certain * right - uniform * sum_of_logits)
        put(losses, rows + row, log_normaliser - right)
