"""Presentations: slides in their order, notes, fields, descriptions, and masters without their prompts."""

from __future__ import annotations

import re

from allyouneed.documents.document import ReadOptions, read_document
from tests.documents.office_files import A, entry, pptx


def shape(text: str, inside: str = "") -> str:
    return f"<p:sp>{inside}<p:txBody>{text}</p:txBody></p:sp>"


def paragraph(text: str) -> str:
    return f"<a:p><a:pPr/>{text}<a:endParaRPr lang='en-US'/></a:p>"


def run(text: str, attributes: str = "", inside: str = "") -> str:
    return f"<a:r><a:rPr lang='en-US' {attributes}>{inside}</a:rPr><a:t>{text}</a:t></a:r>"


def read(data: bytes, **options):
    return read_document(data, ReadOptions("a.pptx", **options))


def test_slides_are_read_in_the_order_of_the_presentation():
    document = read(pptx([shape(paragraph(run("one"))), shape(paragraph(run("two")))]))
    assert [(each.text, each.where) for each in document.segments] == [
        ("one", "slide 1, paragraph 1"),
        ("two", "slide 2, paragraph 1"),
    ]


def test_runs_fields_and_line_breaks():
    text = run("A do", "dirty='0'") + run("g", "err='1'") + "<a:br><a:rPr/></a:br>" + run("runs", "b='1'")
    text += "<a:fld id='{x}' type='slidenum'><a:t>7</a:t></a:fld>"
    document = read(pptx([shape(paragraph(text))]), source="en", target="de")
    [segment] = document.segments
    assert segment.text == "A dog runs7"
    translated = tuple(part.upper() if isinstance(part, str) else part for part in segment.source)
    assert entry(document.write([translated]), "ppt/slides/slide1.xml").count('lang="de-DE"') == 3
    assert (
        '<a:p><a:pPr/><a:r><a:rPr lang="de-DE" dirty="0"/><a:t>A DOG</a:t></a:r><a:br><a:rPr/></a:br>'
        '<a:r><a:rPr lang="de-DE" b="1"/><a:t>RUNS</a:t></a:r><a:fld id="{x}" type="slidenum"><a:t>7</a:t></a:fld>'
        '<a:endParaRPr lang="de-DE"/></a:p>'
    ) in entry(document.write([translated]), "ppt/slides/slide1.xml")


def test_charts():
    series = (
        "<c:tx><c:strRef><c:f>A!B1</c:f><c:strCache><c:pt idx='0'><c:v>dogs</c:v></c:pt></c:strCache></c:strRef></c:tx>"
    )
    numbers = "<c:val><c:numRef><c:numCache><c:pt idx='0'><c:v>4.3</c:v></c:pt></c:numCache></c:numRef></c:val>"
    title = f"<c:title><c:tx><c:rich>{paragraph(run('Animals'))}</c:rich></c:tx></c:title>"
    names = f'xmlns:c="{A.replace("main", "chart")}" xmlns:a="{A}"'
    chart = f'<c:chartSpace {names}><c:lang val="en-US"/>{title}{series}{numbers}</c:chartSpace>'
    data = pptx([shape(paragraph(run("one")))], chart=chart)
    document = read(data, source="en", target="de")
    assert [each.text for each in document.segments] == ["one", "Animals", "dogs"]
    result = entry(document.write([None, ("Tiere",), ("Hunde",)]), "ppt/chart/chart1.xml")
    assert result.count("<c:v>Hunde</c:v>") == result.count("<a:t>Tiere</a:t>") == result.count("<c:v>4.3</c:v>") == 1
    assert '<c:lang val="de-DE"/>' in result


def test_tabs_separate_texts():
    data = pptx([shape(paragraph(run("Name:\tA dog\t")))])
    document = read(data)
    assert [each.text for each in document.segments] == ["Name:", "A dog"]
    slide = entry(document.write([("Name:",), ("Ein Hund",)]), "ppt/slides/slide1.xml")
    assert "".join(re.findall("<a:t>(.*?)</a:t>", slide)) == "Name:\tEin Hund\t"


def test_links_are_formatting():
    link = run("here", "", "<a:hlinkClick r:id='r9' tooltip='more'/>")
    document = read(pptx([shape(paragraph(run("Look and click ") + link))]))
    assert [each.text for each in document.segments] == ["Look and click here", "more"]
    assert len(document.segments[0].source) == 4


def test_notes_and_layouts_without_prompts():
    prompt = shape(paragraph(run("Click to edit")), "<p:nvSpPr><p:nvPr><p:ph/></p:nvPr></p:nvSpPr>")
    layout = prompt + shape(paragraph(run("Our slogan")))
    data = pptx([shape(paragraph(run("one")))], notesSlide=shape(paragraph(run("say it"))), slideLayout=layout)
    document = read(data)
    assert [(each.text, each.where) for each in document.segments] == [
        ("one", "slide 1, paragraph 1"),
        ("say it", "slide 1, notes, paragraph 1"),
        ("Our slogan", "slide 1, slideLayout 1, paragraph 2"),
    ]
    assert document.write([each.source for each in document.segments]) == data
