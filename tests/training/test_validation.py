"""BLEU's tokenizer in training: settled once, recorded with each validation, kept by runs of earlier versions."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from allyouneed import UserError
from allyouneed.data.files.formats import RawPair
from allyouneed.training.distil import _choose_targets
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.train import train
from allyouneed.translation.evaluation import bleu_tokenizers
from tests.conftest import silent, toy_request

SHORT = ["data.faults=warn", "training.steps=4", "training.validate_every=4", "training.average_every=4"]


def test_the_tokenizer_follows_the_language_and_is_named_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(bleu_tokenizers, "_is_installed", lambda name: False)
    shown = Console(file=io.StringIO(), width=1000)
    request = replace(toy_request(tmp_path / "text", tmp_path / "run", SHORT), languages=("aa", "ja"))
    outcome = train(request, shown)
    text = shown.file.getvalue()
    assert text.count("pip install 'sacrebleu[ja]'") == 1
    assert "validation BLEU with tokenizer char" in text
    assert text.count("tokenizer char counts characters") == 1  # the toy corpus has Latin letters
    assert "tok:char" in outcome.scores["valid"]["bleu_signature"]
    log = [json.loads(line) for line in (request.out / "log.jsonl").read_text().splitlines()]
    assert all("tok:char" in record["bleu_signature"] for record in log if record["event"] == "validation")
    assert "greedy, sacreBLEU char" in (request.out / "report.html").read_text(encoding="utf-8")
    assert "tok:char" in (request.out / "bundle" / "README.md").read_text(encoding="utf-8")

    monkeypatch.setattr(bleu_tokenizers, "_is_installed", lambda name: True)  # installed meanwhile
    assert RunRecord(request.out / "run.json").config.training.bleu_tokenizer == "char"


def test_a_run_of_an_earlier_version_keeps_13a(toy_run, tmp_path):
    shutil.copytree(toy_run, tmp_path / "run")
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    assert content["config"]["training"].pop("bleu_tokenizer") == "13a"
    content["asked"]["languages"] = ["aa", "zh"]
    path.write_text(json.dumps(content))
    assert RunRecord(path).config.training.bleu_tokenizer == "13a"


def test_a_missing_tokenizer_is_reported_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setattr(bleu_tokenizers, "SACREBLEU_DIR", str(tmp_path))
    request = toy_request(tmp_path / "text", tmp_path / "run", ["training.bleu_tokenizer=flores200"])
    with pytest.raises(UserError, match="flores200sacrebleuspm is missing"):
        train(request, silent())


def test_the_closest_hypothesis_is_found_in_text_without_spaces():
    pairs, hypotheses = [RawPair(1, "a", "我们去公园散步。")], [["他在家。", "我们去公园看花。"]]
    assert list(_choose_targets(pairs, hypotheses, "closest", "zh")) == [("a", "我们去公园看花。")]
