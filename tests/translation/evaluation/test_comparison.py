"""Comparison of two systems: significance as by sacreBLEU, differing sentences, the command and its page."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import allyouneed
from allyouneed import Translator, UserError
from allyouneed.translation.evaluation import comparison
from tests.conftest import toy_pairs, write_pairs
from tests.translation.evaluation.test_scores import changed, sentences, write


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("compare")
    reference = sentences(80, seed=1)
    texts = {
        "source": [f"Satz {number} <b>&amp;</b> </script>" for number in range(80)],
        "reference": reference,
        "second": changed(reference, 2),
        "weak": changed(changed(changed(reference, 3), 4), 5),
        "strong": [*changed(reference[:40], 6), *reference[40:]],
    }
    return {name: write(folder / name, lines) for name, lines in texts.items()}


@pytest.fixture(scope="module")
def compared(files) -> comparison.Comparison:
    return allyouneed.compare(
        files["weak"], files["strong"], [files["source"], files["reference"]], metrics="bleu,chrf,ter"
    )


def test_the_numbers_are_those_of_sacrebleu(files, compared):
    command = [sys.executable, "-m", "sacrebleu", files["reference"], "-i", files["weak"], files["strong"]]
    command += ["-m", "bleu", "chrf", "ter", "--paired-bs", "-w", "8", "-f", "text"]
    table = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = [tuple(map(float, each)) for each in re.findall(r"([\d.]+) \(([\d.]+) ± ([\d.]+)\)", table)]
    p_values = [float(each) for each in re.findall(r"p = ([\d.]+)", table)]
    assert (len(found), len(p_values)) == (6, 3)
    for metric, baseline, system, p_value in zip(compared.metrics, found[:3], found[3:], p_values, strict=True):
        for ours, theirs in zip(metric.scores, (baseline, system), strict=True):
            assert (ours.score, ours.mean, ours.interval) == pytest.approx(theirs, abs=1e-5)
        assert metric.p_value == pytest.approx(p_value, abs=1e-4)
        assert "bs:1000|seed:12345" in metric.signature
    assert [metric.lower_is_better for metric in compared.metrics] == [False, False, True]
    assert compared.metrics[0].p_value < 0.01


def test_equal_systems_do_not_differ(files):
    same = allyouneed.compare(files["weak"], files["weak"], references=files["reference"])
    assert [metric.difference for metric in same.metrics] == [0, 0]
    assert not any(metric.is_significant for metric in same.metrics)
    assert same.better() == (0, 0)
    assert sum("+0.00, equal" in line for line in same.lines()) == 2
    assert not any(line.startswith("line ") for line in same.lines())
    assert same.sentences[0].source is None
    assert "</html>" in same.html()


def test_sentences_that_differ_most_come_first(compared):
    most = compared.most_different()
    gaps = [abs(pair.difference) for pair in most]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] > 10
    assert [pair.line for pair in compared.sentences] == list(range(1, 81))
    assert compared.sentences[50].chrf[1] == pytest.approx(100)
    first, second = compared.better()
    assert second > first
    facts = compared.as_dict(5)
    assert len(facts["most_different"]) == 5
    assert sum(facts["better"].values()) == facts["sentences"] == 80


def test_a_summary_for_the_terminal(compared):
    text = "\n".join(compared.lines(1))
    assert re.search(r"^BLEU +A [\d.]+ \([\d.]+ ± [\d.]+\)  B .* p = 0\.00\d\d, significant$", text, re.MULTILINE)
    assert "(lower is better)" in text
    assert text.count("\n  source ") == 1
    assert "sentences with the higher chrF: A " in text


def test_runs_and_files(toy_run, tmp_path):
    pairs = toy_pairs(6, seed=5)
    test = write_pairs(tmp_path, "test", pairs)
    perfect = write(tmp_path / "perfect", [target for _, target in pairs])
    told: list[str] = []
    found = allyouneed.compare(Translator.load(toy_run), perfect, test, report=told.append)
    assert found.languages == ("aa", "bb")
    assert found.systems == ("translator A", str(perfect))
    assert found.metrics[1].scores[1].score == 100
    assert any("translates 6 sentences" in line for line in told)
    assert found.metrics[1].scores[0].score == allyouneed.evaluate(toy_run, test).chrf


def test_systems_that_cannot_be_compared(files, toy_run, tmp_path, monkeypatch):
    test = [files["source"], files["reference"]]
    short = write(tmp_path / "short", ["a"])
    other = Translator.load(toy_run)
    other.bundle.languages = ("aa", "fr")
    for first, second, more, message in (
        (files["weak"], short, {}, r"short has 1 lines"),
        (files["weak"], tmp_path / "none", {}, "none: no such file or folder"),
        (toy_run, other, {}, "A translates to bb, B to fr"),
        (files["weak"], files["strong"], {"metrics": "bleu,comet"}, "pip install|no significance test for COMET"),
        (files["weak"], files["strong"], {"metrics": "x"}, "Choose from bleu"),
    ):
        with pytest.raises(UserError, match=message):
            allyouneed.compare(first, second, test, **more)
    monkeypatch.setattr(comparison, "MOST_SENTENCES", 79)
    with pytest.raises(UserError, match="80 sentences; compare takes at most 79"):
        allyouneed.compare(files["weak"], files["strong"], test)


def test_the_seed_of_sacrebleu(files, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    found = allyouneed.compare(files["weak"], files["strong"], references=files["reference"], metrics="chrf")
    assert "seed:7" in found.metrics[0].signature
    monkeypatch.setenv("SACREBLEU_SEED", "seven")
    with pytest.raises(UserError, match="SACREBLEU_SEED is not a number"):
        allyouneed.compare(files["weak"], files["strong"], references=files["reference"])


def test_the_command(command, files, tmp_path):
    page = tmp_path / "compare.html"
    test = ("--test", files["source"], files["reference"], "--reference", files["second"])
    code, out, error = command("compare", files["weak"], files["strong"], *test, "--html", page, "--sentences", 0)
    assert code == 0
    assert "nrefs:2" in out
    assert "source" not in out.replace(str(files["source"]), "")
    assert str(page) in error
    code, out, _ = command("compare", files["weak"], files["strong"], *test, "--json", "--metrics", "ter")
    found = json.loads(out)
    assert (code, [metric["name"] for metric in found["metrics"]], len(found["most_different"])) == (0, ["ter"], 80)
    code, _, error = command("compare", files["weak"], files["strong"], *test, "--html", files["reference"])
    assert (code, error.count("\n")) == (2, 1)
    assert "same file" in error


def test_the_page_is_self_contained(compared):
    page = compared.html()
    assert page.count("</script>") == 2  # the text of the sentences cannot end the data
    assert not re.search(r"""(?:src|href)="(?!data:)""", page)
    assert "default-src 'none'; script-src 'sha256-" in page


