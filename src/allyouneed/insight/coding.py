"""Arrays as JSON, small enough for a page: rounded to 16 or 8 bits between the least and the largest of each matrix.

`static/data.js` is the other half.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np

_PER_VALUE = 4 / 3 / 8  # characters of base64 a bit


class Plan(NamedTuple):
    """How exactly a page's numbers are kept. Bits a value, 0: left out.

    weights: of the paper's attention; variants: of attention with a switch; stages: of the vectors on the way, of which
    at most `columns` each, evenly chosen, are kept (0: all); top: so many keys of each query, 0: all.
    """

    weights: int
    variants: int
    stages: int
    columns: int = 0
    top: int = 0


EXACT = Plan(16, 16, 16)
_PLANS = (
    EXACT, Plan(16, 8, 16), Plan(16, 8, 8), Plan(16, 8, 8, 64), Plan(16, 8, 8, 32), Plan(16, 8, 8, 16),
    Plan(16, 0, 8, 32), Plan(16, 0, 8, 16), Plan(16, 0, 0),
    Plan(16, 0, 0, 0, 16), Plan(16, 0, 0, 0, 8), Plan(16, 0, 0, 0, 4),
)  # fmt: skip


class Sizes(NamedTuple):
    """weights: how many a variant has; rows: how many there are; vectors: how many vectors of which width."""

    weights: int
    rows: int
    vectors: list[tuple[int, int]]


def choose_plan(sizes: Sizes, variants: int, budget: int) -> Plan:
    """The most exact that stays below so many bytes; the coarsest where none does. variants: with attention."""
    return next((plan for plan in _PLANS if _bytes(plan, sizes, variants) <= budget), _PLANS[-1])


def _bytes(plan: Plan, sizes: Sizes, variants: int) -> float:
    weights = sizes.rows * plan.top * 2 if plan.top else sizes.weights
    bits = weights * plan.weights + sizes.weights * plan.variants * variants
    if plan.stages:
        kept = sum(count * min(width, plan.columns or width) for count, width in sizes.vectors)
        bits += kept * plan.stages + sizes.weights * 16  # the scores stay exact
    return bits * _PER_VALUE


def pack_matrices(values: np.ndarray, bits: int = 16, columns: int = 0) -> dict[str, Any]:
    """[..., row, column] -> {shape, of, bits, low, high, data}.

    Value q of a matrix stands for low + q · (high - low) / (2^bits - 1), little-endian in base64. of: how many columns
    there were; the k-th of c kept ones is round(k · (of - 1) / (c - 1)).
    """
    wide = values.shape[-1]
    if columns and columns < wide:
        values = values[..., chosen_columns(wide, columns)]
    matrices = values.reshape(-1, *values.shape[-2:]).astype(np.float64)
    low, high = matrices.min(axis=(1, 2)), matrices.max(axis=(1, 2))
    steps = 2**bits - 1
    scale = steps / np.where(high > low, high - low, 1)
    quantised = np.round((matrices - low[:, None, None]) * scale[:, None, None])
    return {
        "shape": list(values.shape),
        "of": wide,
        "bits": bits,
        "low": _short(low),
        "high": _short(high),
        "data": _base64(quantised, bits),
    }


def pack_weights(weights: np.ndarray, bits: int = 16, top: int = 0) -> dict[str, Any]:
    """Numbers from 0 to 1 [..., query, key] -> {shape, bits, data}; with 8 bits (q / 255)², so that small ones show.

    With `top` {shape, top, keys, data}: the largest of each query, largest first, and which keys they are.
    """
    shape = list(weights.shape)
    if top and top < shape[-1]:
        keys = np.argsort(-weights, axis=-1, kind="stable")[..., :top]
        largest = np.take_along_axis(weights, keys, axis=-1)
        return {"shape": shape, "top": top, "bits": 16, "keys": _base64(keys, 16), "data": _base64(largest * 65535, 16)}
    scaled = weights * 65535 if bits == 16 else np.sqrt(weights) * 255
    return {"shape": shape, "bits": bits, "data": _base64(scaled, bits)}


def chosen_columns(of: int, kept: int) -> np.ndarray:
    """The numbers of the kept columns, evenly spread, first and last among them [kept]."""
    return np.floor(np.arange(kept) * (of - 1) / max(1, kept - 1) + 0.5).astype(int)


def _base64(values: np.ndarray, bits: int) -> str:
    return base64.b64encode(np.round(values).astype(f"<u{bits // 8}").tobytes()).decode("ascii")


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
