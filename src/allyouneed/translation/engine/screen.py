"""Exact top tokens by screening: all logits in 8 or 16 bits, then only the candidates for the top in fp32.

Embeddings and hidden states are rounded; the processor multiplies four bytes per lane, or two integers of 16 bits
(AVX-512 VNNI). The error of a rounded logit is bounded (Cauchy-Schwarz): |h · w - ĥ · ŵ| ≤ |h| |w - ŵ| + |h - ĥ| |ŵ|.
A token whose upper bound is below the lower bounds of `count` other tokens is not in the top `count`. The remaining
tokens are computed again in fp32, so that the result is exact.

8 bits suffice without scores. With scores, 16 bits are used, from which the normaliser is computed too: the errors of
these logits are about 10⁻⁴ and differ from token to token, and the most likely tokens are among the candidates. The
normaliser is then off by less than 10⁻⁵ on average. In 8 bits it would be off by up to 10⁻³: with label smoothing, the
tail of ten thousand unlikely tokens is a tenth of the sum.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from allyouneed.kernels import LANES, MASKED, Mode
from allyouneed.kernels.amx import BLOCK
from allyouneed.kernels.byte_tiles import make_product_in_tiles, values_of
from allyouneed.kernels.compiler import kernel_function
from allyouneed.kernels.packed_matrix import Matrix, pack, pack_halves, to_bytes, to_halves
from allyouneed.kernels.product import (
    Rows,
    halves_size,
    multiply_columns,
    multiply_halves,
    round_row_to_halves,
    round_rows,
    rounded_size,
    uses_byte_tiles,
)
from allyouneed.kernels.records import Floats, Longs, Record
from allyouneed.kernels.simd import (
    any_above,
    broadcast,
    exp,
    log,
    maximum,
    multiply_add,
    reduce_max,
    reduce_sum,
    round_half_even,
)
from allyouneed.kernels.simd_memory import load, store
from allyouneed.translation.engine.top_tokens import CHUNK, CHUNK_STRIDE, insert_token

MOST_SCREENED = 32  # maximum number of top tokens for which screening is worthwhile
LEAST_SCORED = 8  # minimum number of top tokens for normalisers in 16 bits, since the others are inexact
_MARGIN = 1.001  # safety factor on bounds, for fp32 rounding errors
_MOST_ERROR = 0.05  # of a logit in 16 bits; a row that may exceed it, as with huge weights, is computed in fp32
_BLOCK = 16  # rows whose logits in 16 bits are computed and compared at a time, while they are in the L1 cache
_MAX_CANDIDATES = 512  # maximum per row; a row with more candidates is computed in fp32 throughout


class ScreenWeights(Record):
    """The pre-softmax linear in fp32 and in 8 or 16 bits, with its rounding errors."""

    weight: Floats  # fp32 [vocabulary, d_model]
    matrix: Matrix  # the weight in 8 or 16 bits; its bias masks padding
    errors: Floats  # fp32 [2, vocabulary, padded]: |w - ŵ| and |ŵ| of each token
    largest_errors: Floats  # fp32 [2]: the largest of each


class ScreenWorkspace(Record):
    """Memory for screening rows."""

    is_exact: Longs  # [rows]: 0 if the row must be computed in fp32
    rounded: Floats  # hidden states in 8 or 16 bits, each with its scale
    peaks: Floats  # fp32 [rows]: the largest logit in 16 bits
    bounds: Floats  # fp32 [rows, count]: the largest lower bounds
    lengths: Floats  # fp32 [rows, 2]: |h| and |h - ĥ|
    num_candidates: Longs  # [rows]: -1 if there are too many
    candidates: Longs  # [rows, _MAX_CANDIDATES]: tokens that may be in the top `count`
    upper_bounds: Floats  # fp32 [rows, _MAX_CANDIDATES]: upper bounds of their logits


def screen_weights(weight: Tensor, bias: Tensor, bits: int) -> ScreenWeights:
    """Round a weight [vocabulary, d_model], d_model a multiple of 16, with its bias [vocabulary], to 8 or 16 bits."""
    weight = weight.detach().contiguous()
    missing = -len(weight) % LANES
    padded = torch.cat([weight, weight.new_zeros(missing, weight.shape[1])])
    bias = torch.cat([bias, bias.new_full((missing,), MASKED)])
    matrix = pack(padded, bias, in_bytes=True) if bits == 8 else pack_halves(padded, bias)
    whole, scale = to_bytes(padded) if bits == 8 else to_halves(padded)
    rounded = whole * scale[:, None]
    errors = torch.stack([(padded - rounded).norm(dim=1), rounded.norm(dim=1)])
    return ScreenWeights(weight=weight, matrix=matrix, errors=errors, largest_errors=errors.amax(dim=1))


def screen_workspace(rows: int, depth: int, count: int) -> ScreenWorkspace:
    """Allocate memory to find the top `count` tokens of `rows` hidden states [depth]."""
    return ScreenWorkspace(
        is_exact=torch.empty(rows, dtype=torch.int64),
        rounded=torch.empty(rows * halves_size(depth)),
        peaks=torch.empty(rows),
        bounds=torch.empty(rows, count),
        lengths=torch.empty(rows, 2),
        num_candidates=torch.empty(rows, dtype=torch.int64),
        candidates=torch.empty(rows, _MAX_CANDIDATES, dtype=torch.int64),
        upper_bounds=torch.empty(rows, _MAX_CANDIDATES),
    )


@kernel_function
def _lengths(hidden, depth, scale):
    """Return |h| and |h - ĥ| of a hidden state [depth] that is rounded to integers of this scale."""
    squares = lost = broadcast(0.0)
    for c in range(0, depth, LANES):
        h = load(hidden, c)
        error = h - round_half_even(h * (1 / scale)) * scale
        squares, lost = multiply_add(h, h, squares), multiply_add(error, error, lost)
    return math.sqrt(reduce_sum(squares)), math.sqrt(reduce_sum(lost))


@kernel_function
def _dot(a, b, depth):
    summed = broadcast(0.0)
    for c in range(0, depth, LANES):
        summed = multiply_add(load(a, c), load(b, c), summed)
    return reduce_sum(summed)


@kernel_function
def _collect_vector(weights, screen, row, count, uppers, begin):
    """Collect a row's candidates from the upper bounds of the logits of sixteen tokens that start at `begin`."""
    errors, padded, bounds = weights.errors, weights.matrix.columns, screen.bounds + row * count
    length, lost, found = screen.lengths[2 * row], screen.lengths[2 * row + 1], screen.num_candidates[row]
    candidates = screen.candidates + row * _MAX_CANDIDATES
    upper_bounds = screen.upper_bounds + row * _MAX_CANDIDATES
    for i in range(LANES):
        upper = uppers[i]
        if upper > bounds[count - 1] and found >= 0:
            if found == _MAX_CANDIDATES:
                found = -1
            else:
                candidates[found] = begin + i
                upper_bounds[found] = upper
                found += 1
                error_of_token = errors[begin + i] * length + errors[padded + begin + i] * lost
                if upper - 2 * error_of_token > bounds[count - 1]:
                    _insert_bound(upper - 2 * error_of_token, bounds, count)
    screen.num_candidates[row] = found


