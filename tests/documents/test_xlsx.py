"""Workbooks: text of cells is translated; numbers, dates, formulas and what refers to text agree afterwards.

Workbooks are written and read again with openpyxl, which shares no code with the reader under test.
"""

from __future__ import annotations

import re
import zipfile
from datetime import date
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.formats.office.worksheets import column_letters, column_number
from tests.documents.office_files import R, entry, zipped

openpyxl = pytest.importorskip("openpyxl")
from openpyxl.cell.rich_text import CellRichText, TextBlock  # noqa: E402
from openpyxl.cell.text import InlineFont  # noqa: E402
from openpyxl.chart import BarChart, Reference  # noqa: E402
from openpyxl.comments import Comment  # noqa: E402
from openpyxl.worksheet.datavalidation import DataValidation  # noqa: E402
from openpyxl.worksheet.table import Table  # noqa: E402

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
SHARED = "xl/sharedStrings.xml"
SHARED_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"


def saved(book) -> bytes:
    file = BytesIO()
    book.save(file)
    return file.getvalue()


def workbook(rows: list[list]):
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in rows:
        book.active.append(row)
    return book


def read(data: bytes):
    return read_document(data, ReadOptions("a.xlsx", source="en", target="de"))


def upper(parts):
    return tuple(part.upper() if isinstance(part, str) else part for part in parts)


def translated(data: bytes):
    """Return the workbook with its text in capital letters."""
    document = read(data)
    assert document.write([each.source for each in document.segments]) == data
    return openpyxl.load_workbook(BytesIO(document.write([upper(each.source) for each in document.segments])))


def values(book) -> list[list]:
    return [[cell.value for cell in row] for row in book.active.iter_rows()]


def texts(data: bytes) -> list[str]:
    return [each.text for each in read(data).segments]


def test_text_is_translated_and_nothing_else():
    rows = [["big dog", 1.5, date(2026, 11, 30), True, None], ["=B1*2", '=A1&" x"', 7, "12", "small\ndog"]]
    data = saved(workbook(rows))
    segments = read(data).segments
    assert [(each.text, each.where) for each in segments if each.where.startswith("sheet")] == [
        ("big dog", "sheet Prices, cell A1"),
        ("12", "sheet Prices, cell D2"),
        ("small dog", "sheet Prices, cell E2"),
    ]
    found = values(translated(data))
    assert found[0] == ["BIG DOG", 1.5, found[0][2], True, None]
    assert found[0][2].date() == date(2026, 11, 30)
    assert found[1] == ["=B1*2", '=A1&" x"', 7, "12", "SMALL\nDOG"]


def test_formatted_text_in_a_cell():
    text = CellRichText("a ", TextBlock(InlineFont(b=True), "bold"), " dog")
    data = saved(workbook([[text]]))
    file = BytesIO(read(data).write([upper(each.source) for each in read(data).segments]))
    found = openpyxl.load_workbook(file, rich_text=True).active["A1"].value
    assert str(found) == "A BOLD DOG"
    assert [str(part) for part in found if isinstance(part, TextBlock) and part.font.b] == ["BOLD"]


def test_spaces_and_entities_of_cells_are_kept():
    assert values(translated(saved(workbook([[" a  b ", "<&>", "x\u2028y"]])))) == [[" A  B ", "<&>", "X\u2028Y"]]


def test_text_that_formulas_compare_with_is_kept():
    book = workbook([["done", '=IF(A1="Done",1,0)'], ["open", "big"], ["yes", "other"]])
    book.active.add_data_validation(DataValidation("list", formula1='"yes, no"', sqref="A3"))
    document = read(saved(book))
    assert [each.text for each in document.segments if each.where.startswith("sheet")] == ["open", "big", "other"]
    note = 'texts that formulas or tables refer to are not translated: "done", "yes"'
    assert note in document.notes


def test_charts_show_what_cells_show():
    book = workbook([["done", '=COUNTIF(A1:A9,"done")'], ["big", 2]])
    chart = BarChart()
    chart.title, chart.y_axis.title = "done", "number of dogs"
    chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=2))
    book.active.add_chart(chart)
    assert sorted(texts(saved(book))) == ["big", "number of dogs"]


def table_book(formula: str | None = None):
    book = workbook([["price", "price\nnow", "note"], [1, 2, "good"], [3, 4, formula or "bad"]])
    book.active.add_table(Table(displayName="Goods", ref="A1:C3"))
    return book


