"""Folders of results: dates, resuming, refusal of other arguments, output formats."""

from __future__ import annotations

import csv
import json
from datetime import date

import pytest

from allyouneed.errors import UserError
from allyouneed.paper.plots import new_plot
from allyouneed.paper.results_folder import Results, as_csv, as_table, machine


@pytest.fixture(autouse=True)
def working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_stored_part_is_not_measured_again():
    calls = []
    for _ in range(2):
        results = Results.open("table9", None, {"minutes": 1, "sizes": (1, 2)})
        assert results.part("a", lambda: calls.append(1) or {"x": 1.5}) == {"x": 1.5}
    assert len(calls) == 1
    assert results.folder.name == f"table9-{date.today().isoformat()}"


def test_a_finished_folder_is_not_resumed():
    first = Results.open("table9", None, {"minutes": 1})
    first.store("a", {})
    first.finish("# Title", {"t": [{"n": 1, "Größe": "2,5"}]}, {"p": new_plot("t", "x", "y")[0]}, svg=True)
    assert {path.name for path in first.folder.iterdir()} == {
        "README.md", "parts.json", "results.json", "t.csv", "p.png", "p.svg",
    }  # fmt: skip
    assert list(csv.DictReader((first.folder / "t.csv").open(encoding="utf-8"))) == [{"n": "1", "Größe": "2,5"}]
    assert json.loads((first.folder / "results.json").read_text())["tables"]["t"][0]["n"] == 1
    assert Results.open("table9", None, {"minutes": 1}).folder == first.folder.with_name(f"{first.folder.name}-2")


def test_other_arguments_need_another_folder(tmp_path):
    Results(tmp_path / "r", {"minutes": 1}).store("a", {})
    assert Results.open("table9", tmp_path / "r", {"minutes": 1}).parts == {"a": {}}
    with pytest.raises(UserError, match="was started with minutes = 1, now 2"):
        Results(tmp_path / "r", {"minutes": 2})
    assert Results.open("table9", None, {"minutes": 2}).parts == {}


def test_rows_with_different_columns():
    rows = [{"a": 1}, {"a": None, "b": "x"}]
    assert as_csv(rows) == "a,b\n1,\n,x\n"
    assert as_table(rows) == "| a | b |\n| --- | --- |\n| 1 |  |\n|  | x |"


def test_an_unrelated_page_is_not_overwritten(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"has an unrelated README\.md"):
        Results.open("table9", tmp_path, {})
    assert (tmp_path / "README.md").read_text() == "mine"


def test_the_machine_lists_processor_and_accelerator(monkeypatch):
    without_accelerator = machine()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    assert machine() == without_accelerator.replace(" cores, ", " cores, Some GPU, ")
    assert "PyTorch" in without_accelerator
