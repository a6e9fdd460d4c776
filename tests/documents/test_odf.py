"""OpenDocument: spaces, spans, marks, notes, sheets; comments, deletions, numbers and formulas are kept."""

from __future__ import annotations

import re
import zipfile
from io import BytesIO

import pytest

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.segments import Code, CodeKind, Parts
from allyouneed.errors import UserError
from tests.documents.office_files import ODF_NAMESPACES, entry, odf, zipped

REVISION = (
    '<style:style style:name="R" style:family="text"><style:text-properties xmlns:x="x" x:rsid="1"/></style:style>'
)
BOLD = '<style:style style:name="B" style:family="text"><style:text-properties fo:font-weight="bold"/></style:style>'


STRING = '<table:table-cell office:value-type="string"'


def read(data: bytes, name: str = "a.odt", **options):
    return read_document(data, ReadOptions(name, **options))


def shape(parts: Parts) -> str:
    forms = {CodeKind.OPEN: "[{}", CodeKind.CLOSE: "{}]", CodeKind.ALONE: "{{{}}}"}
    return "".join(forms[part.kind].format(part.pair) if isinstance(part, Code) else part for part in parts)


def upper(parts: Parts) -> Parts:
    return tuple(part.upper() if isinstance(part, str) else part for part in parts)


def shapes(body: str, **parts: str) -> list[str]:
    return [shape(each.source) for each in read(odf(body, **parts)).segments]


def written(body: str, **parts: str) -> str:
    document = read(odf(body, **parts))
    data = document.write([upper(each.source) for each in document.segments])
    return re.search("<office:text>(.*)</office:text>", entry(data, "content.xml"), re.DOTALL)[1]


@pytest.mark.parametrize(
    ("content", "expected", "result"),
    [
        ("\n  a\n  b ", "a b ", "A B "),
        ('a<text:s text:c="2"/>b', "a  b", "A <text:s/>B"),
        ("<text:s/>a", " a", "<text:s/>A"),
        ("a<text:line-break/>b", "a{1}b", "A<text:line-break/>B"),
        ("a<text:soft-page-break/>b", "ab", "AB"),
        ('a<text:span text:style-name="R">b</text:span>c', "abc", "ABC"),
        (
            'a<text:span text:style-name="B">b</text:span><text:span text:style-name="B">c</text:span> d',
            "a[1bc1] d",
            'A<text:span text:style-name="B">BC</text:span> D',
        ),
        (
            '<text:a xlink:href="u">x <text:span text:style-name="B">y</text:span></text:a> z',
            "[1x [2y2]1] z",
            '<text:a xlink:href="u">X <text:span text:style-name="B">Y</text:span></text:a> Z',
        ),
        (
            "page <text:page-number>3</text:page-number> of",
            "page {1} of",
            "PAGE <text:page-number>3</text:page-number> OF",
        ),
        (
            'a<text:bookmark-start text:name="m"/>b<text:bookmark-end text:name="m"/>',
            "a[1b1]",
            'A<text:bookmark-start text:name="m"/>B<text:bookmark-end text:name="m"/>',
        ),
        (
            "a<office:annotation><text:p>why?</text:p></office:annotation> b",
            "a{1} b",
            "A<office:annotation><text:p>why?</text:p></office:annotation><text:s/>B",
        ),
    ],
)
def test_content_of_paragraphs(content, expected, result):
    body = f"<text:p>{content}</text:p>"
    assert shapes(body, styles=REVISION + BOLD) == [expected]
    assert written(body, styles=REVISION + BOLD) == f"<text:p>{result}</text:p>"


def test_tabs_separate_texts():
    body = "<text:p>a<text:tab/>b <text:s/>c</text:p>"
    assert shapes(body) == ["a", "b  c"]
    assert written(body) == "<text:p>A<text:tab/>B <text:s/>C</text:p>"


def test_notes_text_boxes_and_descriptions_are_segments_of_their_own():
    note = "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>below</text:p>"
    note += "</text:note-body></text:note>"
    frame = "<draw:frame><svg:title>a dog</svg:title><draw:text-box><text:p>in the box</text:p></draw:text-box>"
    frame += "</draw:frame>"
    body = f"<text:h>Title</text:h><text:p>above{note}{frame}.</text:p>"
    assert shapes(body) == ["Title", "above{1}.", "below", "a dog", "in the box"]
    assert written(body) == (
        f"<text:h>TITLE</text:h><text:p>ABOVE{note.replace('below', 'BELOW')}"
        f"{frame.replace('a dog', 'A DOG').replace('in the box', 'IN THE BOX')}.</text:p>"
    )


def test_comments_and_deletions_are_kept_and_reported():
    deletion = (
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion>"
        "</text:changed-region></text:tracked-changes>"
    )
    document = read(odf(deletion + "<text:p>a<office:annotation><text:p>why?</text:p></office:annotation></text:p>"))
    assert [each.text for each in document.segments] == ["a"]
    assert document.notes == ["comments are not translated (1)"]


