"""Accelerator benchmark on the CPU with toy sizes."""

import pytest
import torch

from allyouneed.model.transformer import Transformer
from allyouneed.training.resolution.size import matrix_flops
from benchmarks import training
from benchmarks.measure.accelerator import (
    MARIAN,
    OURS,
    TORCH,
    Row,
    accelerator_table,
    measure_accelerator,
    obstacle,
    size_settings,
)
from benchmarks.measure.accelerator_worker import _Torch

TOY = {
    "model": {"d_model": 32, "d_ff": 32, "num_heads": 1, "encoder_layers": 1, "decoder_layers": 1},
    "data": {"vocab_size": 100},
    "training": {"batch_tokens": 200},
}


@pytest.mark.slow
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
        Row(OURS, [400.0], [2**22], gpus=2),
    ]
    table = accelerator_table("tiny", config, "cpu", rows)
    assert "| allyouneed | 250 (200 to 300) | 1.00 × |" in table
    assert "| torch.nn.Transformer | 100 (100 to 100) | 2.50 × |" in table
    assert "- transformers Marian: not installed" in table
    both = table.splitlines()[-5].split(" | ")
    assert both[:3] == ["| allyouneed, 2 GPUs", "400 (400 to 400)", "0.62 ×"]
    assert both[4] == "4 MiB |"


@pytest.mark.slow  # two more processes
def test_several_processes_share_the_batches():
    config = size_settings("tiny").replace(**TOY)
    rows = measure_accelerator("cpu", config, 1, 3, 1, pairs=300, trainers=(OURS,), gpus=(1, 2))
    assert [(row.gpus, row.error) for row in rows] == [(1, ""), (2, "")]
    assert all(row.rates[0] > 0 for row in rows)


def test_what_is_missing_is_said_in_one_line(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert obstacle(2) == ""
    assert obstacle(8).startswith("accelerator needs 8 GPUs with CUDA; PyTorch ")
    assert obstacle(8, "cpu") == ""
    for name, value in {
        "WORLD_SIZE": "8",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert obstacle(2) == "accelerator starts its processes itself: run it without torchrun, with --gpus 8."


def test_the_command_exits_with_code_2_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["training.py", "accelerator"])
    with pytest.raises(SystemExit) as exit_:
        training.main()
    error = capsys.readouterr().err
    assert exit_.value.code == 2
    assert error.startswith("accelerator needs 1 GPU with CUDA")
    assert error.count("\n") == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_of_each_precision(dtype):
    assert matrix_flops(torch.device("cpu"), 64, 2, dtype) > 0
