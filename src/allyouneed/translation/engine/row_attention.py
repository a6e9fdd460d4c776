"""Attention of one query to keys and values at given addresses (equation 1), in fp32 or in bf16.

Keys and values of a whole part do not fit into the processor's L2 cache, and reading them takes longer than the
arithmetic. A model in 8 bits therefore keeps them in bf16, whose rounding is finer than that of its matrices.
"""

from __future__ import annotations

import numpy as np

from allyouneed.kernels import LANES, MASKED
from allyouneed.kernels.bf16 import load_bf16
from allyouneed.kernels.compiler import kernel_function, named, separate_function
from allyouneed.kernels.lanes import pad_to_lanes
from allyouneed.kernels.records import floats_at
from allyouneed.kernels.simd import (
    broadcast,
    exp,
    maximum,
    multiply_add,
    reduce_max,
    reduce_sum,
    replace_four,
    select_first,
    sums_of_four,
)
from allyouneed.kernels.simd_memory import load, store


@kernel_function
def attend_row(model, query, addresses, count, scores, out):
    """Attend with one query to the keys and values at `count` addresses.

    query: fp32 [heads · d_k]; scores: temporary memory for [heads, count padded to 16]; out: fp32 [heads · d_v].
    """
    if model.in_bf16:
        _attend_to_bf16(model, query, addresses, count, scores, out)
    else:
        _attend_to_floats(model, query, addresses, count, scores, out)


@kernel_function
def _softmax(scores, count):
    """Replace scores [count] by their softmax; the lanes after them become 0."""
    top, summed = load(scores, 0), broadcast(0.0)
    for j in range(LANES, count, LANES):
        top = maximum(top, load(scores, j))
    highest = reduce_max(top)
    for j in range(0, count, LANES):
        weights = select_first(count - j, exp(load(scores, j) - highest), broadcast(0.0))
        store(scores, j, weights)
        summed = summed + weights
    share = np.float32(1) / reduce_sum(summed)
    for j in range(0, count, LANES):
        store(scores, j, load(scores, j) * share)


def _row_attention(read, name):
    """Make the attention to keys and values that the function `read` loads, sixteen at a time.

    Each of the three parts processes all heads, whose long chains of operations the processor thereby overlaps.
    """

    @kernel_function
    @named(f"four_products_{name}")
    def four_products(query, addresses, j, last, begin, end):
        """Multiply columns of a query by the keys `j` to `j + 3`; keys after `last` are replaced by the last one."""
        a, b = floats_at(addresses[j]), floats_at(addresses[min(j + 1, last)])
        c, d = floats_at(addresses[min(j + 2, last)]), floats_at(addresses[min(j + 3, last)])
        sum_a = sum_b = sum_c = sum_d = broadcast(0.0)
        for column in range(begin, end, LANES):
            q = load(query, column)
            sum_a, sum_b = multiply_add(q, read(a, column), sum_a), multiply_add(q, read(b, column), sum_b)
            sum_c, sum_d = multiply_add(q, read(c, column), sum_c), multiply_add(q, read(d, column), sum_d)
        return sums_of_four(sum_a, sum_b, sum_c, sum_d)

    @separate_function
    @named(f"attend_to_{name}")
    def attend(model, query, addresses, count, scores, out):
        heads, d_k, d_v, padded = model.heads, model.d_k, model.d_v, pad_to_lanes(count)
        scale = model.attention_scale
        for head in range(heads):
            for begin in range(0, count, LANES):
                found = broadcast(MASKED)
                for j in range(begin, min(begin + LANES, count), 4):
                    four = four_products(query, addresses, j, count - 1, head * d_k, (head + 1) * d_k)
                    found = replace_four(found, j - begin, four * scale)
                store(scores, head * padded + begin, found)
        for head in range(heads):
            _softmax(scores + head * padded, count)
        for head in range(heads):
            weights, begin, end = scores + head * padded, heads * d_k + head * d_v, heads * d_k + (head + 1) * d_v
            for c in range(begin, end - LANES, 2 * LANES):
                first = second = broadcast(0.0)
                for j in range(count):
                    values, weight = floats_at(addresses[j]), broadcast(weights[j])
                    first = multiply_add(weight, read(values, c), first)
                    second = multiply_add(weight, read(values, c + LANES), second)
                store(out, c - heads * d_k, first)
                store(out, c - heads * d_k + LANES, second)
            if d_v // LANES % 2:
                mixture = broadcast(0.0)
                for j in range(count):
                    values = floats_at(addresses[j])
                    mixture = multiply_add(broadcast(weights[j]), read(values, end - LANES), mixture)
                store(out, end - LANES - heads * d_k, mixture)

    return attend


_attend_to_floats, _attend_to_bf16 = _row_attention(load, "floats"), _row_attention(load_bf16, "bf16")