def cells(*contents: str) -> str:
    return f'<table:table table:name="Prices"><table:table-row>{"".join(contents)}</table:table-row></table:table>'


def test_sheets():
    body = cells(
        '<table:table-cell table:number-columns-repeated="2"/>',
        f"{STRING}><text:p>big dog</text:p></table:table-cell>",
        '<table:table-cell office:value-type="float" office:value="3.5"><text:p>3,50 EUR</text:p></table:table-cell>',
        f'{STRING} table:formula="of:=[.A1]&amp;&quot;done&quot;"><text:p>x</text:p></table:table-cell>',
        f"{STRING}><text:p>Done</text:p></table:table-cell>",
        f'{STRING} office:string-value="two"><text:p>two</text:p></table:table-cell>',
    )
    document = read(odf(body, "spreadsheet"), "a.ods")
    assert [(each.text, each.where) for each in document.segments] == [
        ("big dog", "sheet Prices, cell C1"),
        ("two", "sheet Prices, cell G1"),
    ]
    assert document.notes[0] == 'texts that formulas or tables refer to are not translated: "Done"'
    result = entry(document.write([("x",), ("y",)]), "content.xml")
    assert result.count("<text:p>x</text:p>") == 2
    assert 'office:string-value="y"><text:p>y</text:p>' in result
    assert "<text:p>3,50 EUR</text:p>" in result


def test_slides_and_placeholders():
    prompt = (
        '<draw:frame presentation:placeholder="true"><draw:text-box><text:p>Click</text:p></draw:text-box></draw:frame>'
    )
    body = f"<draw:page><text:p>one</text:p>{prompt}</draw:page><draw:page><text:p>two</text:p></draw:page>"
    document = read(odf(body, "presentation"), "a.odp")
    assert [(each.text, each.where) for each in document.segments] == [
        ("one", "slide 1, paragraph 1"),
        ("two", "slide 2, paragraph 1"),
    ]


def test_headers_properties_and_language():
    styles = '<style:default-style><style:text-properties fo:language="fr" fo:country="FR"/></style:default-style>'
    header = "<style:master-page><style:header><text:p>head</text:p></style:header></style:master-page>"
    meta = "<office:meta><dc:title>Title</dc:title><dc:language>en-US</dc:language></office:meta>"
    data = odf("<text:p>a</text:p>", meta=meta)
    with zipfile.ZipFile(BytesIO(data)) as archive:
        entries: dict = {name: archive.read(name) for name in archive.namelist()}
    entries["styles.xml"] = f"<office:document-styles {ODF_NAMESPACES}>{styles}{header}</office:document-styles>"
    data = zipped(entries, stored=("mimetype",))
    document = read(data, source="en", target="pt-BR")
    assert [each.text for each in document.segments] == ["a", "Title", "head"]
    assert document.write([each.source for each in document.segments]) == data
    result = document.write([("x",), None, None])
    assert 'fo:language="pt" fo:country="BR"' in entry(result, "styles.xml")
    assert "<dc:language>pt-BR</dc:language>" in entry(result, "meta.xml")
    with zipfile.ZipFile(BytesIO(result)) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)


def test_entities_are_kept():
    data = zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": f'<!DOCTYPE x [<!ENTITY e "text">]>\n<office:document-content {ODF_NAMESPACES}>'
            "<text:p>a &e; b</text:p></office:document-content>",
        }
    )
    document = read(data)
    assert [shape(each.source) for each in document.segments] == ["a {1} b"]
    result = entry(document.write([upper(each.source) for each in document.segments]), "content.xml")
    assert '<!ENTITY e "text">' in result
    assert "<text:p>A &e; B</text:p>" in result


def test_one_xml_file():
    body = "<office:body><office:text><text:p>a b</text:p></office:text></office:body>"
    data = f"<office:document {ODF_NAMESPACES}>{body}</office:document>".encode()
    document = read(data, "a.fodt", source="en", target="de")
    assert document.write([each.source for each in document.segments]) == data
    assert document.write([("x",)]) == data.replace(b"a b", b"x")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zipped({"mimetype": "application/epub+zip", "content.xml": "<x/>"}), "a zip archive, but not an OpenDocument"),
        (zipped({"word/document.xml": "<x/>"}), "a zip archive, but not an OpenDocument"),
        (b"<x/>", "an XML file, but not an OpenDocument"),
        (b"<x>", "malformed or excessive XML"),
        (odf("<text:p>a</text:p>")[:-50], "the archive is damaged"),
    ],
)
def test_other_files_are_refused(data, message):
    with pytest.raises(UserError, match=message):
        read(data)


def test_protected_documents_are_refused():
    with zipfile.ZipFile(BytesIO(odf("<text:p>a</text:p>"))) as archive:
        entries: dict = {name: archive.read(name) for name in archive.namelist()}
    entries["META-INF/manifest.xml"] = "<manifest><encryption-data/></manifest>"
    with pytest.raises(UserError, match="protected by a password"):
        read(zipped(entries))
