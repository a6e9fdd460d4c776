"""The registry of document formats, and plain text."""

from __future__ import annotations

import pytest

from allyouneed.documents.document import FORMATS, ReadOptions, format_of, read_document
from allyouneed.errors import UserError


def test_suffixes_are_unique():
    suffixes = [suffix for each in FORMATS if each.pattern is None for suffix in each.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_an_unknown_suffix_is_refused():
    with pytest.raises(UserError, match=r"a\.xyz: this file type is not supported"):
        format_of("a.xyz")


@pytest.mark.parametrize("text", ["", "\n", "one\r\n\r\n two \rthree", "하나\n둘"])
def test_plain_text_is_kept_by_identity(text):
    document = read_document(text.encode(), ReadOptions("a.txt"))
    assert document.write([segment.source for segment in document.segments]) == text.encode()
    assert document.write([None for _ in document.segments]) == text.encode()


def test_lines_are_translated():
    document = read_document(b"one\r\n\r\ntwo\n", ReadOptions("a.txt"))
    assert [segment.where for segment in document.segments] == ["line 1", "line 3"]
    assert document.write([("eins",), ("zwei",)]) == b"eins\r\n\r\nzwei\n"
