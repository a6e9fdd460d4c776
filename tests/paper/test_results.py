"""A folder of results: dated, resumable, refused when asked for something else."""

from __future__ import annotations

import csv
import json
from datetime import date

import pytest

from allyouneed.errors import UserError
from allyouneed.paper.plots import new_plot
from allyouneed.paper.results import Results, as_csv, as_table, machine


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_part_is_measured_once():
    calls = []
    for _ in range(2):
        results = Results.open("table9", None, {"minutes": 1, "sizes": (1, 2)})
        assert results.part("a", lambda: calls.append(1) or {"x": 1.5}) == {"x": 1.5}
    assert len(calls) == 1
    assert results.folder.name == f"table9-{date.today().isoformat()}"


def test_what_is_finished_is_not_taken_up_again():
    first = Results.open("table9", None, {"minutes": 1})
    first.keep("a", {})
    first.finish("# Title", {"t": [{"n": 1, "Größe": "2,5"}]}, {"p": new_plot("t", "x", "y")[0]}, svg=True)
    assert {path.name for path in first.folder.iterdir()} == {
        "README.md", "parts.json", "results.json", "t.csv", "p.png", "p.svg",
    }  # fmt: skip
    assert list(csv.DictReader((first.folder / "t.csv").open(encoding="utf-8"))) == [{"n": "1", "Größe": "2,5"}]
    assert json.loads((first.folder / "results.json").read_text())["tables"]["t"][0]["n"] == 1
    assert Results.open("table9", None, {"minutes": 1}).folder == first.folder.with_name(f"{first.folder.name}-2")


def test_another_question_needs_another_folder(tmp_path):
    Results(tmp_path / "r", {"minutes": 1}).keep("a", {})
    assert Results.open("table9", tmp_path / "r", {"minutes": 1}).parts == {"a": {}}
    with pytest.raises(UserError, match="was begun with minutes = 1, now 2"):
        Results(tmp_path / "r", {"minutes": 2})
    assert Results.open("table9", None, {"minutes": 2}).parts == {}


def test_rows_need_not_have_the_same_columns():
    rows = [{"a": 1}, {"a": None, "b": "x"}]
    assert as_csv(rows) == "a,b\n1,\n,x\n"
    assert as_table(rows) == "| a | b |\n| --- | --- |\n| 1 |  |\n|  | x |"


def test_another_page_is_not_replaced(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(UserError, match=r"has a README\.md of something else"):
        Results.open("table9", tmp_path, {})
    assert (tmp_path / "README.md").read_text() == "mine"


def test_an_accelerator_stands_beside_the_processor_which_may_have_been_measured(monkeypatch):
    alone = machine()
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    assert machine() == alone.replace(" cores, ", " cores, Some GPU, ")
    assert "PyTorch" in alone
