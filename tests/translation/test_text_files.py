"""Whole files: what is written for each line, what is told on the way, and which test sets are refused."""

from __future__ import annotations

import json
import re
from io import BytesIO, TextIOWrapper

import pytest

from allyouneed import Translator, UserError
from allyouneed.translation import text_files as files
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.scoring import score_pairs
from allyouneed.translation.text_files import evaluate_files, score_files, translate_file
from tests.conftest import toy_pairs, write_pairs

OPTIONS = SearchOptions(beam_size=1)


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def written(translator, tmp_path, text, scores=False, **options):
    source, output = tmp_path / "source", tmp_path / "output"
    source.write_text(text)
    as_json = options.pop("as_json", False)
    translate_file(translator, source, output, OPTIONS.replace(options), scores, print, as_json=as_json)
    return output.read_text().splitlines()


def test_an_empty_file_gives_an_empty_one(translator, tmp_path):
    assert written(translator, tmp_path, "") == []


def test_an_empty_line_has_one_empty_hypothesis(translator, tmp_path):
    rows = written(translator, tmp_path, "a b\n\nc\n", beam_size=2, num_hypotheses=2)
    assert [row.split(" ||| ")[0] for row in rows] == ["0", "0", "1", "2", "2"]
    assert rows[2] == "1 |||  ||| 0.0000"
    assert written(translator, tmp_path, "\n", scores=True) == ["0.0000\t"]
    [said] = written(translator, tmp_path, "\n", as_json=True)
    assert json.loads(said) == {
        "line": 1, "source": "", "text": "", "score": 0, "tokens": [], "log_probs": [], "hypotheses": [], "pieces": 0,
    }  # fmt: skip


def test_progress_is_told_of_long_work(translator, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SILENT_SECONDS", -1)
    monkeypatch.setattr(files, "_FEWEST_LINES", 2)
    monkeypatch.setattr(files, "_MOST_LINES", 2)
    test, said = write_pairs(tmp_path, "test", toy_pairs(5)), []
    evaluate_files(translator, test, OPTIONS, say=said.append)
    assert [line.partition(" lines  ")[0] for line in said] == ["2/5", "4/5", "5/5"]
    assert all(re.search(r" a second  \d+:\d\d left$", line) for line in said)
    assert said[-1].endswith("  0:00 left")
    told = []
    translate_file(translator, test[0], tmp_path / "out", OPTIONS, False, told.append)
    assert [line.partition(" lines  ")[0] for line in told] == ["2/5", "4/5", "5/5"]
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(test[0].read_bytes())))
    translate_file(translator, None, tmp_path / "out", OPTIONS, False, told.append)
    assert [line.partition(" lines  ")[0] for line in told[3:]] == ["2", "4", "5"]
    assert all(line.endswith(" a second") for line in told[3:])
    monkeypatch.setattr(files, "_SILENT_SECONDS", 1000)
    evaluate_files(translator, test, OPTIONS, say=said.append)
    assert len(said) == 3


def test_scores_of_given_translations(translator, tmp_path):
    pairs = toy_pairs(3)
    test = write_pairs(tmp_path, "test", pairs)
    found = score_pairs(translator, *zip(*pairs, strict=True))
    for line, scored in zip(score_files(translator, test), found, strict=True):
        assert line == f"{sum(scored.log_probs):.4f}"
    for line, scored in zip(score_files(translator, test, tokens=True), found, strict=True):
        _, *each = line.split("\t")
        assert [one.split(" ")[0] for one in each] == scored.tokens
        assert [float(one.split(" ")[1]) for one in each] == pytest.approx(scored.log_probs, abs=1e-4)
    for number, line in enumerate(score_files(translator, test, as_json=True), start=1):
        assert json.loads(line)["line"] == number


def test_a_broken_line_is_named(translator, tmp_path):
    table = tmp_path / "test.tsv"
    table.write_text("a b\tb a\na b\n")
    with pytest.raises(UserError, match=r"test\.tsv:2: fewer than 2 columns\. Mend the line: every"):
        evaluate_files(translator, [table])
    with pytest.raises(UserError, match=r"test\.tsv:2: fewer than 2 columns\. Mend the line, or leave it out"):
        list(score_files(translator, [table]))
    table.write_bytes(b"a b\tb a\n\xff\tb\n")
    with pytest.raises(UserError, match=r"test\.tsv:2: not UTF-8"):
        evaluate_files(translator, [table])
    with pytest.raises(UserError, match="one TSV file"):
        evaluate_files(translator, [table] * 3)
