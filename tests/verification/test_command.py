"""`allyouneed verify FILE.py:NAME`: output, exit codes, errors of the user's file, and the page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import allyouneed
from allyouneed import UserError
from allyouneed.cli import app
from tests.verification.tutorial import TutorialTransformer

ROOT = Path(__file__).parents[2]
RUNNER = CliRunner()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "import torch\nfrom tests.verification.tutorial import TutorialTransformer\n"
        "def right(): torch.manual_seed(0); return TutorialTransformer()\n"
        "def wrong(): torch.manual_seed(0); return TutorialTransformer('scale missing')\n"
        "def needs(vocab_size, thing): return thing\n"
        "def text(): return 'text'\n"
        "def loss(logits, labels): return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())\n"
        "def step(module, source, target): return loss(module(source, target), target)\n"
        "def call(module, source, target): return module(source, target)\n"
        "class Broken(torch.nn.Module):\n"
        "    def __init__(self): super().__init__(); self.e = torch.nn.Embedding(9, 4)\n"
        "    def forward(self, a, b): raise IndexError('<b>off</b>')\n",
        encoding="utf-8",
    )
    return path


def test_the_command(file, tmp_path):
    page = tmp_path / "page.html"
    right = RUNNER.invoke(app, ["verify", f"{file}:right", "--json"])
    assert right.exit_code == 0
    assert json.loads(right.stdout)["passed"] is True
    wrong = RUNNER.invoke(app, ["verify", f"{file}:wrong", "--html", str(page)])
    assert wrong.exit_code == 1
    assert wrong.stdout.startswith("TutorialTransformer: 1 mistake found.")
    assert "√d_k = √16 = 4 times too large" in wrong.stdout
    assert page.stat().st_size < 200_000
    trained = RUNNER.invoke(app, ["verify", f"{file}:right", "--forward", "call", "--step", "step", "--json"])
    names = {each["name"] for each in json.loads(trained.stdout)["findings"] if each["status"] == "failed"}
    assert names == {"target shift", "loss padding"}
    korean = RUNNER.invoke(app, ["verify", f"{file}:wrong", "--language", "ko"])
    assert "실수 1개를 찾았습니다" in korean.stdout
    assert "√d_k = √16 = 4배 큼" in korean.stdout


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("none.py:x", "no such file"),
        ("{file}", "give FILE.py:NAME"),
        ("{file}:absent", "has no absent. It defines TutorialTransformer, right, wrong, needs, text, loss"),
        ("{file}:needs", r"needs needs arguments \(thing\)"),
        ("{file}:text", "text returns an object of type str, not a torch.nn.Module"),
        ("{file}:Broken", r"cannot call the module with source and target ids\. Tried .*IndexError: <b>off</b>"),
    ],
)
def test_mistakes_in_the_arguments(file, target, message):
    result = RUNNER.invoke(app, ["verify", target.format(file=file)])
    assert isinstance(result.exception, UserError)
    assert re.search(message, str(result.exception))


def test_errors_inside_the_file(tmp_path):
    path = tmp_path / "broken.py"
    for text, message in (("x = 1\n\n1 / 0\n", "line 3: ZeroDivisionError"), ("def f(:\n", "line 1: SyntaxError")):
        path.write_text(text, encoding="utf-8")
        result = RUNNER.invoke(app, ["verify", f"{path}:x"])
        assert isinstance(result.exception, UserError)
        assert f"{path}, {message}" in str(result.exception)
        assert isinstance(
            RUNNER.invoke(app, ["verify", f"{path}:x", "--debug"]).exception, ZeroDivisionError | SyntaxError
        )


def test_required_arguments_with_telling_names_are_chosen():
    torch.manual_seed(0)

    def make(n_src_vocab, d_model, n_heads, num_layers):
        return TutorialTransformer(vocab=n_src_vocab, d_model=d_model, heads=n_heads, layers=num_layers)

    verification = allyouneed.verify(make)
    assert verification.passed
    assert verification.convention.endswith("made with n_src_vocab=29, d_model=32, n_heads=4, num_layers=2")


def test_other_objects_are_rejected():
    with pytest.raises(
        UserError, match=r"needs a torch\.nn\.Module or a function that makes one, not an object of type int"
    ):
        allyouneed.verify(3)
    with pytest.raises(UserError, match=r"give vocab_size\."):
        allyouneed.verify(torch.nn.Linear(2, 2))


def test_the_page_is_self_contained_and_escaped():
    torch.manual_seed(0)
    kind = type("<script>alert(1)</script>", (TutorialTransformer,), {})
    verification = allyouneed.verify(kind("future visible"))
    page = verification.html()
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r'(src|href)="(?!https://github\.com/)', page)
    assert ' style="' not in page
    assert page.count("<svg") == 4  # theirs, ours, difference, and what outputs depend on
    assert page.count('lang="ko"') > 20
    assert verification._repr_html_().startswith("<iframe srcdoc=")
    assert len(page) < 200_000
