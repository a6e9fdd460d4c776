"""Table 1 from synthetic measurements with known results, and from small real ones."""

import csv
import json

import pytest
import torch

from allyouneed.paper.table1 import measurements as table1
from allyouneed.paper.table1.compared_layers import LAYERS, PROJECTED, RECURRENT, SELF_ATTENTION
from allyouneed.paper.table1.layer_cost import LayerMeasurement, LayerSize, step_operations
from allyouneed.paper.table1.table1_page import draw, write_page
from allyouneed.paper.table1.tables import Sweeps, make_tables
from tests.conftest import silent

SWEEPS = Sweeps([2**i for i in range(5, 12)], width=64, widths=[2**i for i in range(4, 9)], length=128)


def synthetic(rates: dict[str, float], skipped: tuple = ()) -> list[LayerMeasurement]:
    """Measurements of layers with constant rates (default: 1 GFLOP/s)."""
    rows = []
    for size in SWEEPS.sizes():
        for layer in LAYERS:
            operations = step_operations(layer, size)
            seconds = None if (layer.name, size) in skipped else operations / rates.get(layer.name, 1e9)
            rows.append(LayerMeasurement(layer.name, *size, None, operations, seconds, saved_bytes=4 * size.n * size.d))
    return rows


def test_constant_rates_give_the_exponents_and_crossings_of_the_operations():
    tables = make_tables(synthetic({}), SWEEPS, peak=2e9)
    for row in tables["exponents"]:
        assert row["time"] == pytest.approx(row["counted"])
        if row["layer"] != PROJECTED.name:
            assert row["time"] == pytest.approx(row["exponent"])
    crossings = {(row["attention"], row["grows"]): row for row in tables["crossings"]}
    assert crossings[SELF_ATTENTION.name, "n"]["by Table 1"] == 64
    assert crossings[SELF_ATTENTION.name, "n"]["by operations"] == pytest.approx(4 * 64)
    assert crossings[SELF_ATTENTION.name, "n"]["by time"] == pytest.approx(4 * 64)
    assert crossings[PROJECTED.name, "n"]["by time"] == pytest.approx(2 * 64)
    assert crossings[SELF_ATTENTION.name, "d"]["by time"] == pytest.approx(128 / 4)
    assert all(row["of peak"] == pytest.approx(0.5) and row["gain"] == pytest.approx(1) for row in tables["sequential"])


def test_a_slow_lstm_moves_the_crossing():
    tables = make_tables(synthetic({RECURRENT.name: 0.5e9}), SWEEPS, peak=1e9)
    assert tables["crossings"][0]["by time"] == pytest.approx(8 * 64)
    tables = make_tables(synthetic({RECURRENT.name: 1e6}), SWEEPS, peak=1e9)
    assert tables["crossings"][0]["by time"] is None
    assert "is not between n = 32 and 2048" in write_page(tables, SWEEPS, 1e9, "on a CPU")


def test_the_page_lists_deviations_and_skipped_sizes():
    skipped = ((RECURRENT.name, LayerSize(1, 2048, 64)),)
    rows = [
        row._replace(seconds=row.n**1.5) if row.layer == SELF_ATTENTION.name and row.seconds else row
        for row in synthetic({}, skipped)
    ]
    page = write_page(make_tables(rows, SWEEPS, peak=1e9), SWEEPS, 1e9, "on a CPU")
    assert "- self-attention: time grows as n^1.50, not n^2. Its rate changes from " in page
    assert "- recurrent (LSTM): 1 × 2048 × 64" in page
    assert "recurrent (LSTM): time grows" not in page


def test_the_page_without_measurements():
    rows = [row._replace(seconds=None) for row in synthetic({})]
    tables = make_tables(rows, SWEEPS, peak=1e9)
    assert "none" in write_page(tables, SWEEPS, 1e9, "on a CPU")
    assert set(draw(rows, SWEEPS)) == {"time", "memory"}


def test_the_command_keeps_to_its_time_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setitem(table1.SWEEPS, "cpu", Sweeps([32, 64, 128, 256], 32, [32, 64], 64))
    monkeypatch.setattr(table1, "matrix_flops", lambda device: 1e10)
    measure, calls = table1.measure_layers, []

    def interrupted(layers, size, *rest):
        calls.append(size)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(layers, size, *rest)

    monkeypatch.setattr(table1, "measure_layers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        table1.run_table1(tmp_path, 0.05, silent(), "cpu")
    first_parts = json.loads((tmp_path / "parts.json").read_text())["parts"]
    assert len(first_parts) == 4  # the machine and three sizes
    page = table1.run_table1(tmp_path, 0.05, silent(), "cpu")
    parts = json.loads((tmp_path / "parts.json").read_text())["parts"]
    assert {key: parts[key] for key in first_parts} == first_parts
    assert sum(part["spent"] for part in parts.values()) < 2 * 60 * 0.05
    assert len(calls) == len(set(calls)) + 1 == 7
    assert page == tmp_path / "README.md"
    files = {"README.md", "parts.json", "results.json", "time.png", "memory.png"}
    assert {path.name for path in tmp_path.iterdir()} == files | {
        f"{name}.csv" for name in ("points", "exponents", "crossings", "sequential")
    }
    with open(tmp_path / "points.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == 6 * len(LAYERS)
    assert table1.run_table1(tmp_path, 0.05, silent(), "cpu") == page
    assert len(calls) == 7  # nothing is measured again


def test_the_page_names_the_device():
    page = write_page(
        make_tables(synthetic({}), SWEEPS, peak=1e9), SWEEPS, 1e9, table1._device_text(torch.device("cpu"), 2)
    )
    assert "in single precision, with 2 threads of the processor. Time is the median of" in page
    assert table1._device_text(torch.device("cpu"), 1) == "with 1 thread of the processor"
    assert table1._device_text(torch.device("cuda"), 2) == "on CUDA"
