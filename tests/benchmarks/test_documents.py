"""The check of documents finds what differs."""

from __future__ import annotations

import zipfile
from argparse import Namespace

import pytest

pytest.importorskip("lxml")

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.segments import Code
from benchmarks.documents import Outcome, examine, marks, page, sameness


class Changing:
    """A document that is written with other bytes."""

    segments, notes, suffix = (), (), None

    def __init__(self, written: bytes):
        self.written = written

    def write(self, translations) -> bytes:
        return self.written


def archive(path, xml: str, level: int) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as file:
        file.writestr("a.xml", xml)
    return path.read_bytes()


def test_equal_files_are_counted():
    outcome = Outcome()
    assert list(examine("a.json", b'{"a": "b c"}', outcome, None, Namespace())) == []
    assert (dict(outcome.kinds), outcome.segments) == ({"equal bytes": 1}, 1)


def test_refused_files_are_listed():
    outcome = Outcome()
    [remark] = examine("a.json", b"{", outcome, None, Namespace())
    assert remark.startswith("refused: a.json, line 1: not valid JSON")
    assert outcome.kinds["refused"] == 1


def test_archives_are_compared_by_content(tmp_path):
    data = archive(tmp_path / "a.zip", "<a b='1' c='2'/>", 1)
    same = archive(tmp_path / "b.zip", '<a  c="2" b="1"></a>', 9)
    other = archive(tmp_path / "c.zip", "<a b='1' c='3'/>", 1)
    assert [sameness(Changing(each), data, True) for each in (data, same, other)] == [
        "equal bytes",
        "equal content",
        "different",
    ]
    assert sameness(Changing(b"a"), b"b", True) == "different"


def test_codes_and_placeholders_are_counted():
    assert marks((Code("<b>"), "%d dogs %d", Code("</b>"))) == {"<b>": 1, "</b>": 1, "%d": 2}


def test_the_page_has_a_row_for_each_format(tmp_path):
    document = read_document(b"a\n", ReadOptions("a.txt"))
    outcome = Outcome(len(document.segments))
    outcome.kinds["equal bytes"] += 1
    text = page("2026-01-01", Namespace(folder=tmp_path, run=None), {"plain text": outcome}, ["a.txt: remark"])
    assert "| plain text | 1 | 1 | 1 | 0 | 0 | 0 | 0 | 0 | 0.0 |" in text
    assert "- a.txt: remark" in text
