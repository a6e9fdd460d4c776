import base64

import numpy as np
import pytest

from allyouneed.insight.coding import (
    EXACT,
    ArraySizes,
    Precision,
    choose_precision,
    chosen_columns,
    pack_matrices,
    pack_weights,
)


def numbers(text: str, bits: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), f"<u{bits // 8}").astype(float)


@pytest.mark.parametrize(("bits", "error"), [(16, 1e-4), (8, 0.03)])
def test_matrices_round_trip(bits, error):
    values = np.random.default_rng(1).normal(size=(2, 3, 5, 4)).astype(np.float32)
    packed = pack_matrices(values, bits)
    low, high = (np.array(packed[name])[:, None, None] for name in ("low", "high"))
    found = low + numbers(packed["data"], bits).reshape(6, 5, 4) * (high - low) / (2**bits - 1)
    np.testing.assert_allclose(found.reshape(values.shape), values, atol=error)


def test_constant_matrix_round_trips():
    packed = pack_matrices(np.full((2, 2), 7.0))
    assert packed["low"] == packed["high"] == [7.0]
    assert numbers(packed["data"], 16).tolist() == [0] * 4


def test_columns_are_thinned_evenly_and_include_both_ends():
    assert chosen_columns(64, 16)[[0, -1]].tolist() == [0, 63]
    packed = pack_matrices(np.arange(20.0)[None], 16, columns=5)
    assert (packed["shape"], packed["of"]) == ([1, 5], 20)
    assert (packed["low"], packed["high"]) == ([0.0], [19.0])


def test_weights_round_trip_and_8_bits_resolve_small_ones():
    weights = np.random.default_rng(1).dirichlet(np.ones(9) * 0.2, (2, 3, 4))
    np.testing.assert_allclose(numbers(pack_weights(weights)["data"], 16) / 65535, weights.flatten(), atol=1e-5)
    np.testing.assert_allclose((numbers(pack_weights(weights, 8)["data"], 8) / 255) ** 2, weights.flatten(), atol=4e-3)


def test_the_strongest_keys_of_each_query():
    weights = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]])
    packed = pack_weights(weights, top=2)
    assert numbers(packed["keys"], 16).tolist() == [1, 2, 0, 2]
    np.testing.assert_allclose(numbers(packed["data"], 16) / 65535, [0.6, 0.3, 0.5, 0.3], atol=1e-5)


def test_highest_precision_within_the_budget():
    sizes = ArraySizes(weights=10_000, rows=500, vectors=[(500, 64)])
    room = (10_000 * 16 * 8 + 500 * 64 * 16) / 6
    assert choose_precision(sizes, 6, int(room) + 1) == EXACT
    smaller = choose_precision(sizes, 6, int(room) - 1000)
    assert (smaller.weights, smaller.variants, smaller.stages) == (16, 8, 16)
    assert choose_precision(sizes, 6, 10) == Precision(16, 0, 0, 0, 4)
