"""`allyouneed.train`, the Python counterpart of the command."""

from __future__ import annotations

import json

import pytest

import allyouneed
from allyouneed import Translator, UserError
from allyouneed.training.loop import INTERRUPTED
from allyouneed.training.train import Outcome
from tests.conftest import TOY, toy_pairs, toy_request, write_pairs
from tests.test_cli import run

FEW = ["training.steps=4", "training.validate_every=4"]


def as_sections(assignments):
    sections = {}
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        sections.setdefault(name.partition(".")[0], {})[name.partition(".")[2]] = json.loads(value)
    return sections


def test_training_returns_scores_and_the_bundle(tmp_path, capfd):
    train, valid = (write_pairs(tmp_path, name, toy_pairs(60, seed)) for seed, name in enumerate(("train", "valid")))
    arguments = {"source": "aa", "target": "bb", "train": train, "valid": [str(path) for path in valid]}
    arguments |= {"out": tmp_path / "run", "recipe": "tiny", "settings": as_sections([*TOY, *FEW])}
    result = allyouneed.train(**arguments)
    out, progress = capfd.readouterr()
    assert out == ""
    assert "step 4/4" in progress
    assert (result.run, result.bundle) == (tmp_path / "run", tmp_path / "run" / "bundle")
    assert result.report.is_file()
    assert result.scores.keys() >= {"loss", "bleu", "bleu_signature", "chrf", "exact_match", "beam_size"}
    assert not result.stopped_early
    assert Translator.load(result.bundle).translate(["a b"])
    assert allyouneed.train(**arguments, quiet=True) == result
    assert capfd.readouterr() == ("", "")


def test_python_and_the_command_line_describe_the_same_run(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", FEW)
    [train], [valid] = ([corpus.paths for corpus in text] for text in (request.train, request.valid))
    sections = as_sections(request.settings)
    settings = [part for name, values in sections.items() for key, value in values.items()
                for part in ("--set", f"{name}.{key}={value}")]  # fmt: skip
    done = run(
        *("train", "--from", "aa", "--to", "bb", "--recipe", "tiny", "--out", request.out, *settings),
        *("--train", *train, "--valid", *valid),
    )
    assert done.returncode == 0, done.stderr.decode()
    weights = (request.out / "bundle" / "model.safetensors").read_bytes()
    result = allyouneed.train(
        source="aa", target="bb", train=train, valid=valid, out=str(request.out), recipe="tiny",
        settings=sections, quiet=True,
    )  # fmt: skip
    assert result.scores == json.loads((request.out / "run.json").read_text())["finished"]["valid"]
    assert (request.out / "bundle" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"settings": {"training": {"steps": "4"}}}, r"^settings: training\.steps = 4: expected a whole number"),
        (
            {"settings": {"model": {"dmodel": 4}}},
            r"unknown key model\.dmodel; did you mean model\.d_model\?",
        ),
        ({"settings": {"nonsense": {"a": 4}}}, r"^settings: unknown key nonsense\.a\."),
        ({"settings": ["training.steps"]}, "write SECTION.NAME=VALUE"),
        ({"settings": "training.seed=-1"}, r"training\.seed = -1: "),
        ({"minutes": 0}, r"^minutes: training\.minutes = 0: more than 0"),
        ({"minutes": float("nan")}, r"^minutes: training\.minutes = nan"),
        ({"recipe": "tinny"}, "did you mean tiny"),
        ({"source": ""}, r"^source = '': give the code of a language"),
        ({"source": None, "train": "missing.tsv"}, r"^source = None: give the code of a language"),
        ({"target": " ", "train": "missing.tsv"}, r"^target = ' ': give the code of a language"),
        ({"train": "missing.tsv"}, r"missing\.tsv: no such file"),
    ],
)
def test_mistakes_are_user_errors(tmp_path, wrong, message):
    train = write_pairs(tmp_path, "train", toy_pairs(20))
    arguments = {"source": "aa", "target": "bb", "train": train, "out": tmp_path / "run", "quiet": True} | wrong
    with pytest.raises(UserError, match=message):
        allyouneed.train(**arguments)


def test_settings_are_checked_together_with_the_recipe(tmp_path):
    """d_model = 36 is not divisible by the default's 8 heads, but by the recipe's 4 heads."""
    train = write_pairs(tmp_path, "train", toy_pairs(60))
    settings = as_sections([*(each for each in TOY if "heads" not in each), *FEW])
    settings["model"]["d_model"] = 36
    result = allyouneed.train(
        source="aa", target="bb", train=train, out=tmp_path / "run", recipe="tiny", settings=settings, quiet=True
    )
    assert Translator.load(result.bundle).bundle.config.model.d_model == 36


def test_an_interrupt_is_raised(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.training.python_api.run_training", lambda request, _: Outcome(INTERRUPTED, {}))
    with pytest.raises(KeyboardInterrupt):
        allyouneed.train(source="aa", target="bb", train="text.tsv", out=tmp_path / "run")
