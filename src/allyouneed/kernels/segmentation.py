"""Segmentation of text into subwords at random, see `data/tokens/subword_sampling.py`.

Unlike the other kernels, these run as Python without Numba, since PyTorch has no operation for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from allyouneed import kernels

NONE, ROOT = -1, 0  # no entry in a table, no merge; the root of a trie
_UNKNOWN = -2  # a merge that was not looked up yet


def run(body: Callable[..., None], sentences: int, *arguments: Any) -> None:
    """Run a kernel for each sentence, or its Python source if kernels do not work."""
    if kernels.work():
        return _compiled(body)(sentences, *arguments)
    for sentence in range(sentences):
        body(sentence, *arguments)
    return None


@cache
def _compiled(body: Callable[..., None]) -> Callable[..., None]:
    return kernels.launch.kernel(body)


def merge_units(
    sentence,
    units: kernels.records.Longs,
    starts: kernels.records.Longs,
    seeds: kernels.records.Longs,
    out: kernels.records.Longs,
    candidates: kernels.records.Longs,
    lengths: kernels.records.Longs,
    rank: kernels.records.Longs,
    begins: kernels.records.Longs,
    keys: kernels.records.Longs,
    merged: kernels.records.Longs,
    mask,
    columns,
    threshold,
):
    """Merge the units of each word in the order of BPE. `candidates` has the merge of each token with the next one."""
    word, end, state = starts[sentence], starts[sentence + 1], seeds[sentence]
    write = word
    while word < end:
        count = 1
        while word + count < end and begins[units[word + count]] == 0:
            count += 1
        for i in range(count):
            out[write + i], candidates[write + i] = units[word + i], _UNKNOWN
        word += count
        while True:
            best = -1
            for i in range(write, write + count - 1):
                if candidates[i] == _UNKNOWN:
                    key = out[i] * columns + out[i + 1]
                    slot = (key ^ key >> 15) & mask
                    while keys[slot] != key and keys[slot] != NONE:
                        slot = (slot + 1) & mask
                    candidates[i] = merged[slot]
                if candidates[i] != NONE and (best < 0 or rank[candidates[i]] < rank[candidates[best]]):
                    best = i
            if best < 0:
                break
            state = (state + 0x3C6EF372) & 0xFFFFFFFF
            x = (((state >> 16) ^ state) * 0x45D9F3B) & 0xFFFFFFFF  # a hash by T. Mueller
            x = (((x >> 16) ^ x) * 0x45D9F3B) & 0xFFFFFFFF
            if (x >> 16) ^ x < threshold:
                candidates[best] = NONE
                continue
            out[best] = candidates[best]
            count -= 1
            for i in range(best + 1, write + count):
                out[i], candidates[i] = out[i + 1], candidates[i + 1]
            candidates[best] = _UNKNOWN
            if best > write:
                candidates[best - 1] = _UNKNOWN
        write += count
    lengths[sentence] = write - starts[sentence]


def draw_segments(
    sentence,
    units: kernels.records.Longs,
    starts: kernels.records.Longs,
    seeds: kernels.records.Longs,
    out: kernels.records.Longs,
    totals: kernels.records.Doubles,
    lengths: kernels.records.Longs,
    scores: kernels.records.Doubles,
    pieces: kernels.records.Longs,
    keys: kernels.records.Longs,
    children: kernels.records.Longs,
    mask,
    columns,
):
    """Draw a segmentation. `totals` has log Σ exp(score) over all segmentations of the text from each unit on."""
    start, end, state = starts[sentence], starts[sentence + 1], seeds[sentence]
    shift = sentence  # there is one more total than units for each sentence
    totals[end + shift] = 0.0
    for first in range(end - 1, start - 1, -1):
        node, unit, largest, total = ROOT, first, -1e300, 0.0
        while unit < end and node != NONE:
            key = node * columns + units[unit]
            slot = (key ^ key >> 15) & mask
            while keys[slot] != key and keys[slot] != NONE:
                slot = (slot + 1) & mask
            node, unit = children[slot], unit + 1
            if node != NONE and pieces[node] != NONE:
                score = scores[pieces[node]] + totals[unit + shift]
                total = total * math.exp(min(0.0, largest - score)) + math.exp(min(0.0, score - largest))
                largest = max(largest, score)
        totals[first + shift] = largest + math.log(total)
    write, first = start, start
    while first < end:
        state = (state + 0x3C6EF372) & 0xFFFFFFFF
        x = (((state >> 16) ^ state) * 0x45D9F3B) & 0xFFFFFFFF  # a hash by T. Mueller
        x = (((x >> 16) ^ x) * 0x45D9F3B) & 0xFFFFFFFF
        remaining = ((x >> 16) ^ x) / 4294967296.0
        node, unit, next_unit = ROOT, first, first + 1
        while unit < end and node != NONE and remaining >= 0.0:
            key = node * columns + units[unit]
            slot = (key ^ key >> 15) & mask
            while keys[slot] != key and keys[slot] != NONE:
                slot = (slot + 1) & mask
            node, unit = children[slot], unit + 1
            if node != NONE and pieces[node] != NONE:
                remaining -= math.exp(scores[pieces[node]] + totals[unit + shift] - totals[first + shift])
                out[write], next_unit = pieces[node], unit
        write, first = write + 1, next_unit
    lengths[sentence] = write - start
