"""Compact JSON encoding of arrays: each matrix is quantised to 16 or 8 bits between its minimum and maximum.

`static/data.js` decodes it.
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

import numpy as np

_PER_VALUE = 4 / 3 / 8  # base64 characters per bit


class Precision(NamedTuple):
    """Precision of the arrays on a page, in bits per value; 0 leaves an array out.

    Attributes:
        weights: Attention of the unchanged model.
        variants: Attention of each variant.
        stages: Intermediate vectors.
        columns: Maximum number of stored components of an intermediate vector, evenly spaced; 0 for all.
        top: Number of keys stored per query, in descending order of weight; 0 for all.
    """

    weights: int
    variants: int
    stages: int
    columns: int = 0
    top: int = 0


EXACT = Precision(16, 16, 16)
_PRECISIONS = (
    EXACT,
    Precision(16, 8, 16),
    *(Precision(16, 8, 8, columns) for columns in (0, 64, 32, 16, 12, 8)),
    *(Precision(16, 0, 8, columns) for columns in (32, 16)),
    *(Precision(16, 0, 0, 0, top) for top in (0, 16, 8, 4)),
)


class ArraySizes(NamedTuple):
    """Sizes of the arrays of a page.

    Attributes:
        weights: Number of attention weights of a variant.
        rows: Number of rows (queries) of these weights.
        vectors: Number and width of the vectors in each intermediate array.
    """

    weights: int
    rows: int
    vectors: list[tuple[int, int]]


def choose_precision(sizes: ArraySizes, variants: int, budget: int) -> Precision:
    """Choose the highest precision that fits into `budget` bytes, or the lowest if none fits.

    Args:
        sizes: Sizes of the arrays.
        variants: Number of variants with attention.
        budget: Bytes for all arrays.

    Returns:
        The precision.
    """
    return next(
        (precision for precision in _PRECISIONS if _bytes(precision, sizes, variants) <= budget), _PRECISIONS[-1]
    )


def _bytes(precision: Precision, sizes: ArraySizes, variants: int) -> float:
    weights = sizes.rows * precision.top * 2 if precision.top else sizes.weights
    bits = weights * precision.weights + sizes.weights * precision.variants * variants
    if precision.stages:
        kept = sum(count * min(width, precision.columns or width) for count, width in sizes.vectors)
        bits += kept * precision.stages + sizes.weights * 16  # the scores always have 16 bits
    return bits * _PER_VALUE


def pack_matrices(values: np.ndarray, bits: int = 16, columns: int = 0) -> dict[str, Any]:
    """Pack matrices [..., row, column] as {shape, of, bits, low, high, data}.

    The integer q encodes low + q · (high - low) / (2^bits - 1), little-endian in base64. `of` is the original number of
    columns; column k of c stored ones is column round(k · (of - 1) / (c - 1)).
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
    """Pack numbers from 0 to 1 [..., query, key] as {shape, bits, data}.

    With 8 bits, q encodes (q / 255)², which resolves small weights better. With `top`, the result is {shape, top, bits,
    keys, data}: the largest weights of each query in descending order, and the indices of their keys.
    """
    shape = list(weights.shape)
    if top and top < shape[-1]:
        keys = np.argsort(-weights, axis=-1, kind="stable")[..., :top]
        largest = np.take_along_axis(weights, keys, axis=-1)
        return {"shape": shape, "top": top, "bits": 16, "keys": _base64(keys, 16), "data": _base64(largest * 65535, 16)}
    scaled = weights * 65535 if bits == 16 else np.sqrt(weights) * 255
    return {"shape": shape, "bits": bits, "data": _base64(scaled, bits)}


def pack_integers(values: np.ndarray) -> dict[str, Any]:
    """Pack integers from 0 to 65535 as {shape, bits, data}."""
    return {"shape": list(values.shape), "bits": 16, "data": _base64(values, 16)}


def chosen_columns(of: int, kept: int) -> np.ndarray:
    """Return the indices of `kept` of `of` columns, evenly spaced, including the first and the last one."""
    return np.floor(np.arange(kept) * (of - 1) / max(1, kept - 1) + 0.5).astype(int)


def _base64(values: np.ndarray, bits: int) -> str:
    return base64.b64encode(np.round(values).astype(f"<u{bits // 8}").tobytes()).decode("ascii")


def _short(values: np.ndarray) -> list[float]:
    return [float(f"{value:.6g}") for value in values]
