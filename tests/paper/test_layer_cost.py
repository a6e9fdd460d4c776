"""Counted bytes, predictions, and skipped layers."""

import pytest
import torch
from torch import nn

from allyouneed.paper.table1.compared_layers import (
    CONVOLUTIONAL,
    FUSED,
    PROJECTED,
    RESTRICTED,
    SELF_ATTENTION,
    ComparedLayer,
)
from allyouneed.paper.table1.layer_cost import (
    LayerMeasurement,
    LayerSize,
    measure_layers,
    predict,
    saved_bytes,
    step_operations,
)

CPU = torch.device("cpu")


def test_saved_bytes():
    n, d = 40, 16
    x = torch.randn(1, n, d, requires_grad=True)
    floats = {
        nn.Linear(d, d): n * d,  # x, not the weights
        nn.Sequential(nn.Linear(d, d), nn.ReLU()): 2 * n * d,  # x and the output of ReLU
        SELF_ATTENTION.build(d): n * d + n * n,  # x, as query, key and value, once, and the weights
        PROJECTED.build(d): 5 * n * d + n * n,  # x, queries, keys, values, the input of W^O, and the weights
        CONVOLUTIONAL.build(d): n * d,
    }
    for layer, count in floats.items():
        assert saved_bytes(layer, x) == 4 * count


def test_only_explicit_attention_saves_the_weights():
    saved = {
        layer.name: [saved_bytes(layer.build(8), torch.randn(1, n, 8, requires_grad=True)) for n in (512, 1024)]
        for layer in (SELF_ATTENTION, FUSED, RESTRICTED)
    }
    growth = {name: large / small for name, (small, large) in saved.items()}
    assert growth[SELF_ATTENTION.name] > 3.9
    assert growth[FUSED.name] < 2.1
    assert growth[RESTRICTED.name] < 2.1


def measured(layer: ComparedLayer, size: LayerSize, seconds: float | None) -> LayerMeasurement:
    return LayerMeasurement(layer.name, *size, None, step_operations(layer, size), seconds)


def test_prediction_uses_the_rate_of_the_largest_smaller_size():
    rows = [
        measured(SELF_ATTENTION, LayerSize(1, 32, 8), 5.0),
        measured(SELF_ATTENTION, LayerSize(1, 64, 8), 1.0),
        measured(SELF_ATTENTION, LayerSize(1, 128, 8), None),
        measured(SELF_ATTENTION, LayerSize(1, 512, 8), 7.0),
        measured(CONVOLUTIONAL, LayerSize(1, 128, 8), 9.0),
    ]
    assert predict(SELF_ATTENTION, LayerSize(1, 256, 8), rows) == pytest.approx(16.0)
    assert predict(SELF_ATTENTION, LayerSize(1, 16, 8), rows) is None


def test_layers_that_would_take_too_long_are_skipped():
    ticks = []
    layers, predicted = (
        (SELF_ATTENTION, CONVOLUTIONAL, FUSED),
        {
            SELF_ATTENTION.name: 100.0,
            CONVOLUTIONAL.name: 0.01,
            FUSED.name: None,
        },
    )
    rows = measure_layers(layers, LayerSize(2, 8, 4), predicted, 1.0, CPU, ticks.append)
    long, short, unknown = rows
    assert [row.layer for row in rows] == [layer.name for layer in layers]
    assert long.seconds is None
    assert long.repetitions == 0
    for row in (short, unknown):
        assert 0 < row.fastest <= row.seconds <= row.slowest
        assert row.repetitions == len(ticks) >= 3
        assert row.rate == row.operations / row.seconds
