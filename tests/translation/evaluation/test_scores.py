"""Scores equal those of sacreBLEU's command line on the same files: metrics, several references, its own test sets."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import types
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import sacrebleu.dataset.base
from sacrebleu.dataset import DATASETS

import allyouneed
from allyouneed import Translator, UserError
from allyouneed.bundle import load_bundle
from allyouneed.translation.evaluation import comet, sacrebleu_sets
from allyouneed.translation.evaluation.evaluator import MetricOptions
from tests.compat import POST_NORM
from tests.conftest import toy_pairs, write_pairs

WORDS = ("der kleine Hund", "läuft über", "eine grüne Wiese,", "und", "zwei Männer", "(alt)", "3.5 Meter weit!", "a-b")


def sentences(count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(3, 15))) for _ in range(count)]


def changed(texts: list[str], seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choice(WORDS) if rng.random() < 0.1 else word for word in text.split()) for text in texts]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    reference = sentences(60, seed=1)
    return {
        "source": write(tmp_path / "source", sentences(60, seed=2)),
        "reference": write(tmp_path / "reference", reference),
        "second": write(tmp_path / "second", changed(reference, 3)),
        "output": write(tmp_path / "output", ["", *changed(reference, 4)[1:]]),
        "other": write(tmp_path / "other", changed(changed(reference, 5), 6)),
    }


def by_sacrebleu(*arguments: object, folder: Path | None = None) -> list[dict]:
    """Results of sacreBLEU's command line."""
    command = [sys.executable, "-m", "sacrebleu", *map(str, arguments), "-w", "8", "-f", "json"]
    environment = os.environ | ({"SACREBLEU": str(folder)} if folder else {})
    found = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    return found if isinstance(found, list) else [found]


def check(scores, expected: list[dict], names: list[str]) -> None:
    assert len(expected) == len(names)
    for name, theirs in zip(names, expected, strict=True):
        assert scores.metrics[name].score == pytest.approx(theirs["score"], abs=1e-7), name
        assert scores.metrics[name].signature == theirs["signature"]


def test_a_file_of_translations_has_the_scores_of_sacrebleu(files):
    test = [files["source"], files["reference"]]
    scores = allyouneed.evaluate(hypothesis=files["output"], test=test, metrics="ter,bleu,chrf")
    assert list(scores.metrics) == ["ter", "bleu", "chrf"]
    expected = by_sacrebleu(files["reference"], "-i", files["output"], "-m", "bleu", "chrf", "ter"
    )  # fmt: skip
    check(scores, expected, ["bleu", "chrf", "ter"])
    plus = allyouneed.evaluate(hypothesis=files["output"], test=test, metrics=["chrf++"])
    theirs = by_sacrebleu(files["reference"], "-i", files["output"], "-m", "chrf", "--chrf-word-order", 2)
    check(plus, theirs, ["chrf++"])
    assert "nw:2" in plus.metrics["chrf++"].signature
    with pytest.raises(KeyError):
        _ = plus.bleu


@pytest.mark.parametrize("tokenizer", ["intl", "char", "none"])
def test_each_tokenizer_has_the_scores_of_sacrebleu(files, tokenizer):
    scores = allyouneed.evaluate(
        hypothesis=files["output"], references=files["reference"], metrics="bleu", tokenizer=tokenizer
    )
    expected = by_sacrebleu(files["reference"], "-i", files["output"], "-tok", tokenizer)
    check(scores, expected, ["bleu"])


def test_several_references(files):
    expected = by_sacrebleu(files["reference"], files["second"], "-i", files["output"], "-m", "bleu", "chrf", "ter")
    source, reference, second = files["source"], files["reference"], files["second"]
    ways = [
        {"test": [source, reference, second]},
        {"test": [source, reference], "references": second},
        {"test": source, "references": [reference, second]},
        {"references": [reference, second]},
    ]
    for way in ways:
        scores = allyouneed.evaluate(hypothesis=files["output"], metrics="bleu,chrf,ter", **way)
        check(scores, expected, ["bleu", "chrf", "ter"])
        assert "nrefs:2" in scores.bleu_signature
    exact = allyouneed.evaluate(hypothesis=second, test=[source, reference, second])
    assert exact.exact_match == 100


def test_confidence_intervals(files):
    options = MetricOptions("bleu,chrf", confidence=True)
    scores = allyouneed.evaluate(hypothesis=files["output"], references=files["reference"], metrics=options)
    arguments = (files["reference"], "-i", files["output"], "-m", "bleu", "chrf", "--confidence")
    expected = by_sacrebleu(*arguments)
    for name, theirs in zip(("bleu", "chrf"), expected, strict=True):
        found = scores.metrics[name]
        assert (found.mean, found.interval) == pytest.approx((theirs["confidence_mean"], theirs["confidence_var"]))
        assert found.signature == theirs["signature"]
    assert " ± " in scores.lines()[0]
    assert scores.as_dict().keys() >= {"bleu_mean", "bleu_interval", "chrf_mean", "chrf_interval"}