@kernel_function
def _collect(weights, screen, row, count, line, begin, width):
    """Collect a row's candidates from the rounded logits [width] of the tokens that start at `begin`."""
    errors, padded, last = weights.errors, weights.matrix.columns, (row + 1) * count - 1
    length, lost = screen.lengths[2 * row], screen.lengths[2 * row + 1]
    for j in range(0, width, LANES):
        error = load(errors, begin + j) * length + load(errors, padded + begin + j) * lost
        uppers = load(line, j) + error
        if any_above(uppers, screen.bounds[last]):
            store(line, j, uppers)
            _collect_vector(weights, screen, row, count, line + j, begin + j)


class _Screening(NamedTuple):
    """Where candidates are collected, in compiled code; see `screen_top_tokens`."""

    weights: ScreenWeights
    screen: ScreenWorkspace
    first: int  # row
    top: int  # number of top tokens


@kernel_function
def _collect_block(block, terms, n, out):
    """Collect candidates from a block of rounded logits, which never leave the registers unless one is a candidate."""
    errors, padded, screen, count = out.weights.errors, out.weights.matrix.columns, out.screen, out.top
    for c in range(0, block.columns, LANES):
        bias, scale, token = load(terms, c), load(terms, n + c), block.column + c
        lost_by_weight, weight = load(errors, token), load(errors, padded + token)
        for i in range(block.rows):
            row = out.first + block.row + i
            error = lost_by_weight * screen.lengths[2 * row] + weight * screen.lengths[2 * row + 1]
            uppers = values_of(block, i, c, bias, scale) + error
            if any_above(uppers, screen.bounds[(row + 1) * count - 1]):
                line = block.sums + (i * BLOCK + c)
                store(line, 0, uppers)
                _collect_vector(out.weights, screen, row, count, line, token)


_collect_in_tiles = make_product_in_tiles("collect_in_tiles", _collect_block)


@kernel_function
def _insert_bound(value, bounds, count):
    index = count - 1
    while index > 0 and value > bounds[index - 1]:
        bounds[index] = bounds[index - 1]
        index -= 1
    bounds[index] = value


@kernel_function
def _add_exponentials(screen, top, row, line, width):
    """Add the exponentials of a row's rounded logits [width] to `top.normalisers`, relative to the row's peak."""
    highest, summed, earlier = broadcast(screen.peaks[row]), broadcast(0.0), broadcast(screen.peaks[row])
    for j in range(0, width, LANES):
        highest = maximum(highest, load(line, j))
    peak = reduce_max(highest)
    for j in range(0, width, LANES):
        summed = summed + exp(load(line, j) - peak)
    top.normalisers[row] = top.normalisers[row] * reduce_max(exp(earlier - peak)) + reduce_sum(summed)
    screen.peaks[row] = peak


