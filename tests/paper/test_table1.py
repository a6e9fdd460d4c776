"""Table 1 from measurements that are made up, where the answer is known, and from real ones, small."""

import csv
import json

import pytest
import torch

from allyouneed.paper.table1 import measurements as table1
from allyouneed.paper.table1.compared_layers import LAYERS, PROJECTED, RECURRENT, SELF_ATTENTION
from allyouneed.paper.table1.layer_cost import Measured, Point, step_operations
from allyouneed.paper.table1.table1_page import draw, write_page
from allyouneed.paper.table1.tables import Sweeps, make_tables
from tests.conftest import silent

SWEEPS = Sweeps([2**i for i in range(5, 12)], width=64, widths=[2**i for i in range(4, 9)], length=128)


def made_up(rates: dict[str, float], missing: tuple = ()) -> list[Measured]:
    """As if each layer ran at its own even rate."""
    rows = []
    for point in SWEEPS.points():
        for layer in LAYERS:
            operations = step_operations(layer, point)
            seconds = None if (layer.name, point) in missing else operations / rates.get(layer.name, 1e9)
            rows.append(Measured(layer.name, *point, None, operations, seconds, saved_bytes=4 * point.n * point.d))
    return rows


def test_even_rates_give_the_counted_exponents_and_the_counted_crossing():
    tables = make_tables(made_up({}), SWEEPS, peak=2e9)
    for row in tables["exponents"]:
        assert row["time"] == pytest.approx(row["counted"])
        if row["layer"] != PROJECTED.name:
            assert row["time"] == pytest.approx(row["exponent"])
    crossings = {(row["attention"], row["grows"]): row for row in tables["crossings"]}
    assert crossings[SELF_ATTENTION.name, "n"]["by Table 1"] == 64
    assert crossings[SELF_ATTENTION.name, "n"]["by operations"] == pytest.approx(4 * 64)
    assert crossings[SELF_ATTENTION.name, "n"]["by the clock"] == pytest.approx(4 * 64)
    assert crossings[PROJECTED.name, "n"]["by the clock"] == pytest.approx(2 * 64)
    assert crossings[SELF_ATTENTION.name, "d"]["by the clock"] == pytest.approx(128 / 4)
    assert all(row["of peak"] == pytest.approx(0.5) and row["gain"] == pytest.approx(1) for row in tables["sequential"])


def test_a_slow_lstm_moves_the_crossing():
    tables = make_tables(made_up({RECURRENT.name: 0.5e9}), SWEEPS, peak=1e9)
    assert tables["crossings"][0]["by the clock"] == pytest.approx(8 * 64)
    tables = make_tables(made_up({RECURRENT.name: 1e6}), SWEEPS, peak=1e9)
    assert tables["crossings"][0]["by the clock"] is None
    assert "does not lie between n = 32 and 2048" in write_page(tables, SWEEPS, 1e9, "on a CPU")


def test_the_page_says_where_time_grows_otherwise_and_what_was_left_out():
    missing = ((RECURRENT.name, Point(1, 2048, 64)),)
    rows = [
        row._replace(seconds=row.n**1.5) if row.layer == SELF_ATTENTION.name and row.seconds else row
        for row in made_up({}, missing)
    ]
    page = write_page(make_tables(rows, SWEEPS, peak=1e9), SWEEPS, 1e9, "on a CPU")
    assert "- self-attention: time grows as n^1.50, not n^2. Its rate goes from " in page
    assert "- recurrent (LSTM): 1 × 2048 × 64" in page
    assert "recurrent (LSTM): time grows" not in page


def test_the_page_can_do_without_measurements():
    rows = [row._replace(seconds=None) for row in made_up({})]
    tables = make_tables(rows, SWEEPS, peak=1e9)
    assert "none" in write_page(tables, SWEEPS, 1e9, "on a CPU")
    assert set(draw(rows, SWEEPS)) == {"time", "memory"}


def test_command_writes_its_folder_within_its_time_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setitem(table1.SWEEPS, "cpu", Sweeps([32, 64, 128, 256], 32, [32, 64], 64))
    monkeypatch.setattr(table1, "matrix_flops", lambda device: 1e10)
    measure, calls = table1.measure_layers, []

    def interrupted(layers, point, *rest):
        calls.append(point)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return measure(layers, point, *rest)

    monkeypatch.setattr(table1, "measure_layers", interrupted)
    with pytest.raises(KeyboardInterrupt):
        table1.run_table1(tmp_path, 0.05, silent(), "cpu")
    begun = json.loads((tmp_path / "parts.json").read_text())["parts"]
    assert len(begun) == 4  # the machine and three points
    page = table1.run_table1(tmp_path, 0.05, silent(), "cpu")
    parts = json.loads((tmp_path / "parts.json").read_text())["parts"]
    assert {key: parts[key] for key in begun} == begun
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
    assert len(calls) == 7  # nothing was measured again


def test_the_page_says_where_it_was_computed():
    page = write_page(make_tables(made_up({}), SWEEPS, peak=1e9), SWEEPS, 1e9, table1._where(torch.device("cpu"), 2))
    assert "in single precision, with 2 threads of the processor. Time is that of a training step" in page
    assert table1._where(torch.device("cpu"), 1) == "with 1 thread of the processor"
    assert table1._where(torch.device("cuda"), 2) == "on CUDA"