def test_large_test_sets_keep_the_sentences_that_differ_most(compared, monkeypatch):
    monkeypatch.setattr(comparison, "_PAGE_SENTENCES", 10)
    data = json.loads(re.search(r'id="data">(.*?)</script>', compared.html())[1])
    assert len(data["most_different"]) == 10
    assert data["sentences"] == 80
    assert [pair["line"] for pair in data["sample"]] == [(2 * each + 1) * 80 // 100 + 1 for each in range(50)]


def test_the_sample_does_not_depend_on_scores(compared):
    assert [pair.line for pair in compared.sample(4)] == [11, 31, 51, 71]
    assert compared.sample(100) == compared.sentences


def test_random_text_is_compared(tmp_path):
    """Empty lines, characters of every kind, and references without letters."""
    rng = random.Random(7)
    lines = ["", "  ", "\u200b", "🙂 🙂", "<", "&lt;", "a" * 500, "한국어 문장", "中文", "עברית", "1 2 3", "…"]
    outputs = [write(tmp_path / name, rng.sample(lines, len(lines))) for name in ("one", "two", "three")]
    found = allyouneed.compare(*outputs[:2], references=outputs[2], metrics="bleu,chrf,chrf++,ter")
    assert len(found.sentences) == len(lines)
    assert "</html>" in found.html()
