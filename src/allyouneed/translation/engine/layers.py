"""Building blocks of encoder and decoder layers (section 3.1), on a few rows that stay in the cache."""

from __future__ import annotations

import math

from allyouneed.kernels import LANES, Mode
from allyouneed.kernels.activations import activate
from allyouneed.kernels.bf16 import store_bf16
from allyouneed.kernels.compiler import kernel_function, separate_function
from allyouneed.kernels.product import Rows, multiply_rows, round_rows
from allyouneed.kernels.simd import broadcast, multiply_add, reduce_sum, select_first
from allyouneed.kernels.simd_memory import load, store


@separate_function
def norm_rows(x, rows, d_model, norm, out):
    """Normalise rows [rows, d_model] as PyTorch does: biased variance, ε inside the square root. Padding stays 0."""
    weight, bias, width = norm.weight, norm.bias, norm.width
    whole = width // LANES * LANES
    for row in range(rows):
        line, to = x + row * d_model, out + row * d_model
        summed = broadcast(0.0)
        for c in range(0, d_model, LANES):
            summed = summed + load(line, c)
        mean = reduce_sum(summed) / width
        squares = broadcast(0.0)
        for c in range(0, whole, LANES):
            centred = load(line, c) - mean
            squares = multiply_add(centred, centred, squares)
        if whole < width:
            centred = select_first(width - whole, load(line, whole) - mean, broadcast(0.0))
            squares = multiply_add(centred, centred, squares)
        scale = 1 / math.sqrt(reduce_sum(squares) / width + norm.epsilon)
        for c in range(0, d_model, LANES):
            store(to, c, multiply_add((load(line, c) - mean) * scale, load(weight, c), load(bias, c)))


@kernel_function
def embed_row(model, token, encoding, out):
    """Write a token's scaled embedding plus its positional encoding [d_model] (sections 3.4 and 3.5)."""
    line, scale = model.embedding + token * model.d_model, model.embedding_scale
    for c in range(0, model.d_model, LANES):
        store(out, c, multiply_add(load(line, c), broadcast(scale), load(encoding, c)))


@kernel_function
def sublayer_input(model, x, rows, norm, normed):
    """Return the input of a sub-layer: x, or with norm "pre" its normalisation, written to `normed`."""
    if not model.norm_first:
        return x
    norm_rows(x, rows, model.d_model, norm, normed)
    return normed


@kernel_function
def norm_sublayer(model, x, rows, norm):
    """Normalise x in place after a sub-layer, with norm "post"."""
    if not model.norm_first:
        norm_rows(x, rows, model.d_model, norm, x)


@kernel_function
def project(a, rows, matrix, rounded, out, mode):
    """Multiply contiguous rows by a matrix; rounded: memory for the rows after rounding."""
    a_rounded = round_rows(a, rows, matrix, rounded)
    multiply_rows(a, a_rounded, rows, matrix, Rows(out, matrix.columns), mode)


@kernel_function
def project_key_values(a, a_rounded, rows, matrix, projected, out):
    """Multiply contiguous rows by a matrix, and write the keys and values to the `Rows` out, in fp32 or in bf16.

    a_rounded: as in `multiply_columns`; projected: memory for them in fp32 [rows, columns], or null if out is fp32.
    """
    columns = matrix.columns
    if projected:
        multiply_rows(a, a_rounded, rows, matrix, Rows(projected, columns), Mode.SET)
        for row in range(rows):
            for c in range(0, columns, LANES):
                store_bf16(out.start + row * out.stride, c, load(projected, row * columns + c))
    else:
        multiply_rows(a, a_rounded, rows, matrix, out, Mode.SET)


@kernel_function
def feed_forward(model, weights, x, rows, normed, inner, rounded):
    """Add the feed-forward network (equation 2, or with another activation) to x [rows, d_model], and normalise.

    normed, inner, rounded: temporary memory for [rows, d_model], [rows, d_ff] and rounded rows.
    """
    a = sublayer_input(model, x, rows, weights.norm, normed)
    if weights.activation:
        project(a, rows, weights.inner, rounded, inner, Mode.SET)
        activate(inner, rows * model.d_ff, weights.activation)
    else:
        project(a, rows, weights.inner, rounded, inner, Mode.RELU)
    project(inner, rows, weights.outer, rounded, x, Mode.ADD)
    norm_sublayer(model, x, rows, weights.norm)


@kernel_function
def offset(pointer, count):
    """Advance a pointer unless it is null."""
    if pointer:
        return pointer + count
    return pointer
