"""Table of training speeds, and the result line that every peer prints."""

import argparse
import re
import sys

import pytest

from allyouneed.config import load_recipe
from allyouneed.training.resolution.size import training_flops
from benchmarks.measure import throughput
from benchmarks.measure.throughput import BF16, OURS, PLAIN, Runs, measure_throughput, throughput_table
from benchmarks.peers.contract import SIZES, number_of_updates, run


def test_the_table_has_medians_ratios_and_shares_of_the_peak():
    config = load_recipe("tiny")
    peak = 1000 * training_flops(config.model, config.data.vocab_size)
    runs = {
        OURS: Runs([200.0, 400.0, 300.0], [100.0, 120.0, 110.0], [0.01, 0.03, 0.02]),
        "plain": Runs([100.0, 150.0, 120.0], [90.0, 90.0, 95.0]),
    }
    table = throughput_table("tiny", runs, [2 * peak, peak, 0.5 * peak])
    assert "| allyouneed | 300 (200 to 400) | 1.00 × | 30% | 110 MiB | 2.00% of the time |" in table
    assert "| plain | 120 (100 to 150) | 2.50 × | 12% | 90 MiB |  |" in table


@pytest.mark.parametrize("size", SIZES)
def test_sizes_match_the_contract(size):
    model, expected = throughput.size_config(size).model, SIZES[size]
    assert (model.encoder_layers, model.decoder_layers) == (expected.layers, expected.layers)
    assert (model.d_model, model.d_ff, model.num_heads) == (expected.d_model, expected.d_ff, expected.heads)
    assert (model.dropout, model.norm) == (expected.dropout, "post")


def test_trainers_alternate(monkeypatch, tmp_path):
    turns = []

    def train(name, runs):
        turns.append(name)
        runs.rates.append(1.0)

    monkeypatch.setattr(throughput, "matrix_flops", lambda device: 1e9)
    monkeypatch.setattr(
        throughput,
        "_train_ours",
        lambda data, size, updates, name, measured: train(name, measured),
    )
    monkeypatch.setattr(
        throughput, "_train_peer", lambda name, data, folder, size, updates, measured: train(folder.name, measured)
    )
    monkeypatch.setattr("allyouneed.kernels.prefers_bf16", lambda: True)
    runs, peaks = measure_throughput(tmp_path, "tiny", ["fairseq", "plain"], tmp_path, 40, 2, lambda line: None)
    assert turns == [OURS, PLAIN, BF16, "fairseq", "plain"] * 2
    assert peaks == [1e9, 1e9]
    assert all(measured.rates == [1.0, 1.0] for measured in runs.values())


def peer(*lines: str) -> list[str]:
    return [sys.executable, "-c", f"print({chr(10).join(lines)!r})"]


PATTERN = r"step (?P<update>\d+): (?P<rate>\d+)"


def test_the_result_line_is_the_median_without_the_first_windows(tmp_path):
    rates = {10: 1, 20: 2, 25: 9000, 30: 300, 40: 500, 50: 400}
    log = tmp_path / "log"
    line = run("peer", 50, str(log), PATTERN, peer(*(f"step {update}: {rate}" for update, rate in rates.items())))
    assert re.fullmatch(r"peer target_tokens_per_second=400 updates=50 peak_memory_mib=\d+", line)
    assert "step 25: 9000" in log.read_text()


def test_peers_that_stop_early_or_fail_are_reported(tmp_path):
    with pytest.raises(SystemExit, match="has 1 windows and ends at update 10 of 50"):
        run("peer", 50, str(tmp_path / "log"), PATTERN, peer("step 10: 7"))
    with pytest.raises(SystemExit, match="exit status 3"):
        run("peer", 50, str(tmp_path / "log"), PATTERN, [sys.executable, "-c", "raise SystemExit(3)"])


def test_too_few_updates_are_rejected():
    assert number_of_updates("30") == 30
    for text in ("29", "many"):
        with pytest.raises(argparse.ArgumentTypeError, match="at least 30"):
            number_of_updates(text)
