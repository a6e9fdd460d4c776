"""PDF: lines become paragraphs and headings, which are written as a Word document or an HTML page."""

from __future__ import annotations

import zlib

import pytest

pytest.importorskip("pdfminer")

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.formats.pdf import layout
from allyouneed.documents.formats.pdf.layout import Line
from allyouneed.documents.formats.pdf.paragraphs import Paragraph, paragraphs
from allyouneed.errors import UserError
from tests.documents.office_files import entry


def pdf(pages: list[list[tuple[int, int, int, str]]], compressed: bytes | None = None) -> bytes:
    """Return a PDF document with lines of text: left edge, height, size and text."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for page in pages:
        drawn = "".join(f"BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET\n" for x, y, size, text in page).encode()
        filters = b"/Filter/FlateDecode" if compressed else b""
        stream = compressed or drawn
        objects.append(b"<</Length %d%s>>stream\n%s\nendstream" % (len(stream), filters, stream))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents %d 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
            % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    out, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    end = b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (count, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % count + table + end


PAGE = [
    (72, 700, 20, "A Title"),
    (72, 660, 10, "The quick brown fox jumps over the lazy dog and runs far a-"),
    (72, 648, 10, "way into the dark green forest, where the other animals"),
    (72, 636, 10, "live."),
]


def read(data: bytes, output: str = ""):
    return read_document(data, ReadOptions("a.pdf", "en", "de", output_suffix=output))


def test_text_is_written_as_a_word_document():
    document = read(pdf([PAGE]))
    text = "The quick brown fox jumps over the lazy dog and runs far away into the dark green forest, where the other"
    text += " animals live."
    assert [(each.text, each.where) for each in document.segments] == [("A Title", "page 1"), (text, "page 1")]
    assert document.suffix == ".docx"
    assert document.notes[0].startswith("the text is written as a Word document; pictures, layout")
    data = document.write([("Ein <Titel>",), None])
    assert 'w:val="Heading1"/></w:pPr><w:r><w:t xml:space="preserve">Ein &lt;Titel&gt;</w:t>' in entry(
        data, "word/document.xml"
    )
    again = read_document(data, ReadOptions("a.docx"))
    assert [each.text for each in again.segments] == ["Ein <Titel>", text]
    assert 'w:val="de-DE"' in entry(data, "word/styles.xml")


def test_text_is_written_as_an_html_page():
    document = read(pdf([PAGE]), ".html")
    assert document.suffix == ".html"
    page = document.write([("Ein <Titel>",), None]).decode()
    assert '<html lang="de">' in page
    assert "<h1>Ein &lt;Titel&gt;</h1>\n<p>The quick" in page
    again = read_document(page.encode(), ReadOptions("a.html"))
    assert [each.text for each in again.segments][1] == "Ein <Titel>"


def test_damaged_and_empty_documents_are_refused():
    for data, message in (
        (b"text", "not a readable PDF document"),
        (b"%PDF-1.4\n" + bytes(100), "not a readable PDF document"),
        (pdf([[]]), "no text, only pictures"),
    ):
        with pytest.raises(UserError, match=message):
            read(data)


@pytest.mark.parametrize(("limit", "value"), [("MAX_SECONDS", 1), ("MAX_MEMORY", 100 << 20)])
def test_time_and_memory_are_bounded(monkeypatch, limit, value):
    monkeypatch.setattr(layout, limit, value)
    bomb = zlib.compress(b"q\n" * (30 << 20), 1)
    with pytest.raises(UserError, match=r"a\.pdf: reading it needs more than"):
        read(pdf([PAGE], compressed=bomb))


def line(
    text: str, page: int = 1, block: int = 0, left: float = 72, right: float = 500, bottom: float = 600, size=10.0
):
    return Line(text, page, block, left, right, bottom, size, False)


def test_paragraphs_continue_in_the_next_column_and_on_the_next_page():
    lines = [
        line("It begins in one"),
        line("column and", block=1, bottom=700),
        line("note", block=2, size=8),
        line("ends here.", 2),
    ]
    assert [each.text for each in paragraphs(lines)] == ["It begins in one column and ends here.", "note"]


def test_repeated_headers_and_page_numbers_are_left_out():
    lines = [
        each
        for page in range(1, 5)
        for each in (
            line("My Book", page, 0, bottom=780),
            line(f"Text {'abcd'[page - 1]}.", page, 1),
            line(f"{page}", page, 2, bottom=20),
        )
    ]
    assert [each.text for each in paragraphs(lines)] == ["Text a.", "Text b.", "Text c.", "Text d."]


def test_short_lines_that_end_a_sentence_end_a_paragraph():
    block = [line("One one one one"), line("one.", right=100), line("Two two"), line("• three"), line("• four")]
    assert [each.text for each in paragraphs(block)] == ["One one one one one.", "Two two", "• three", "• four"]
    numbered = [line("1. One"), line("1.1. Two"), line("1.2. Three"), line("2 dogs")]
    assert [each.text for each in paragraphs(numbered)] == ["1. One", "1.1. Two", "1.2. Three 2 dogs"]


def test_headings_by_size():
    lines = [line("Big", size=20.0), line("Medium", block=1, size=14.0), line("text " * 20, block=2)]
    found = paragraphs(lines)
    assert [each.level for each in found] == [1, 2, 0]
    assert found[0] == Paragraph("Big", 1, 1)


def test_scripts_without_spaces_are_joined_without_spaces():
    assert [each.text for each in paragraphs([line("日本語の"), line("文章です。")])] == ["日本語の文章です。"]


def test_dots_of_a_table_of_contents_and_ligatures():
    assert [each.text for each in paragraphs([line("1 The ﬁrst . . . . . . . 7"), line(". . . . .", block=1)])] == [
        "1 The first 7"
    ]
