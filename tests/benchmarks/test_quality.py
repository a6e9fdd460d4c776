"""Quality benchmark with toy runs: held-out text, stored scores, the table, and the comparison with earlier runs."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sacrebleu.significance import PairedTest, _compute_p_value

import allyouneed
from allyouneed.translation.evaluation.metrics import sacrebleu_metric
from benchmarks.measure import quality
from benchmarks.measure.quality import Plan, Quality, measure_quality, quality_table, texts, translations_file
from benchmarks.measure.quality_data import hold_out
from benchmarks.measure.significance import (
    Difference,
    Statistics,
    check_comparable,
    differences,
    resampled_differences,
    significance_report,
    with_seeds,
)
from tests.conftest import toy_pairs
from tests.translation.evaluation.test_scores import changed, sentences

PLAN = Plan("tiny", ("aa", "bb"), None, 40, held_out=10)


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder like Multi30k's, in the languages of the toy run."""
    folder = tmp_path / "data"
    folder.mkdir()
    for seed, (name, count) in enumerate({"train": 100, "val": 12, "test_toy": 8}.items()):
        for language, side in zip(("aa", "bb"), zip(*toy_pairs(count, seed), strict=True), strict=True):
            (folder / f"{name}.lc.norm.tok.{language}").write_text("\n".join(side) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def trained(toy_run, monkeypatch) -> list[tuple[int, list[Path]]]:
    """Let the toy run stand for each training; returns the seeds and training texts."""
    calls = []

    def train(plan, files, data, seed, run):
        calls.append((seed, list(files)))
        shutil.copytree(toy_run, run)
        return {"seconds": 60.0 * seed, "steps": 40, "parameters": 2_500_000}

    monkeypatch.setattr(quality, "_train", train)
    return calls


def test_held_out_pairs_and_their_duplicates_are_not_trained_on(tmp_path):
    pairs = [(f"source {number}", f"target {number}") for number in range(20)]
    pairs += [("another source", "target 17"), ("source 2", "another target"), ("source 3", "target 3")]
    files = [tmp_path / "train.lc.norm.tok.en", tmp_path / "train.lc.norm.tok.fr"]
    for file, side in zip(files, zip(*pairs, strict=True), strict=True):
        file.write_text("\n".join(side) + "\n", encoding="utf-8")
    parts = hold_out(files, 4, tmp_path / "parts")
    read = {name: [path.read_text().splitlines() for path in paths] for name, paths in parts.items()}
    assert [path.name for path in parts["held-out"]] == ["held-out.en", "held-out.fr"]
    assert read["held-out"][0] == ["source 2", "source 8", "source 14", "another source"]
    gone = {"source 2", "source 8", "source 14", "source 17", "another source"}
    assert read["train"][0] == [source for source, _ in pairs if source not in gone]
    assert len(read["train"][1]) == len(pairs) - 6
    backwards = hold_out(files[::-1], 4, tmp_path / "backwards")  # the other direction has the same pairs
    assert backwards["held-out"][1].read_text() == parts["held-out"][0].read_text()
    assert hold_out(files, 0, tmp_path / "none") == {"train": files}
    with pytest.raises(SystemExit, match="hold out at most half"):
        hold_out(files, 12, tmp_path / "parts")


def test_the_test_set_is_scored_only_on_request(tmp_path, data, trained):
    runs, messages = tmp_path / "runs", []
    [first] = measure_quality(PLAN, data, [1], runs, False, messages.append)
    assert list(first.scores) == ["held-out", "val"]
    assert not translations_file(runs / "seed-1", "test_toy").exists()
    [again] = measure_quality(PLAN, data, [1], runs, True, messages.append)
    assert list(again.scores) == ["held-out", "val", "test_toy"]
    assert again.scores["val"] == first.scores["val"]
    assert [(seed, [path.name for path in files]) for seed, files in trained] == [(1, ["train.aa", "train.bb"])]
    with pytest.raises(SystemExit, match="another configuration"):
        measure_quality(replace(PLAN, settings=("model.dropout=0.2",)), data, [1], runs, False, messages.append)
    shutil.copy(data / "train.lc.norm.tok.aa", data / "train.lc.norm.tok.fr")
    with pytest.raises(SystemExit, match=r"val\.lc\.norm\.tok\.fr\.gz: no such file"):
        texts(Plan("tiny", ("aa", "fr"), None, 40), data, runs, False)


def test_a_training_is_limited_by_steps_or_by_minutes(tmp_path, data, monkeypatch):
    commands = []

    def fail(command, env):
        commands.append([str(part) for part in command])
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr(quality.subprocess, "run", fail)
    minutes = Plan("fast", ("bb", "aa"), 0.5, None, settings=("model.dropout=0.2",))
    for number, plan in enumerate((PLAN, minutes)):
        with pytest.raises(SystemExit, match="train failed"):
            measure_quality(plan, data, [7], tmp_path / str(number), False, print)
    first, second = (" ".join(command) for command in commands)
    assert "--set training.seed=7 --set training.steps=40" in first
    assert "--minutes" not in first
    assert "--from bb --to aa --recipe fast" in second
    assert f"--train {data}/train.lc.norm.tok.bb {data}/train.lc.norm.tok.aa" in second
    assert second.endswith("--set training.seed=7 --set model.dropout=0.2 --minutes 0.5")


def test_scores_are_those_of_the_library(tmp_path, data, trained, toy_run):
    runs = tmp_path / "runs"
    [found] = measure_quality(PLAN, data, [3], runs, False, print)
    _, files = texts(PLAN, data, runs, False)
    options = allyouneed.SearchOptions(beam_size=5)
    scores = allyouneed.evaluate(toy_run, files["val"], options, tokenizer="none")
    assert (found.scores["val"]["bleu"], found.scores["val"]["chrf"]) == (scores.bleu, scores.chrf)
    assert found.signatures["bleu"] == scores.bleu_signature
    pairs = allyouneed.score(toy_run, files["val"])
    words = sum(len(pair.target.split()) + 1 for pair in pairs)
    assert found.scores["val"]["loss"] == pytest.approx(-sum(pair.score for pair in pairs) / words)
    stored = json.loads((runs / "plan.json").read_text())
    assert (stored["languages"], stored["steps"], stored["held_out"]) == (["aa", "bb"], 40, 10)


def test_the_table_has_a_row_per_seed_the_mean_and_the_standard_deviation():
    def scored(seed: int) -> Quality:
        scores = {"val": {"loss": 2.0, "bleu": 30.0 + seed, "chrf": 60.0}}
        return Quality(seed, 60.0 * seed, 1000 * seed, 2_500_000, scores, {"bleu": "tok:none", "chrf": "nc:6"})

    table = quality_table(PLAN, [scored(1), scored(2), scored(6)]).splitlines()
    assert table[0].startswith("tiny aa-bb, 40 steps; 2.50 million parameters.")
    assert "10 training pairs are held out" in table[0]
    assert table[2:4] == ["- BLEU: tok:none", "- chrF2: nc:6"]
    assert (
        table[-6:]
        == [
            "| seed | minutes, text to bundle | steps | val loss | val BLEU | val chrF2 |",
            "| --- | --- | --- | --- | --- | --- |",
            "| 1 | 1.0 | 1,000 | 2.0000 | 31.00 | 60.00 |",
            "| 2 | 2.0 | 2,000 | 2.0000 | 32.00 | 60.00 |",
            "| 6 | 6.0 | 6,000 | 2.0000 | 36.00 | 60.00 |",
            "| mean | | | 2.0000 | 33.00 | 60.00 |",
        ]
        or table[-1] == "| standard deviation |  |  | 0.0000 | 2.65 | 0.00 |"
    )


def test_resamples_are_those_of_sacrebleu():
    reference = sentences(80, seed=1)
    outputs = [changed(changed(reference, 3), 4), changed(reference, 5)]
    metric = sacrebleu_metric("bleu", "none")
    counts = [np.array(metric._extract_corpus_statistics(each, [reference]))[None] for each in outputs]
    statistics = Statistics(tuple(counts), lambda sums: metric._compute_score_from_stats(sums).score)
    _, scores = PairedTest(list(zip("AB", outputs, strict=True)), {"bleu": metric}, [reference], "bs")()
    [old], [new] = statistics.scores()
    assert [old, new] == pytest.approx([each.score for each in scores["BLEU"]], abs=1e-5)
    [resampled] = resampled_differences(statistics)
    sizes = np.abs(resampled)
    assert _compute_p_value(sizes - sizes.mean(), abs(new - old)) == pytest.approx(scores["BLEU"][1].p_value)
    [found] = differences(statistics)
    assert found.interval[0] < new - old < found.interval[1]


def test_seeds_that_disagree_are_no_evidence():
    """Each seed differs clearly, but in opposite directions; with the same direction all seeds together differ, too."""
    ones = np.ones((50, 1))
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, (50, 1))

    def compared(*gains: float) -> list[Difference]:
        old = np.stack([ones for _ in gains])
        new = np.stack([ones + gain + noise for gain in gains])
        return differences(Statistics((old, new), lambda sums: float(sums[0]) / 50))

    opposite, same = compared(1.0, -1.0, 0.9), compared(1.0, 1.1, 0.9)
    assert [len(opposite), len(same)] == [4, 4]
    assert all(found.p_value < 0.01 for found in (*opposite[:3], *same))
    assert opposite[3].p_value > 0.3
    assert opposite[3].interval[0] < 0 < opposite[3].interval[1]
    assert same[3].scores == pytest.approx((1.0, 2.0 + noise.mean()))
    assert compared(0.0)[0].p_value < 1
    assert differences(Statistics((ones[None], ones[None]), lambda sums: float(sums[0])))[0].p_value == 1


