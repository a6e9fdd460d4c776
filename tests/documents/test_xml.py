"""XML: structure is found from the text, entities are kept, and damage is reported."""

from __future__ import annotations

import pytest
from lxml import etree

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.errors import UserError


def read(xml: str | bytes, **options):
    return read_document(xml if isinstance(xml, bytes) else xml.encode(), ReadOptions("a.xml", **options))


@pytest.mark.parametrize(
    ("xml", "expected"),
    [
        ("<a><t>eins</t><p>Ein <em>roter</em> Hund</p></a>", ["eins", "Ein roter Hund"]),
        ("<p>Sieh <b><i>hier</i></b> nach</p>", ["Sieh hier nach"]),
        ("<p>Text <l><i>a</i><i>b</i></l> mehr</p>", ["Text", "a", "b", "mehr"]),
        ("<p>eins<![CDATA[ & <zwei>]]></p>", ["eins & <zwei>"]),
        ('<a><code>x</code><b translate="no">c</b><d>d</d></a>', ["d"]),
        ("<a><!-- c --><?pi x?><b>b</b></a>", ["b"]),
    ],
)
def test_segments(xml, expected):
    assert [segment.text for segment in read(xml).segments] == expected


def test_chosen_elements():
    xml = "<p>eins <x>zwei</x> <y>drei</y></p>"
    assert [s.text for s in read(xml, splitting=frozenset({"x"})).segments] == ["eins", "zwei", "drei"]
    flat = "<p><x>zwei</x> <y>drei</y></p>"
    assert [s.text for s in read(flat, outline=False).segments] == ["zwei drei"]
    assert [s.text for s in read(flat, inline=frozenset({"x", "y"})).segments] == ["zwei drei"]


def test_entities_are_kept_and_never_expanded():
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 20))
    xml = f'<!DOCTYPE p [<!ENTITY l0 "ha">{laughs}<!ENTITY x SYSTEM "file:///etc/passwd">]>\n<p>a &l19; &x; &amp; b</p>'
    document = read(xml)
    [segment] = document.segments
    assert segment.text == "a &l19; &x; & b"
    assert document.write([segment.source]) == xml.encode()
    upper = tuple(part.upper() if isinstance(part, str) else part for part in segment.source)
    assert document.write([upper]) == xml.replace("a &l", "A &l").replace(" b<", " B<").encode()


def test_text_is_escaped_also_in_cdata():
    [segment] = read("<p><![CDATA[a]]></p>").segments
    opening, _, closing = segment.source
    written = read("<p><![CDATA[a]]></p>").write([(opening, "x ]]> y & z", closing)])
    assert written == b"<p><![CDATA[x ]]]]><![CDATA[> y & z]]></p>"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1", "shift_jis"])
def test_encodings_are_kept(encoding):
    text = "日本語" if encoding == "shift_jis" else "Käse"
    data = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>\n<a>{text}</a>\n'.encode(encoding)
    document = read(data)
    assert [segment.text for segment in document.segments] == [text]
    assert document.write([segment.source for segment in document.segments]) == data


@pytest.mark.parametrize("xml", ["<a>\n<b></a>", "<a>\n&nbsp;</a>", "", "<a>\n<b x=1></b></a>", "<a/>\n<b/>"])
def test_damage_is_reported_with_its_line(xml):
    with pytest.raises(UserError, match=r"a\.xml, line \d+: not well-formed XML \("):
        read(xml)


@pytest.mark.parametrize("name", ["a.xml", "a.xhtml"])
def test_characters_that_xml_forbids_are_replaced(name):
    data = b'<a xmlns="x"><p title="x">a dog</p><p><![CDATA[a man]]></p></a>'
    document = read_document(data, ReadOptions(name))
    bad = "\0a\x0bb\x1b\ufffe\t"
    new = [tuple(f"{bad}{part}" if isinstance(part, str) else part for part in s.source) for s in document.segments]
    written = document.write(new)
    etree.fromstring(written)
    assert written.decode().count("\ufffda\ufffdb\ufffd\ufffd\t") == len(new) >= 2
