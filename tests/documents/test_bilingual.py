"""XLIFF 1.2, XLIFF 2 and TMX; the translate toolkit is the independent reader."""

from __future__ import annotations

import io

import pytest

from allyouneed.documents.document import ReadOptions, format_of, read_document
from allyouneed.documents.segments import CodeKind, plain_text
from allyouneed.errors import UserError

XLIFF_1 = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE xliff [<!ENTITY brand "ACME">]>
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
  <file original="a" source-language="en" datatype="html">
    <body>
      <trans-unit id="1">
        <source>Hello <g id="1">big <x id="2"/></g> &amp; <bpt id="3">&lt;b></bpt>bold<ept id="3">&lt;/b></ept>
          &brand; world</source>
        <!-- comment -->
      </trans-unit>
      <trans-unit id="2" approved='yes'><source>Done</source><target state="final">Fertig</target></trans-unit>
      <trans-unit id="3" translate="no"><source>No</source></trans-unit>
      <group translate="no"><trans-unit id="4"><source>No</source></trans-unit></group>
      <trans-unit id="5">
        <source>One. Two.</source>
        <seg-source><mrk mtype="seg" mid="1">One.</mrk> <mrk mtype="seg" mid="2">Two.</mrk></seg-source>
        <target state="needs-translation" xml:lang="de"/>
        <note>keep &lt;this></note>
        <alt-trans><source>Old</source><target>Alt</target></alt-trans>
      </trans-unit>
      <trans-unit id="6"><source>Dog <mrk mtype="protected">Rex</mrk></source><target></target></trans-unit>
      <trans-unit id="7" maxwidth="5" size-unit="char"><source>Copy</source><target>Copy</target></trans-unit>
    </body>
  </file>
</xliff>
"""
XLIFF_2 = """<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.0" srcLang="en">
 <file id="f"><unit id="u">
  <segment id="s" state="initial" subState="x:y">
   <source>Hi <pc id="1">you <ph id="2" equiv="%s"/></pc>, <sc id="3"/>a<ec
    startRef="3"/> <mrk id="m" translate="no">Rex</mrk></source>
  </segment>
  <ignorable><source> </source></ignorable>
  <segment state="final"><source>A</source><target>B</target></segment>
  <segment><source>C</source><target>D</target></segment>
 </unit><unit id="v" translate="no"><segment><source>No</source></segment></unit></file>
</xliff>
"""
TMX = """<?xml version="1.0"?>
<tmx version="1.4"><header srclang="en" segtype="sentence"/><body>
  <tu tuid="1">
    <note>n</note>
    <tuv xml:lang="en-US">
      <seg>Hi <bpt i="1">&lt;b></bpt>you<ept i="1">&lt;/b></ept> <ph>%s</ph></seg>
    </tuv>
    <tuv xml:lang="fr"><seg>Salut</seg></tuv>
  </tu>
  <tu><tuv xml:lang="en"><seg>A</seg></tuv><tuv xml:lang="de"><seg>B</seg></tuv></tu>
  <tu><tuv xml:lang="en"><seg>E</seg></tuv><tuv xml:lang="de"><seg/></tuv></tu>
  <tu><tuv xml:lang="fr"><seg>Non</seg></tuv></tu>
