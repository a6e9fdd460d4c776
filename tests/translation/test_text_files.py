"""Translation of files: the lines written and the messages reported."""

from __future__ import annotations

import gzip
import json
import re
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from allyouneed import Translator
from allyouneed.translation import line_blocks, line_translation
from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection import KeepOptions
from allyouneed.translation.requirements import Requirements
from allyouneed.translation.sentence_translation import TranslatedSentence
from allyouneed.translation.text_files import translate_file
from tests.conftest import toy_pairs, write_pairs

OPTIONS = SearchOptions(beam_size=1)


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def translate_text(translator, tmp_path, text, scores=False, as_json=False, **options):
    """Return the lines that `translate_file` writes for a text."""
    source, output = tmp_path / "source", tmp_path / "output"
    source.write_text(text)
    translate_file(translator, source, output, OPTIONS.replace(options), scores, print, as_json=as_json)
    return output.read_text().splitlines()


def test_an_empty_file_gives_an_empty_one(translator, tmp_path):
    assert translate_text(translator, tmp_path, "") == []


def test_an_empty_line_has_one_empty_hypothesis(translator, tmp_path):
    rows = translate_text(translator, tmp_path, "a b\n\nc\n", beam_size=2, num_hypotheses=2)
    assert [row.split(" ||| ")[0] for row in rows] == ["0", "0", "1", "2", "2"]
    assert rows[2] == "1 |||  ||| 0.0000"
    assert translate_text(translator, tmp_path, "\n", scores=True) == ["0.0000\t"]
    [line] = translate_text(translator, tmp_path, "\n", as_json=True)
    assert json.loads(line) == {
        "line": 1, "source": "", "text": "", "score": 0, "tokens": [], "log_probs": [], "hypotheses": [], "pieces": 0,
    }  # fmt: skip


def test_progress_is_reported_for_long_work_only(translator, tmp_path, monkeypatch):
    monkeypatch.setattr(line_translation, "_SILENT_SECONDS", -1)
    monkeypatch.setattr(line_translation, "_REPORT_SECONDS", 0)
    monkeypatch.setattr(line_blocks, "_MIN_LINES", 2)
    monkeypatch.setattr(line_blocks, "_MAX_LINES", 2)
    test, messages = write_pairs(tmp_path, "test", toy_pairs(5)), []
    options = OPTIONS.replace({"repetition_guard": False})  # whose reports are not of progress
    evaluate(translator, test, options, report=messages.append)
    assert [line.partition(" lines  ")[0] for line in messages] == ["2/5", "4/5", "5/5"]
    assert all(re.search(r" lines/s  \d+:\d\d left$", line) for line in messages)
    assert messages[-1].endswith("  0:00 left")
    messages.clear()
    translate_file(translator, test[0], tmp_path / "out", options, False, messages.append)
    assert [line.partition(" lines  ")[0] for line in messages] == ["2/5", "4/5", "5/5"]
    messages.clear()
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(test[0].read_bytes())))
    translate_file(translator, None, tmp_path / "out", options, False, messages.append)
    assert [line.partition(" lines  ")[0] for line in messages] == ["2", "4", "5"]
    assert all(line.endswith(" lines/s") for line in messages)
    messages.clear()
    monkeypatch.setattr(line_translation, "_SILENT_SECONDS", 1000)
    evaluate(translator, test, options, report=messages.append)
    assert messages == []


def test_whole_rows_of_a_table_are_translated_with_a_remark(translator, tmp_path, capsys):
    assert len(translate_text(translator, tmp_path, "a b\tb a\nc d\td c\n")) == 2
    assert "lines have several columns, separated by tabs" in capsys.readouterr().out
    translate_text(translator, tmp_path, "a b\nc\td\n")
    assert "columns" not in capsys.readouterr().out


def test_a_compressed_file_in_utf_16_is_translated(translator, tmp_path):
    lines = ["a b", "c d e"]
    (tmp_path / "source.bin").write_bytes(gzip.compress("\r\n".join(lines).encode("utf-16")))
    translate_file(translator, tmp_path / "source.bin", tmp_path / "out", OPTIONS, False, print)
    assert (tmp_path / "out").read_text().splitlines() == translate_text(translator, tmp_path, "a b\nc d e\n")


def test_at_most_twenty_problems_of_a_line_are_listed(translator, monkeypatch):
    said = []

    def many(translator, sentences, *_, **__):
        problems = [f"problem {number}" for number in range(30)]
        return [TranslatedSentence("x", problems=tuple(problems)) for _ in sentences]

    monkeypatch.setattr(line_translation, "translate_sentences", many)
    requirements = Requirements(KeepOptions())
    lines = line_translation.translate_lines(
        translator, iter([(3, "a {name} b")]), Path("f"), SearchOptions(), said.append, requirements=requirements
    )
    assert len(list(lines)) == 1
    assert said == [*(f"f:3: problem {number}" for number in range(20)), "f:3: 10 more problems"]