@kernel_function
def _decide(weights, screen, row, hidden, top):
    """Compute the logits of a row's candidates in fp32, find the top tokens, and correct the sum of exponentials."""
    depth, bias, limit = weights.matrix.depth, weights.matrix.terms, screen.bounds[(row + 1) * top.count - 1]
    logits, tokens = top.logits + row * top.count, top.tokens + row * top.count
    errors, padded, peak, correction = weights.errors, weights.matrix.columns, screen.peaks[row], broadcast(0.0)
    length, lost = screen.lengths[2 * row], screen.lengths[2 * row + 1]
    for j in range(row * _MAX_CANDIDATES, row * _MAX_CANDIDATES + screen.num_candidates[row]):
        if screen.upper_bounds[j] >= limit:
            token = screen.candidates[j]
            logit = _dot(hidden, weights.weight + token * depth, depth) + bias[token]
            if top.with_scores:
                rounded = screen.upper_bounds[j] - (errors[token] * length + errors[padded + token] * lost)
                correction = correction + (exp(broadcast(logit - peak)) - exp(broadcast(rounded - peak)))
            if logit > logits[top.count - 1]:
                insert_token(logit, token, logits, tokens, top.count)
    top.normalisers[row] = top.normalisers[row] + reduce_max(correction)


@kernel_function
def _round_hidden(hidden, rows, matrix, with_scores, out):
    """Round hidden states to 16 bits if scores are needed, or to 8; return their stride and their scale's index."""
    depth = matrix.depth
    if with_scores:
        for row in range(rows):
            round_row_to_halves(hidden + row * depth, depth, out + row * halves_size(depth), matrix.in_tiles)
        return halves_size(depth), depth // 2
    round_rows(hidden, rows, matrix, out)
    return rounded_size(1, depth), depth // 4


@kernel_function
def _collect_in_chunks(model, top, work, weights, first, rows):
    """Collect the candidates of rounded rows from their logits, with the sums of exponentials if scores are needed."""
    screen, depth, count, padded = work.screen, model.d_model, top.count, weights.matrix.columns
    hidden, logits = work.hidden + first * depth, work.logits + first * CHUNK_STRIDE
    rounded, stride, block = screen.rounded + first * halves_size(depth), rounded_size(1, depth), rows
    if top.with_scores:
        stride, block = halves_size(depth), _BLOCK
    for begin in range(0, padded, CHUNK):
        width = min(CHUNK, padded - begin)
        for begin_row in range(0, rows, block):
            size, out = min(block, rows - begin_row), Rows(logits, CHUNK_STRIDE)
            a, a_rounded = hidden + begin_row * depth, rounded + begin_row * stride
            if top.with_scores:
                multiply_halves(a_rounded, size, weights.matrix, begin, width, out)
            else:
                multiply_columns(a, a_rounded, size, weights.matrix, begin, width, out, Mode.SET)
            for i in range(size):
                row, line = first + begin_row + i, logits + i * CHUNK_STRIDE
                if top.with_scores:
                    _add_exponentials(screen, top, row, line, width)
                _collect(weights, screen, row, count, line, begin, width)


@kernel_function
def screen_top_tokens(model, top, work, first, rows):
    """Find top tokens as `find_top_tokens` does; rows with `work.screen.is_exact` 0 still need it."""
    screen, depth, count, weights = work.screen, model.d_model, top.count, model.screen
    if top.with_scores:
        weights = model.fine_screen
    hidden, padded = work.hidden + first * depth, weights.matrix.columns
    rounded = screen.rounded + first * halves_size(depth)
    stride, at_scale = _round_hidden(hidden, rows, weights.matrix, top.with_scores, rounded)
    for row in range(first, first + rows):
        scale = rounded[(row - first) * stride + at_scale]
        length, lost = _lengths(hidden + (row - first) * depth, depth, scale)
        screen.lengths[2 * row] = length * _MARGIN
        screen.lengths[2 * row + 1] = lost * _MARGIN
        screen.num_candidates[row] = 0
        error = weights.largest_errors[0] * length + weights.largest_errors[1] * lost
        if top.with_scores and not error <= _MOST_ERROR:  # NaN included
            screen.num_candidates[row] = -1
        screen.peaks[row] = MASKED
        top.normalisers[row] = 0.0
        for j in range(row * count, (row + 1) * count):
            screen.bounds[j] = MASKED
            top.logits[j] = MASKED
            top.tokens[j] = 0
    if uses_byte_tiles(weights.matrix, rows):
        matrix, words, out = weights.matrix, depth // 4, _Screening(weights, screen, first, count)
        _collect_in_tiles(Rows(rounded, stride), rows, matrix.panels, words, matrix.terms, padded, padded, out)
    else:
        _collect_in_chunks(model, top, work, weights, first, rows)
    for row in range(first, first + rows):
        h = hidden + (row - first) * depth
        screen.is_exact[row] = min(1, screen.num_candidates[row] + 1)
        _decide(weights, screen, row, h, top)
        if top.with_scores:
            top.normalisers[row] = screen.peaks[row] + log(top.normalisers[row])
        end = _dot(h, weights.weight + model.end * depth, depth) + weights.matrix.terms[model.end]
        top.end_logits[row] = end
