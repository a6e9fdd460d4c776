"""Plain text by lines and by paragraphs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.errors import UserError

WRAPPED = """  Ein langer Absatz, der in einem Editor nach jeweils
  sechzig Zeichen umbrochen wurde, damit er in ein
  Fenster passt.

- Der erste Punkt einer Liste, der ebenfalls so lang ist,
  dass er zwei Zeilen braucht
- Der zweite

Max Muster
Hauptstraße 5
12345 Irgendwo, am Ende einer Straße, die wirklich lang ist
"""


def read(text: str | bytes, paragraphs: bool = False):
    data = text if isinstance(text, bytes) else text.encode()
    return read_document(data, ReadOptions("a.txt", paragraphs=paragraphs))


def test_lines_are_joined_to_paragraphs_and_wrapped_again():
    document = read(WRAPPED, True)
    assert [segment.text.split()[0] for segment in document.segments] == [
        "Ein",
        "Der",
        "Der",
        "Max",
        "Hauptstraße",
        "12345",
    ]
    assert document.segments[0].text.endswith(
        "nach jeweils sechzig Zeichen umbrochen wurde, damit er in ein Fenster passt."
    )
    assert document.segments[0].where == "lines 1 to 3"
    long = "wort " * 30
    written = document.write([(long.strip(),), (long.strip(),), None, None, None, None]).decode()
    first = written.split("\n\n")[0].split("\n")
    assert len(first) > 2
    assert all(line.startswith("  wort") and len(line) <= 60 for line in first)
    assert written.split("\n\n")[1].startswith("- wort")
    assert "\n  wort" in written.split("\n\n")[1]


@given(st.text("ab -.\n\r 1)=", max_size=60), st.booleans())
def test_identity(text, paragraphs):
    document = read(text, paragraphs)
    assert document.write([segment.source for segment in document.segments]) == text.encode()
    document.write([("x " * 50,) for _ in document.segments])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings_are_kept(encoding):
    data = "Käse größer schön über Straße, daß\r\nzwei\r\n".encode(encoding)
    document = read(data)
    assert document.segments[0].text.startswith("Käse größer")
    assert document.write([segment.source for segment in document.segments]) == data


def test_a_character_that_the_encoding_lacks_is_an_error():
    document = read("Käse größer schön über Straße, daß\n".encode("cp1252"))
    with pytest.raises(UserError, match="Convert the file to UTF-8"):
        document.write([("한국어",)])
