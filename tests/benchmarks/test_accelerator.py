"""Accelerator benchmark on the CPU with toy sizes."""

import pytest
import torch

from allyouneed.model.transformer import Transformer
from allyouneed.training.resolution.size import matrix_flops
from benchmarks.measure.accelerator import (
    MARIAN,
    OURS,
    TORCH,
    Row,
    accelerator_table,
    measure_accelerator,
    size_settings,
)
from benchmarks.measure.accelerator_worker import _Torch

TOY = {
    "model": {"d_model": 32, "d_ff": 32, "num_heads": 1, "encoder_layers": 1, "decoder_layers": 1},
    "data": {"vocab_size": 100},
    "training": {"batch_tokens": 200},
}


def test_all_trainers_run_on_the_same_batches():
    config = size_settings("tiny").replace(**TOY)
    rows = measure_accelerator("cpu", config, 1, 3, 1, pairs=300, trainers=(OURS, TORCH, MARIAN))
    assert [row.error for row in rows] == ["", "", ""]
    assert all(len(row.rates) == 1 and row.rates[0] > 0 and row.peaks[0] > 0 for row in rows)


def test_the_compared_model_differs_only_by_biases_and_final_norms():
    config = size_settings("base")
    with torch.device("meta"):
        ours = Transformer(config.model, 1000).num_parameters()
        theirs = sum(p.numel() for p in _Torch(config.model, 1000, 64).parameters())
    d_model, layers = config.model.d_model, config.model.encoder_layers
    assert theirs - ours == 3 * layers * 4 * d_model + 2 * 2 * d_model


def test_the_table_has_ratios_and_shares():
    config = size_settings("tiny").replace(**TOY)
    rows = [
        Row(OURS, [200.0, 300.0, 250.0], [2**20] * 3),
        Row(TORCH, [100.0], [2**21]),
        Row(MARIAN, error="not installed"),
    ]
    table = accelerator_table("tiny", config, "cpu", rows)
    assert "| allyouneed | 250 (200 to 300) | 1.00 × |" in table
    assert "| torch.nn.Transformer | 100 (100 to 100) | 2.50 × |" in table
    assert "- transformers Marian: not installed" in table


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_of_each_precision(dtype):
    assert matrix_flops(torch.device("cpu"), 64, 2, dtype) > 0