@pytest.mark.parametrize("gains", [(0.0, 1.0), (0.0, 1.0, 5.0), (3.0, 1.0, 2.0, 2.0, 9.0)])
def test_resampled_seeds_have_the_standard_error_of_their_mean(gains):
    resampled = np.repeat(np.array(gains)[:, None], 20_000, axis=1)
    assert with_seeds(resampled).std() == pytest.approx(statistics.stdev(gains) / len(gains) ** 0.5, rel=0.02)
    assert with_seeds(resampled).mean() == pytest.approx(statistics.mean(gains), rel=0.02)


def test_the_report_compares_runs_and_writes_a_page(tmp_path, data, trained):
    old, new = tmp_path / "old", tmp_path / "new"
    plan = replace(PLAN, settings=("model.norm=pre",))
    other = replace(plan, settings=(*plan.settings, "model.dropout=0.2"))
    measure_quality(plan, data, [1, 2], old, False, print)
    measure_quality(other, data, [2, 1, 3], new, False, print)
    _, files = texts(plan, data, new, False)
    shutil.copy(files["val"][1], translations_file(new / "seed-2", "val"))  # a perfect translation
    page = tmp_path / "out" / "page.html"
    report = significance_report(other, new, old, [2, 1, 3], files, page)
    assert "Old: tiny aa-bb, 40 steps; new: tiny aa-bb, 40 steps, model.dropout=0.2;" in report
    rows = [line.strip("| ").split(" | ") for line in report.splitlines() if line.startswith(("| held-out", "| val"))]
    assert [row[2] for row in rows if row[:2] == ["val", "BLEU"]] == ["2", "1", "all 2"]
    assert next(row for row in rows if row[:3] == ["val", "BLEU", "1"])[5:] == ["+0.00", "+0.00 to +0.00", "1.000"]
    chrf = next(row for row in rows if row[:3] == ["val", "chrF2", "2"])
    assert (chrf[4], chrf[5][0], chrf[7]) == ("100.00", "+", "0.001")
    assert "[Sentences of val side by side](page.html), seed 2" in report
    facts = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"))[1])
    assert facts["systems"] == ["tiny aa-bb, 40 steps, seed 2", "tiny aa-bb, 40 steps, model.dropout=0.2, seed 2"]
    assert (facts["test"], facts["languages"], len(facts["sample"])) == ("val", ["aa", "bb"], 12)
    with pytest.raises(SystemExit, match="has no translations of val with these seeds"):
        significance_report(other, new, old, [3], {"val": files["val"]}, page)
    with pytest.raises(SystemExit, match="compare with runs of the same text"):
        check_comparable(replace(PLAN, held_out=0), old)
    with pytest.raises(SystemExit, match=r"no plan\.json"):
        check_comparable(PLAN, tmp_path)
