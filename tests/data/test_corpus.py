import random

import numpy as np
import pytest

from allyouneed.data.corpus import CorpusReport, PairChecks, count_pairs
from allyouneed.data.files.formats import RawPair, read_pairs
from allyouneed.data.files.sides import first_mismatch
from allyouneed.errors import UserError


def test_text_faults():
    checks = PairChecks(max_length=10, max_ratio=3)
    assert checks.text_fault(RawPair(1, "a", "b")) is None
    assert checks.text_fault(RawPair(4, "", "b")) == "empty side"
    assert checks.text_fault(RawPair(5, "a", "d", "not UTF-8")) == "not UTF-8"
    assert checks.text_fault(RawPair(6, "a", "\u200b\u200d \u2060")) == "empty side"
    assert checks.text_fault(RawPair(7, "नमस्\u200dते", "\u200bx")) is None


def test_length_faults():
    checks = PairChecks(max_length=40, max_ratio=3)
    assert checks.length_fault(40, 14) is None
    assert checks.length_fault(41, 40).startswith("too long")
    assert checks.length_fault(9, 2).startswith("ratio")
    assert checks.length_fault(8, 1) is None
    assert checks.length_fault(0, 3) == checks.length_fault(3, 0) == checks.length_fault(0, 0) == "empty side"


def test_report_has_counts_and_line_numbers():
    report = CorpusReport(["a", "b"], pairs=10, kept=5)
    for line in (3, 4, 5, 6):
        report.drop(RawPair(line, "x", "y"), "duplicate")
    report.drop(RawPair(9, "", "y"), "empty side")
    assert list(report.lines()) == [
        "a b: 10 pairs, 5 kept (50.0%)",
        "  dropped 4: duplicate (line 3, 4, 5, ...)",
        "  dropped 1: empty side (line 9)",
    ]


@pytest.mark.parametrize("missing", [40, 500, 950])
def test_first_mismatch_finds_a_missing_line(missing):
    rng = np.random.default_rng(0)
    source = rng.integers(10, 120, 1000)
    target = np.round(source * rng.normal(1.1, 0.1, 1000)).astype(int)
    assert abs(first_mismatch(source, np.delete(target, missing)) - 1 - missing) < 15


def test_unequal_line_counts_are_reported_with_the_likely_line(tmp_path):
    rng = random.Random(1)
    lines = ["w " * rng.randint(2, 40) for _ in range(300)]
    source, target = tmp_path / "a.de", tmp_path / "a.en"
    source.write_text("\n".join(lines) + "\n")
    target.write_text("\n".join(lines[:200] + lines[201:]) + "\n")
    with pytest.raises(UserError, match=r"a\.de has 300 lines and .*a\.en has 299 lines.*near line 20\d"):
        count_pairs([source, target])


def test_no_files_are_refused():
    for read in (count_pairs, lambda paths: list(read_pairs(paths))):
        with pytest.raises(UserError, match="give two parallel text files, or files with both sides"):
            read([])


def test_short_and_empty_files(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_text("one\n")
    target.write_text("")
    with pytest.raises(UserError, match=r"has 1 lines and .*has 0 lines"):
        count_pairs([source, target])