def test_a_tab_separated_file_has_further_references(files, tmp_path):
    rows = zip(files["source"].read_text().splitlines(), files["reference"].read_text().splitlines(), strict=True)
    table = write(tmp_path / "test.tsv", ["\t".join(row) for row in rows])
    for references, count in (((), 1), (files["second"], 2)):
        scores = allyouneed.evaluate(hypothesis=files["output"], test=table, references=references)
        assert f"nrefs:{count}" in scores.bleu_signature


def test_the_tokenizer_of_a_file_follows_the_script_of_the_references(tmp_path):
    references = write(tmp_path / "reference", ["我们去公园散步。", "今天天气很好。"])
    output = write(tmp_path / "output", ["我们去公园看花。", "今天天气不好。"])
    assert "tok:zh" in allyouneed.evaluate(hypothesis=output, references=references).bleu_signature


def test_files_that_do_not_match_are_refused(files, tmp_path, toy_run):
    short, empty = write(tmp_path / "short", ["a"] * 7), write(tmp_path / "empty", [])
    test = [files["source"], files["reference"]]
    for arguments, message in (
        ({"hypothesis": short, "test": test}, r"short has 1?7 lines, .*source has 60"),
        ({"hypothesis": files["output"], "test": test, "references": short}, r"short has 7 lines"),
        ({"hypothesis": files["output"], "test": files["source"], "references": short}, r"short has 7 lines"),
        ({"hypothesis": empty, "test": test}, "empty: the file is empty"),
        ({"hypothesis": tmp_path / "none", "test": test}, "none: no such file"),
        ({"hypothesis": files["output"]}, r"give a test set: --test SOURCE TARGET"),
        ({"test": test}, "give either a RUN to translate with"),
        ({"run": toy_run, "hypothesis": files["output"], "test": test}, "give either a RUN"),
        ({"run": toy_run, "references": files["reference"]}, "a RUN needs source sentences"),
        (
            {"hypothesis": files["output"], "test": test, "metrics": "bleu,crf"},
            r"metric crf; did you mean .?chrf.*\? Choose from",
        ),
        ({"hypothesis": files["output"], "test": test, "metrics": ""}, "Choose from bleu, chrf"),
        ({"hypothesis": files["output"], "test": test, "tokenizer": "no"}, "tokenizer no"),
    ):
        with pytest.raises(UserError, match=message):
            allyouneed.evaluate(**arguments)


@pytest.fixture
def sets(monkeypatch, tmp_path):
    """An empty folder of sacreBLEU's test sets."""
    for name in ("wmt14/full", "wmt21/AB", "wmt22", "mtnt2019"):
        monkeypatch.setattr(DATASETS[name], "_outdir", str(tmp_path / name))
        monkeypatch.setattr(DATASETS[name], "_rawdir", str(tmp_path / name / "raw"))
    (tmp_path / "wmt14" / "full").mkdir(parents=True)
    (tmp_path / "wmt21" / "AB").mkdir(parents=True)
    (tmp_path / "wmt22").mkdir()
    monkeypatch.setattr(sacrebleu.dataset.base, "download_file", lambda *arguments, **more: pytest.fail("a download"))
    return tmp_path


def test_test_sets_of_sacrebleu_by_name(sets, files):
    for field, name in (("src", "source"), ("ref", "reference")):
        lines = files[name].read_text().splitlines()
        write(sets / "wmt14" / "full" / f"wmt14_full.en-de.{field}", lines)
    for field in ("docid", "genre", "origlang"):
        write(sets / "wmt14" / "full" / f"wmt14_full.en-de.{field}", ["x"] * 60)
    scores = allyouneed.evaluate(hypothesis=files["output"], test="wmt14/full/en-de")
    expected = by_sacrebleu("-t", "wmt14/full", "-l", "en-de", "-i", files["output"], "-m", "bleu", "chrf", folder=sets)
    assert [scores.bleu, scores.chrf] == pytest.approx([each["score"] for each in expected], abs=1e-7)


def test_a_test_set_of_another_direction_is_refused(sets, files):
    for field, name in (("src", "source"), ("ref", "reference")):
        write(sets / "wmt14" / "full" / f"wmt14_full.en-de.{field}", files[name].read_text().splitlines())
    bundle = load_bundle(POST_NORM)
    german = Translator(replace(bundle, languages=("de", "en")))
    message = "wmt14/full/en-de: a test set from en to de, but the translator translates from de to en"
    for call in (
        lambda: allyouneed.evaluate(german, "wmt14/full/en-de"),
        lambda: allyouneed.compare(files["output"], german, "wmt14/full/en-de"),
    ):
        with pytest.raises(UserError, match=message):
            call()
    for languages in (("en-GB", "de"), ("x-a", "x-b"), ("mul", "de")):
        allyouneed.evaluate(Translator(replace(bundle, languages=languages)), "wmt14/full/en-de")


def test_several_references_of_a_test_set(sets, files):
    allowed = sacrebleu_sets._files(DATASETS["wmt21/AB"], "cs-en")
    assert len(allowed) == 3  # the source and two references
    for path, name in zip(allowed, ("source", "reference", "second"), strict=True):
        write(path, files[name].read_text().splitlines())
    scores = allyouneed.evaluate(hypothesis=files["output"], test=["wmt21/AB/cs-en"])
    assert "nrefs:2" in scores.bleu_signature


