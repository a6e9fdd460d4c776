"""What encoder and decoder layers are made of (section 3.1), on rows in the cache.

A layer's weights are a list of addresses: of each norm its weight and bias, then of each matrix `packed` and `facts`.
"""

from __future__ import annotations

import math

from numba import njit

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.product import multiply_rows, round_rows
from allyouneed.kernels.simd import each, get_long, load, multiply_add, store, total


@njit
def norm_rows(x, rows, width, weight, bias, out):
    """Layer normalisation of rows [rows, width], as PyTorch's: biased variance, ε = 10⁻⁵ inside the root."""
    for row in range(rows):
        line, to = x + 4 * row * width, out + 4 * row * width
        summed = each(0.0)
        for c in range(0, width, LANES):
            summed = summed + load(line, c)
        mean = total(summed) / width
        squares = each(0.0)
        for c in range(0, width, LANES):
            centred = load(line, c) - mean
            squares = multiply_add(centred, centred, squares)
        scale = 1 / math.sqrt(total(squares) / width + 1e-5)
        for c in range(0, width, LANES):
            store(to, c, multiply_add((load(line, c) - mean) * scale, load(weight, c), load(bias, c)))


@njit
def embed_row(token, embedding, position, d_model, scale, out):
    """embedding [vocabulary, d_model] at a token · scale + position [d_model] -> out [d_model] (section 3.4)."""
    line = embedding + 4 * token * d_model
    for c in range(0, d_model, LANES):
        store(out, c, multiply_add(load(line, c), each(scale), load(position, c)))


@njit
def product(a, rounded, rows, depth, weights, place, n, out, stride, mode):
    """a [rows, depth] by the matrix whose addresses stand at a place of the layer's -> out [rows, n], `stride` apart.

    rounded: as `multiply_rows` has it; mode: SET, RELU or ADD.
    """
    packed, facts = get_long(weights, place), get_long(weights, place + 1)
    multiply_rows(a, rounded, rows, depth, packed, facts, n, n, out, stride, mode)


@njit
def before(norm_first, x, rows, d_model, weights, number, normed):
    """What a sub-layer works on: x, or x normed."""
    if not norm_first:
        return x
    norm_rows(x, rows, d_model, get_long(weights, 2 * number), get_long(weights, 2 * number + 1), normed)
    return normed


@njit
def after(norm_first, x, rows, d_model, weights, number):
    """x is normed in place after a sub-layer, unless it was before."""
    if not norm_first:
        norm_rows(x, rows, d_model, get_long(weights, 2 * number), get_long(weights, 2 * number + 1), x)


@njit
def feed_forward(norm_first, x, rows, d_model, d_ff, weights, number, place, normed, inner, rounded):
    """Section 3.3, with its residual and norm: the matrices' addresses begin at a place of the layer's."""
    a = before(norm_first, x, rows, d_model, weights, number, normed)
    r = round_rows(a, rows, d_model, rounded)
    product(a, r, rows, d_model, weights, place, d_ff, inner, d_ff, Mode.RELU)
    r = round_rows(inner, rows, d_ff, rounded)
    product(inner, r, rows, d_ff, weights, place + 2, d_model, x, d_model, Mode.ADD)
    after(norm_first, x, rows, d_model, weights, number)