</body></tmx>
"""
DOCUMENTS = {"1.xlf": XLIFF_1, "2.xlf": XLIFF_2, "a.tmx": TMX}


def read(name: str, text: str | None = None, source: str = "en", target: str = "de"):
    return read_document((text or DOCUMENTS[name]).encode(), ReadOptions(name, source, target))


def in_capitals(document) -> str:
    upper = [tuple(p.upper() if isinstance(p, str) else p for p in s.source) for s in document.segments]
    return document.write(upper).decode()


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_identity_keeps_every_byte(name, encoding, line_end):
    text = DOCUMENTS[name].replace("\n", line_end).replace("UTF-8", encoding.removesuffix("-sig"))
    data = text.encode(encoding)
    document = read_document(data, ReadOptions(name, "en", "de"))
    assert document.write([segment.source for segment in document.segments]) == data
    assert document.write([None for _ in document.segments]) == data


def test_segments_of_xliff_1():
    segments = read("1.xlf").segments
    assert [(plain_text(s.source), s.is_finished, s.longest) for s in segments] == [
        ("Hello big  & bold &brand; world", False, None),
        ("Done", True, None),
        ("One.", False, None),
        ("Two.", False, None),
        ("Dog Rex", False, None),
        ("Copy", False, 5),
    ]
    codes = [(part.kind, part.pair) for part in segments[0].source if not isinstance(part, str)]
    assert codes == [
        (CodeKind.OPEN, 1),
        (CodeKind.ALONE, 0),
        (CodeKind.CLOSE, 1),
        (CodeKind.OPEN, 2),
        (CodeKind.CLOSE, 2),
        (CodeKind.ALONE, 0),
    ]
    assert segments[2].where == "line 14 (unit 5)"


def test_translations_of_xliff_1():
    state = 'state="needs-review-translation" state-qualifier="leveraged-mt"'
    written = read("1.xlf").write(
        [("Hallo < Welt",), None, ("Eins.",), ("Zwei.",), ("Hund ", read("1.xlf").segments[4].source[1]), None]
    )
    expected = (
        XLIFF_1.replace('datatype="html"', 'datatype="html" target-language="de"')
        .replace(
            "&brand; world</source>",
            f"&brand; world</source>\n        <target {state}>Hallo &lt; Welt</target>",
        )
        .replace(
            '<target state="needs-translation" xml:lang="de"/>',
            '<target state="needs-review-translation" xml:lang="de" state-qualifier="leveraged-mt">'
            '<mrk mtype="seg" mid="1">Eins.</mrk> <mrk mtype="seg" mid="2">Zwei.</mrk></target>',
        )
        .replace("<target></target>", f'<target {state}>Hund <mrk mtype="protected">Rex</mrk></target>')
    )
    assert written.decode() == expected


def test_a_finished_unit_that_is_translated_again_is_not_approved():
    written = in_capitals(read("1.xlf"))
    assert "approved='no'" in written
    assert 'leveraged-mt">DONE</target>' in written


def test_marked_sentences_of_a_target_are_filled_in():
    text = XLIFF_1.replace(
        '<target state="needs-translation" xml:lang="de"/>',
        '<target><mrk mtype="seg" mid="1">Eins.</mrk> <mrk mtype="seg" mid="2"/></target>',
    )
    document = read("1.xlf", text)
    assert [(s.text, s.is_finished) for s in document.segments[2:4]] == [("One.", True), ("Two.", False)]
    written = document.write([None, None, None, ("Zwei.",), None, None]).decode()
    assert '<mrk mtype="seg" mid="1">Eins.</mrk> <mrk mtype="seg" mid="2">Zwei.</mrk></target>' in written


@pytest.mark.parametrize("target", ["", '<target><mrk mtype="seg" mid="1"/> <mrk mtype="seg" mid="2"/></target>'])
@pytest.mark.parametrize(
    ("marked", "texts"),
    [
        ('<mrk mtype="seg" mid="1">One. <mrk mtype="seg" mid="2">Two.</mrk></mrk>', ["One. Two."]),
        ('<mrk mtype="seg" mid="1">One.</mrk> <mrk mtype="seg" mid="1">Two.</mrk>', ["One.", "Two."]),
    ],
)
def test_nested_and_repeated_marked_sentences_are_written_once(marked, texts, target):
    start, end = XLIFF_1.index('<mrk mtype="seg" mid="1">One.'), XLIFF_1.index("</seg-source>")
    text = XLIFF_1[:start] + marked + XLIFF_1[end:]
    text = text.replace('<target state="needs-translation" xml:lang="de"/>', target)
    document = read("1.xlf", text)
    assert [s.text for s in document.segments[2 : 2 + len(texts)]] == texts
    read("1.xlf", in_capitals(document))


def test_segments_of_xliff_2():
    segments = read("2.xlf").segments
    assert [(s.text, s.is_finished) for s in segments] == [("Hi you %s, a Rex", False), ("A", True), ("C", True)]
    pairs = [(part.kind.value, part.pair) for part in segments[0].source if not isinstance(part, str) and part.pair]
    assert pairs == [("open", 1), ("close", 1), ("open", 2), ("close", 2)]


def test_translations_of_xliff_2():
    document = read("2.xlf")
    source = document.segments[0].source
    written = document.write([("Du ", *source[1:]), None, None]).decode()
    content = XLIFF_2[XLIFF_2.index("Hi <pc") : XLIFF_2.index("</source>")].replace("Hi ", "Du ", 1)
    assert written == XLIFF_2.replace('state="initial" subState="x:y"', 'state="translated"').replace(
        "Rex</mrk></source>", f"Rex</mrk></source>\n   <target>{content}</target>"
    ).replace('srcLang="en"', 'srcLang="en" trgLang="de"')


def test_the_case_of_attributes_does_not_matter():
    written = in_capitals(
        read("2.xlf", XLIFF_2.replace('state="initial" subState="x:y"', 'sTATE="initial" SUBsTATE = "x:y"'))
    )
    assert 'sTATE="translated">' in written
    assert "SUBsTATE" not in written


@pytest.mark.parametrize("name", ["1.xlf", "2.xlf"])
def test_the_toolkit_reads_the_translations(name):
    xliff = pytest.importorskip("translate.storage.xliff" if name == "1.xlf" else "translate.storage.xliff2")
    text = DOCUMENTS[name].replace('<!DOCTYPE xliff [<!ENTITY brand "ACME">]>\n', "").replace("&brand;", "")
    store = (xliff.xlifffile if name == "1.xlf" else xliff.Xliff2File)(
        io.BytesIO(in_capitals(read(name, text)).encode())
    )
    targets = {str(unit.source): str(unit.target) for unit in store.units if unit.target}
    assert any("HELLO" in target or "HI " in target for target in targets.values())
    assert targets["Done" if name == "1.xlf" else "A"] == ("DONE" if name == "1.xlf" else "B")


def test_elements_of_angular_are_pairs():
    text = XLIFF_1.replace(
        'Dog <mrk mtype="protected">Rex</mrk>',
        'a <x id="START_LINK" ctype="x-a" equiv-text="&lt;a&gt;"/>b<x id="CLOSE_LINK"/> <x id="N" equiv-text="{{n}}"/>',
    )
    source = read("1.xlf", text).segments[4].source
    assert [(p.kind.value, p.text) for p in source if not isinstance(p, str)] == [
        ("open", ""),
        ("close", ""),
        ("alone", "{{n}}"),
    ]


def test_codes_that_overlap_tags_stay_alone():
    text = XLIFF_1.replace(
        'Dog <mrk mtype="protected">Rex</mrk>', '<bpt id="9"/>a <g id="8">b<ept id="9"/></g> <it id="7" pos="open"/>c'
    )
    source = read("1.xlf", text).segments[4].source
    assert [p.kind.value for p in source if not isinstance(p, str)] == ["alone", "open", "alone", "close", "alone"]


def test_deep_nesting_takes_linear_time():
    deep = '<g id="1">' * 20_000 + "a" + "</g>" * 20_000
    document = read("1.xlf", XLIFF_1.replace('Dog <mrk mtype="protected">Rex</mrk>', deep))
    assert "<target state" in in_capitals(document)


@pytest.mark.parametrize("name", ["1.xlf", "2.xlf"])
def test_a_file_into_another_language_is_refused(name):
    text = DOCUMENTS[name].replace('datatype="html"', 'target-language="fr"').replace("srcLang", 'trgLang="fr" srcLang')
    with pytest.raises(UserError, match=r"its translations are in fr \(French\)"):
        read(name, text)
    assert read(name, text, target="fr-CA").segments
    [note] = read(name, DOCUMENTS[name], source="ko").notes
    assert note == "The source language of the file is en, and the model translates ko."


def test_malformed_files_are_refused():
    with pytest.raises(UserError, match=r"1\.xlf, line 8: not well-formed XML"):
        read("1.xlf", XLIFF_1.replace("&brand;", "<b>"))
    with pytest.raises(UserError, match="the root element is tmx, not xliff"):
        read("a.xlf", TMX)
    with pytest.raises(UserError, match="not TMX"):
        read("a.tmx", XLIFF_1)


def test_xliff_with_the_suffix_of_xml_is_recognised():
    assert format_of("a.xml", XLIFF_1.encode()).title == "XLIFF"
    assert format_of("a.xml", b"<a/>").title == "XML"


def test_translation_memories():
    document = read("a.tmx")
    assert [(s.text, s.target, s.is_finished) for s in document.segments] == [
        ("Hi you %s", None, False),
        ("A", ("B",), True),
        ("E", None, False),
    ]
    assert document.notes == ("1 units have no text in the source language.",)
    source = document.segments[0].source
    written = document.write([("Hallo ", *source[1:]), None, ("F",)]).decode()
    added = (
        '\n    <tuv xml:lang="de">\n      <seg>Hallo <bpt i="1">&lt;b></bpt>you<ept i="1">&lt;/b></ept> '
        "<ph>%s</ph></seg>\n    </tuv>"
    )
    french = '<tuv xml:lang="fr"><seg>Salut</seg></tuv>'
    assert written == TMX.replace(french, french + added).replace("<seg/>", "<seg>F</seg>")
    tmx = pytest.importorskip("translate.storage.tmx")
    store = tmx.tmxfile.parsestring(written.encode(), sourcelanguage="en", targetlanguage="de")
    assert str(store.units[2].target) == "F"
