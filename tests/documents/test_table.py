"""CSV and TSV: which columns are translated, and that everything else stays as it is."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.errors import UserError

CSV = '\ufeffid,name,text\r\n1,x_1,"Hello, ""you"" there"\r\n2,x_2,A dog runs\r\n3,,\r\n\r\n'


def read(text: str, name: str = "a.csv", columns=None):
    return read_document(text.encode(), ReadOptions(name, "en", "de", columns=columns))


def texts(document) -> list[str]:
    return [segment.text for segment in document.segments]


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet='ab ,;"\t\r\n12é'), st.sampled_from(["a.csv", "a.tsv"]))
def test_identity_keeps_every_byte(text, name):
    document = read(text, name)
    assert document.write([segment.source for segment in document.segments]) == text.encode()
    assert document.write([None for _ in document.segments]) == text.encode()


CELL = st.text(alphabet='ab ,;"\n12é', max_size=8)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=6), st.sampled_from(",;"), CELL)
def test_translations_are_read_back_by_the_csv_module(rows, delimiter, new):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows([["id", "text", "z"], *rows])
    document = read(f"sep={delimiter}\n" + buffer.getvalue(), columns=("text",))
    old = [row[1] for row in rows if any(map(str.isalpha, row[1]))]
    assert texts(document) == old
    written = document.write([(new,) for _ in old]).decode().partition("\n")[2]
    expected = [["id", "text", "z"], *([a, new if b in old else b, c] for a, b, c in rows)]
    assert list(csv.reader(io.StringIO(written, newline=""), delimiter=delimiter)) == expected


def test_columns_with_text_are_chosen():
    document = read(CSV)
    assert texts(document) == ['Hello, "you" there', "A dog runs"]
    assert document.notes == ("Translated columns: text. Choose others with --columns.",)
    assert document.segments[0].where == "line 2, column 3"
    written = document.write([('"Du", hallo',), ("Ein Hund, der",)]).decode()
    assert written == CSV.replace('"Hello, ""you"" there"', '"""Du"", hallo"').replace("A dog runs", '"Ein Hund, der"')


def test_columns_are_chosen_by_number_and_name():
    assert texts(read(CSV, columns=("2",))) == ["x_1", "x_2"]
    assert texts(read(CSV, columns=("text", "name")))[:2] == ["x_1", 'Hello, "you" there']
    with pytest.raises(UserError, match=r"no column size\. Columns are 1 to 3, or by name: id, name, text\."):
        read(CSV, columns=("size",))
    with pytest.raises(UserError, match="no column 4"):
        read(CSV, columns=("4",))


def test_the_delimiter_is_recognised():
    assert texts(read("A dog;1,5\nA cat;2,5\n")) == ["A dog", "A cat"]
    assert texts(read("A dog|1,5\nA cat|2,5\n")) == ["A dog", "A cat"]


def test_quotation_marks_within_cells_of_tsv_are_text():
    document = read('A "dog"\tx\n"A cat\ty\n', "a.tsv")
    assert texts(document) == ['A "dog"', '"A cat']
    assert document.write([("a\tb\nc",), None]).decode() == 'a b c\tx\n"A cat\ty\n'


def test_words_are_translated_if_there_are_no_sentences():
    assert texts(read("dog,1\ncat,2\n")) == ["dog", "cat"]


def test_formulas_are_kept():
    document = read_document(b"n,text\n1,a man\n2,=SUM(A1:A2)\n3,=== a man\n", ReadOptions("a.csv"))
    assert [segment.text for segment in document.segments] == ["a man", "=== a man"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sid,text\n", []),
        ("text\nA dog runs fast.\nA man.\n", ["A dog runs fast.", "A man."]),
        ("Hello,World\n", ["Hello", "World"]),
        ("hello\nworld\n", ["hello", "world"]),
        ("word\n", ["word"]),
    ],
)
def test_names_of_an_empty_table_and_of_a_single_column_are_kept(text, expected):
    document = read_document(text.encode(), ReadOptions("a.csv"))
    assert [segment.text for segment in document.segments] == expected
    assert bool(document.notes) == (text[:3] in ("sid", "tex"))
