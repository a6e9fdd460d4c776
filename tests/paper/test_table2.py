"""Table 2 on toy data: both systems, the page, resuming, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from allyouneed.errors import UserError
from allyouneed.paper import table2
from tests.conftest import TOY, silent, toy_request


@pytest.mark.usefixtures("toy_run")  # compiles kernels before the budget begins
def test_both_systems_are_trained_once(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "out")
    settings = [setting for setting in TOY if not setting.startswith("training.steps")]
    request = replace(request, recipe=None, settings=[*settings, "training.log_every=2"])
    page = table2.run_table2(request, request.valid[0].paths, 0.05, False, silent(), tmp_path / "out")
    parts = json.loads((tmp_path / "out" / "parts.json").read_text())["parts"]
    transformer, rnn = parts["Transformer"], parts["RNN with attention"]
    assert rnn["parameters"] <= transformer["parameters"]
    assert transformer["flops"] > 0 < rnn["flops"]
    assert {"table2.csv", "curves.csv", "table2.png", "results.json"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert "**In less time?**" in page.read_text()
    monkeypatch.setattr(table2, "train", None)  # nothing is trained again
    table2.run_table2(request, request.valid[0].paths, 0.05, False, silent(), tmp_path / "out")


def test_a_missing_test_text_is_reported_before_training(tmp_path):
    request = replace(toy_request(tmp_path / "text", tmp_path / "out"), recipe=None, settings=[])
    with pytest.raises(UserError, match=r"absent\.src: no such file"):
        table2.run_table2(
            request, [tmp_path / "absent.src", tmp_path / "absent.tgt"], 0.1, False, silent(), tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("training.steps=9", "--set training.steps: give --budget"),
        ("training.minutes=9", "--set training.minutes: give --budget"),
        ("training.bleu_sentences=0", "compares BLEU over time"),
    ],
)
def test_conflicting_settings_are_refused_before_training(tmp_path, setting, remedy):
    request = replace(toy_request(tmp_path / "text", tmp_path / "out"), recipe=None, settings=[setting])
    with pytest.raises(UserError, match=remedy):
        table2.run_table2(request, request.valid[0].paths, 0.1, False, silent(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_invalid_test_line_is_reported_before_training(tmp_path):
    request = replace(toy_request(tmp_path / "text", tmp_path / "out"), recipe=None, settings=[])
    test = tmp_path / "test.tsv"
    test.write_text("a b\tb a\na b\n")
    with pytest.raises(UserError, match=r"test\.tsv:2: fewer than 2 columns\. Correct the line"):
        table2.run_table2(request, [test], 0.1, False, silent(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