def test_columns_of_tables_have_the_names_of_their_cells():
    book = translated(saved(table_book()))
    assert values(book)[0] == ["PRICE", "PRICE\nNOW", "NOTE"]
    assert book.active.tables["Goods"].column_names == ["PRICE", "PRICE\nNOW", "NOTE"]


def test_columns_that_formulas_name_are_kept():
    book = translated(saved(table_book("=SUM(Goods[price])")))
    assert values(book)[0] == ["price", "price\nnow", "note"]
    assert book.active.tables["Goods"].column_names == ["price", "price\nnow", "note"]


def test_columns_of_a_table_stay_distinct():
    document = read(saved(table_book()))
    data = document.write([("same",) if "price" in each.text else ("bemerkung",) for each in document.segments])
    book = openpyxl.load_workbook(BytesIO(data))
    assert values(book)[0] == ["price", "price\nnow", "bemerkung"]
    assert book.active.tables["Goods"].column_names[2] == "bemerkung"


def test_page_headers_keep_their_codes():
    book = workbook([["a"]])
    book.active.oddHeader.left.text = "Report & more &[Page]"
    book.active.oddFooter.center.text = "Page &P of &N"
    document = read(saved(book))
    assert [each.text for each in document.segments][1:3] == ["Report & more 1", "Page 1 of 1"]
    data = document.write([upper(each.source) for each in document.segments])
    sheet = entry(data, "xl/worksheets/sheet1.xml")
    assert "<oddHeader>&amp;LREPORT &amp;&amp; MORE &amp;P</oddHeader>" in sheet.replace(
        "REPORT &amp; ", "REPORT &amp;&amp; "
    )
    assert "<oddFooter>&amp;CPAGE &amp;P OF &amp;N</oddFooter>" in sheet


def test_comments_are_kept():
    book = workbook([["a"]])
    book.active["A1"].comment = Comment("why?", "me")
    assert translated(saved(book)).active["A1"].comment.text == "why?"
    assert "comments are not translated (1)" in read(saved(book)).notes


def shared(data: bytes) -> bytes:
    """Return a workbook with shared strings, as Excel writes it, instead of text in its cells."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        entries: dict = {name: archive.read(name) for name in archive.namelist()}
    strings: list[str] = []

    def number(match: re.Match) -> str:
        if match[2] not in strings:
            strings.append(match[2])
        return f'{match[1]}t="s"><v>{strings.index(match[2])}</v></c>'

    sheet = entries["xl/worksheets/sheet1.xml"].decode()
    sheet = re.sub(r'(<c [^>]*)t="inlineStr"><is>(.*?)</is></c>', number, sheet, flags=re.DOTALL)
    items = "".join(f"<si>{string}</si>" for string in [*strings, "<t>unused</t>"])
    entries["xl/worksheets/sheet1.xml"] = sheet
    for name, end, more in (
        ("[Content_Types].xml", "</Types>", f'<Override PartName="/{SHARED}" ContentType="{SHARED_TYPE}"/>'),
        ("xl/_rels/workbook.xml.rels", "</Rel", f'<Relationship Type="{R}/sharedStrings" Target="/{SHARED}" Id="r9"/>'),
    ):
        entries[name] = entries[name].decode().replace(end, more + end)
    entries[SHARED] = f'<sst xmlns="{MAIN}">{items}</sst>'
    return zipped(entries)


@pytest.mark.parametrize("stored", [saved, lambda book: shared(saved(book))], ids=["own", "shared"])
def test_shared_strings_and_text_in_cells_are_the_same_to_users(stored):
    rows = [["big dog", 1.5, "big dog"], [3, " x ", "=A2"]]
    data = stored(workbook(rows))
    assert values(translated(data)) == [["BIG DOG", 1.5, "BIG DOG"], [3, " X ", "=A2"]]
    book = translated(stored(table_book()))
    assert book.active.tables["Goods"].column_names == ["PRICE", "PRICE\nNOW", "NOTE"]
    assert values(book)[0] == ["PRICE", "PRICE\nNOW", "NOTE"]
    assert "unused" not in texts(data)


def test_unused_strings_and_escapes():
    book = saved(workbook([["a_x0041_b"]]))
    assert texts(book)[0].startswith("a")
    assert values(translated(book)) == [["A_x0041_B"]] or values(translated(book)) == [["A_X0041_B"]]


@settings(deadline=None)
@given(st.integers(1, 18_278))
def test_letters_of_columns(number):
    assert column_number(column_letters(number)) == number
    assert column_letters(number) == openpyxl.utils.get_column_letter(number)
