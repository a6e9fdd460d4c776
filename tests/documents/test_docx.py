"""Word documents: runs become sentences, and everything beside text stays."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.segments import Code, CodeKind, Parts
from tests.documents.office_files import docx, entry, run

BOLD, ITALIC = "<w:b/>", "<w:i/>"
FIELD = (
    '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>{code}</w:instrText></w:r>'
    '<w:r><w:fldChar w:fldCharType="separate"/></w:r>{result}<w:r><w:fldChar w:fldCharType="end"/></w:r>'
)


def paragraph(*runs: str) -> str:
    return f"<w:p>{''.join(runs)}</w:p>"


def read(data: bytes, **options):
    return read_document(data, ReadOptions("a.docx", **options))


def shape(parts: Parts) -> str:
    """Return text with codes as [1, 1] and {1}."""
    forms = {CodeKind.OPEN: "[{}", CodeKind.CLOSE: "{}]", CodeKind.ALONE: "{{{}}}"}
    return "".join(forms[part.kind].format(part.pair) if isinstance(part, Code) else part for part in parts)


def shapes(body: str) -> list[str]:
    return [shape(segment.source) for segment in read(docx(body)).segments]


def upper(parts: Parts) -> Parts:
    return tuple(part.upper() if isinstance(part, str) else part for part in parts)


def written(body: str, **parts: str) -> str:
    """Return the body with its text in capital letters."""
    document = read(docx(body, **parts))
    data = document.write([upper(segment.source) for segment in document.segments])
    return re.search("<w:body>(.*)</w:body>", entry(data, "word/document.xml"), re.DOTALL)[1]


def test_runs_of_equal_formatting_are_one_text():
    runs = (
        run("A do", '<w:lang w:val="en-US"/>'), '<w:proofErr w:type="spellStart"/>', run("g r", "<w:noProof/>"),
        '<w:r w:rsidR="00A1"><w:lastRenderedPageBreak/><w:t>uns.</w:t></w:r>',
    )  # fmt: skip
    assert shapes(paragraph(*runs)) == ["A dog runs."]
    assert shapes(paragraph(run("Here is a "), run("big", BOLD), run(" dog", BOLD), run("."))) == [
        "Here is a [1big dog1]."
    ]


def test_the_most_frequent_formatting_needs_no_code():
    body = paragraph(run("All of this is bold, ", BOLD), run("this not", ""), run(".", BOLD))
    assert shapes(body) == ["All of this is bold, [1this not1]."]
    assert written(body) == (
        '<w:p><w:r><w:rPr><w:b/></w:rPr><w:t xml:space="preserve">ALL OF THIS IS BOLD, </w:t></w:r>'
        "<w:r><w:t>THIS NOT</w:t></w:r><w:r><w:rPr><w:b/></w:rPr><w:t>.</w:t></w:r></w:p>"
    )


def test_spaces_between_words_do_not_end_a_stretch_of_formatting():
    assert shapes(paragraph(run("Look at "), run("two", BOLD), run(" "), run("dogs", BOLD), run(" there."))) == [
        "Look at [1two dogs1] there."
    ]
    assert shapes(paragraph(run("Look at the "), run("two", BOLD), run(" ", "<w:u/>"), run("dogs", BOLD))) == [
        "Look at the [1two1][2 2][3dogs3]"
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<w:r><w:br/></w:r>", "a{1}b"),
        ('<w:r><w:footnoteReference w:id="2"/></w:r>', "a{1}b"),
        ("<w:r><w:noBreakHyphen/></w:r>", "a\u2011b"),
        ("<w:r><w:softHyphen/></w:r>", "ab"),
        (f'<w:hyperlink r:id="r1">{run("x", "<w:u/>")}</w:hyperlink>', "a[1x1]b"),
        (f"<w:ins>{run('x')}</w:ins>", "a[1x1]b"),
        ("<w:del><w:r><w:delText>x</w:delText></w:r></w:del>", "a{1}b"),
        (f"<w:moveFrom>{run('x')}</w:moveFrom>", "a{1}b"),
        (run("x", "<w:vanish/>"), "a{1}b"),
        (run("x", '<w:vanish w:val="0"/>'), "a[1x1]b"),
        (f"<w:smartTag><w:smartTagPr/>{run('x')}</w:smartTag>", "a[1x1]b"),
        (f"<w:sdt><w:sdtPr/><w:sdtContent>{run('x')}</w:sdtContent></w:sdt>", "a[1x1]b"),
        (f"<w:sdt><w:sdtPr><w:date/></w:sdtPr><w:sdtContent>{run('x')}</w:sdtContent></w:sdt>", "a{1}b"),
        (f'<w:fldSimple w:instr=" PAGE ">{run("3")}</w:fldSimple>', "a{1}b"),
        (f'<w:bookmarkStart w:id="1"/>{run("x")}<w:bookmarkEnd w:id="1"/>', "a[1x1]b"),
        (f'<w:bookmarkStart w:id="1"/>{run("x")}', "a{1}xb"),
        (f'<w:commentRangeStart w:id="1"/>{run("x")}<w:commentRangeEnd w:id="1"/>', "a[1x1]b"),
        (f"<w:r><w:ruby><w:rt>{run('k')}</w:rt><w:rubyBase>{run('x')}</w:rubyBase></w:ruby></w:r>", "a{1}b"),
        (FIELD.format(code=" PAGE ", result=run("3")), "a{1}b"),
        (FIELD.format(code=' HYPERLINK "u" ', result=run("x")), "a[1x1]b"),
        (FIELD.format(code=" IF ", result=FIELD.format(code=" PAGE ", result=run("3"))), "a{1}b"),
    ],
)
def test_content_beside_text_becomes_codes_and_stays(content, expected):
    body = paragraph(run("a"), content, run("b"))
    assert shapes(body) == [expected]
    result = written(body)
    elements = Counter(re.findall(r"<w:(\w+)(?=[ />])", result)) - Counter(("r", "t"))
    stale = {"r", "t", "softHyphen"}
    assert {n: c for n, c in elements.items() if n not in stale} == {
        n: c for n, c in Counter(re.findall(r"<w:(\w+)(?=[ />])", body)).items() if n not in stale
    }
    assert re.search(">A.*B</w:t></w:r></w:p>", result)


def test_tabs_separate_texts_beside_formatted_text():
    tab = "<w:r><w:tab/></w:r>"
    body = paragraph(run("Name: ", BOLD), tab, run("A long-haired dog"), tab, tab)
    document = read(docx(body))
    assert [(shape(each.source), each.where) for each in document.segments] == [
        ("[1Name: 1]", "paragraph 1"),
        ("A long-haired dog", "paragraph 1"),
    ]
    second = entry(document.write([None, ("X",)]), "word/document.xml")
    assert second.count("<w:tab/>") == 3
    assert re.search(r"Name: </w:t></w:r><w:r><w:tab/></w:r><w:r><w:t>X</w:t></w:r>", second)
    assert written(body).count("<w:tab/>") == 3
    assert shapes(paragraph(f'<w:hyperlink r:id="r1">{run("a")}{tab}{run("b")}</w:hyperlink>')) == ["[1a{2}b1]"]


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.tuples(st.sampled_from(["", BOLD, ITALIC, "<w:u/>"]), st.text("ab ", min_size=1, max_size=4)),
        lambda inner: st.tuples(
            st.sampled_from(["hyperlink", "ins", "bookmark", "field"]), st.lists(inner, max_size=4)
        ),
        max_leaves=8,
    )
)
def test_every_character_keeps_its_formatting_and_its_place_among_elements(tree):
    body = paragraph(content(tree))
    result = written(body)
    assert characters(result) == [(character.upper(), *rest) for character, *rest in characters(body)]
    kinds = r"<w:(hyperlink|ins|bookmarkStart|bookmarkEnd|fldChar|instrText)[ />]"
    assert Counter(re.findall(kinds, result)) == Counter(re.findall(kinds, body))


def content(tree) -> str:
    kind, inside = tree
    if isinstance(inside, str):
        return run(inside, kind)
    text = "".join(map(content, inside))
    if kind == "field":
        return FIELD.format(code="HYPERLINK", result=text)
    if kind == "bookmark":
        number = len(text)
        return f'<w:bookmarkStart w:id="{number}"/>{text}<w:bookmarkEnd w:id="{number}"/>'
    return f"<w:{kind}>{text}</w:{kind}>"


def characters(body: str) -> list[tuple[str, str, str]]:
    """Return each visible character with its formatting and the elements around its run."""
    found, around, formatting = [], [], ""
    for tag, text in re.findall(r"<([^>]*)>([^<]*)", body):
        name = re.match(r"/?w:(\w+)", tag)[1]
        if name in ("hyperlink", "ins") and not tag.endswith("/"):
            around.pop() if tag.startswith("/") else around.append(name)
        formatting = "" if tag == "w:r" else tag if tag in ("w:b/", "w:i/", "w:u/") else formatting
        if name == "t":
            found += [(each, formatting, " ".join(around)) for each in text if not each.isspace()]
    return found


def test_the_visible_text_of_codes_is_known():
    [segment] = read(docx(paragraph(run("Page "), FIELD.format(code=" PAGE ", result=run("3")), run(".")))).segments
    assert segment.text == "Page 3."
    ruby = f"<w:r><w:ruby><w:rt>{run('k')}</w:rt><w:rubyBase>{run('x')}</w:rubyBase></w:ruby></w:r>"
    [segment] = read(docx(paragraph(run("a"), ruby))).segments
    assert segment.text == "ax"


def test_ranges_that_overlap_are_kept_in_order():
    marks = [f'<w:bookmark{kind} w:id="{i}"/>' for i, kind in ((1, "Start"), (2, "Start"), (1, "End"), (2, "End"))]
    body = paragraph(marks[0], run("a"), marks[1], run("b"), marks[2], run("c"), marks[3])
    assert shapes(body) == ["[1a{2}b1]c{3}"]
    assert re.findall(r"<w:bookmark\w+ w:id=\"\d\"/>|(?<=>)[A-C](?=<)", written(body)) == [
        marks[0], "A", marks[1], "B", marks[2], "C", marks[3],
    ]  # fmt: skip


def test_spaces_between_formattings_are_outside():
    body = paragraph(run("Look at the "), run("two", BOLD), run(" ", BOLD), run("dogs there"))
    assert shapes(body) == ["Look at the [1two1] dogs there"]


def test_headers_notes_and_text_boxes_are_segments_of_their_own():
    box = f"<w:r><w:pict><w:txbxContent>{paragraph(run('in the box'))}</w:txbxContent></w:pict></w:r>"
    body = paragraph(run("around "), box, run("it"))
    document = read(docx(body, header1=paragraph(run("head")), footnotes=paragraph(run("foot"))))
    assert [(shape(each.source), each.where) for each in document.segments] == [
        ("around {1}it", "paragraph 1"), ("in the box", "paragraph 2"),
        ("head", "header 1, paragraph 1"), ("foot", "footnotes, paragraph 1"),
    ]  # fmt: skip
    data = document.write([upper(each.source) for each in document.segments])
    assert ">IN THE BOX<" in entry(data, "word/document.xml")
    assert ">HEAD<" in entry(data, "word/header1.xml")
    assert ">FOOT<" in entry(data, "word/footnotes.xml")


def test_descriptions_of_pictures_are_translated_and_file_names_not():
    picture = "<w:r><w:drawing><wp:inline><wp:docPr id='1' name='Picture 1' descr='{}'/></wp:inline></w:drawing></w:r>"
    body = paragraph(picture.format("a red dog"), picture.format("dog.png"))
    assert shapes(body) == ["a red dog"]
    assert 'descr="A RED DOG"' in written(body)


def test_paragraphs_of_other_namespaces_are_kept():
    body = paragraph(run("text")) + '<p xmlns="http://example.com/x">other</p>'
    assert [shape(each.source) for each in read(docx(body)).segments] == ["text"]
    assert "other</p>" in written(body)


def test_comments_are_kept_and_reported():
    document = read(docx(paragraph(run("a")), comments=f"<w:comment>{paragraph(run('why?'))}</w:comment>"))
    assert [each.text for each in document.segments] == ["a"]
    assert document.notes == ["comments are not translated (1)"]


def test_fields_over_several_paragraphs():
    """A table of contents begins in its first entry and ends in a paragraph of its own."""
    marks = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>TOC</w:instrText></w:r>'
    marks += '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
    link = '<w:hyperlink w:anchor="t">{}</w:hyperlink>'
    tab = "<w:r><w:tab/></w:r>"
    number = FIELD.format(code="PAGEREF t", result=run("7"))
    end = '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    body = paragraph(marks, link.format(run("First") + tab + number)) + paragraph(link.format(run("Second")))
    body += paragraph(end)
    assert shapes(body) == ["{1}[2First{3}{4}2]", "[1Second1]"]
    kinds = re.findall('fldCharType="(.*?)"', written(body))
    assert kinds == ["begin", "separate", "begin", "separate", "end", "end"]


def test_codes_that_a_translation_lacks_are_added_at_the_end():
    document = read(docx(paragraph(run("a"), '<w:r><w:footnoteReference w:id="2"/></w:r>', run("b", BOLD))))
    result = entry(document.write([("x",)]), "word/document.xml")
    assert re.search('<w:t>x</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r></w:p>', result)


def test_text_is_escaped_and_characters_that_xml_lacks_are_removed():
    document = read(docx(paragraph(run("a"))))
    assert "<w:t>&lt;&amp;\u2028]]&gt;</w:t>" in entry(
        document.write([("<&\x00\u2028\ud800]]>",)]), "word/document.xml"
    )


def test_identity_and_unchanged_parts_are_byte_equal():
    data = docx(paragraph(run("a "), run("b", BOLD), run("c")), header1=paragraph(run("head")))
    document = read(data, source="en", target="de")
    assert document.write([each.source for each in document.segments]) == data
    assert document.write([None, None]) == data
    changed = document.write([None, ("kopf",)])
    assert entry(changed, "word/document.xml") == entry(data, "word/document.xml")


def test_writing_twice_gives_the_same():
    document = read(docx(paragraph(run("a"), "<w:r><w:tab/></w:r>", run("b", BOLD))))
    translations = [upper(each.source) for each in document.segments]
    assert document.write(translations) == document.write(translations)


def test_the_language_becomes_the_target_language():
    styles = '<w:docDefaults><w:rPr><w:lang w:val="fr-FR" w:eastAsia="ja-JP"/></w:rPr></w:docDefaults>'
    body = paragraph(run("a", '<w:lang w:val="en-GB"/>')) + paragraph(run("b", '<w:lang w:val="fr-FR"/>'))
    document = read(docx(body, styles=styles), source="en", target="de")
    data = document.write([("x",), None])
    assert re.findall('w:lang w:val="(.*?)"', entry(data, "word/document.xml")) == ["de-DE", "fr-FR"]
    assert '<w:lang w:val="de-DE" w:eastAsia="ja-JP"/>' in entry(data, "word/styles.xml")
    to_korean = read(docx(body, styles=styles), source="en", target="ko").write([("x",), None])
    assert '<w:lang w:val="fr-FR" w:eastAsia="ko-KR"/>' in entry(to_korean, "word/styles.xml")