def test_test_sets_are_not_downloaded(sets, files):
    with pytest.raises(UserError, match=r"python -m sacrebleu -t mtnt2019 -l ja-en --echo src > /dev/null"):
        allyouneed.evaluate(hypothesis=files["output"], test="mtnt2019/ja-en")
    with pytest.raises(UserError, match=r"no language pair de-xx.* It has .*de-en"):
        allyouneed.evaluate(hypothesis=files["output"], test="wmt14/full/de-xx")
    with pytest.raises(UserError, match=r"mtnt2019: name the language pair .* mtnt2019/en-fr"):
        allyouneed.evaluate(hypothesis=files["output"], test="mtnt2019")
    with pytest.raises(UserError, match="wmt99/de-en: no such file"):
        allyouneed.evaluate(hypothesis=files["output"], test="wmt99/de-en")


def test_the_target_language_of_a_test_set_chooses_the_tokenizer(sets, files):
    path, reference = sacrebleu_sets._files(DATASETS["wmt22"], "en-zh")[:2]
    write(path, ["a b"])
    write(reference, ["1 2 3"])  # the script says nothing
    for more in sacrebleu_sets._files(DATASETS["wmt22"], "en-zh")[2:]:
        write(more, ["1 2 3"])
    output = write(files["output"], ["1 2 3"])
    assert "tok:zh" in allyouneed.evaluate(hypothesis=output, test="wmt22/en-zh").bleu_signature


class FakeModel:
    def predict(self, rows, batch_size, gpus, progress_bar):
        return types.SimpleNamespace(scores=[float(row["mt"] == row["ref"]) for row in rows])


@pytest.fixture
def fake_comet(monkeypatch, tmp_path):
    """A package with the interface of unbabel-comet, without models."""
    package, hub = types.ModuleType("comet"), types.ModuleType("huggingface_hub")

    def snapshot_download(name, local_files_only=False):
        assert local_files_only
        if name != "own/model":
            raise OSError("not cached")
        return str(tmp_path / "snapshot")

    def load_from_checkpoint(path, local_files_only=False):
        assert local_files_only
        assert path.endswith("model.ckpt"), "no\ncheckpoint"
        return FakeModel()

    hub.snapshot_download, package.load_from_checkpoint = snapshot_download, load_from_checkpoint
    monkeypatch.setitem(sys.modules, "comet", package)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr(comet, "version", lambda name: "2.2.6")
    checkpoint = tmp_path / "snapshot" / "checkpoints" / "model.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    return tmp_path / "snapshot"


def test_comet_by_its_package(files, fake_comet):
    test = [files["source"], files["reference"]]
    for model in (fake_comet, fake_comet / "checkpoints" / "model.ckpt", "own/model"):
        options = MetricOptions("comet,chrf", comet_model=str(model))
        scores = allyouneed.evaluate(hypothesis=files["reference"], test=test, metrics=options)
        assert list(scores.metrics) == ["comet", "chrf"]
        assert scores.metrics["comet"].score == 1
        assert scores.metrics["comet"].signature == f"nrefs:1|model:{model}|version:2.2.6"
    assert "COMET 1.0000" in scores.lines()[0]
    with pytest.raises(UserError, match="hf download Unbabel/wmt22-comet-da"):
        allyouneed.evaluate(hypothesis=files["output"], test=test, metrics="comet")
    broken = MetricOptions("comet", comet_model=str(files["output"]))
    with pytest.raises(UserError, match=r"output cannot be loaded \(no\). Its encoder must be .* hf download xlm"):
        allyouneed.evaluate(hypothesis=files["output"], test=test, metrics=broken)
    with pytest.raises(UserError, match="COMET needs the source sentences"):
        allyouneed.evaluate(hypothesis=files["output"], references=files["reference"], metrics="comet")


def test_comet_without_its_package(files):
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("unbabel-comet")
    with pytest.raises(UserError, match=r"pip install unbabel-comet"):
        allyouneed.evaluate(hypothesis=files["output"], test=[files["source"], files["reference"]], metrics="comet")


def test_the_command_line(command, toy_run, tmp_path, files):
    test = write_pairs(tmp_path, "test", toy_pairs(8))
    second = write(tmp_path / "test.2", ["x y"] * 8)
    code, out, _ = command("evaluate", toy_run, "--test", *test, second, "--metrics", "bleu,ter", "--metric", "chrf++")
    assert code == 0
    assert [line.split(" ")[0] for line in out.splitlines()] == ["BLEU", "TER", "chrF++", "exact"]
    assert "nrefs:2" in out
    assert "lower is better" in out
    code, out, _ = command("evaluate", "--hypothesis", test[1], "--reference", test[1], "--tokenized", "--json")
    assert (code, json.loads(out)["exact_match"]) == (0, 100)
    assert "tok:none" in json.loads(out)["bleu_signature"]
    code, _, error = command("evaluate", "--test", *test)
    assert code == 2
    assert error.count("\n") == 1
    assert "--hypothesis FILE" in error
