"""Encodings of documents: recognised, kept, and refused where they do not fit."""

from __future__ import annotations

import codecs

import pytest

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.formats.text.encoded_text import decode
from allyouneed.errors import UserError

TEXT = "Grüße, 세계\r\n<a>\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("with_mark", [False, True])
def test_unicode_is_recognised_and_kept(encoding, with_mark):
    marks = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    marks |= {"utf-32-le": codecs.BOM_UTF32_LE, "utf-32-be": codecs.BOM_UTF32_BE}
    data = (marks[encoding] if with_mark else b"") + ("<x>" + TEXT).encode(encoding)
    content = decode(data, "a.txt")
    assert content.text == "<x>" + TEXT
    assert content.encode(content.text) == data


def test_a_declared_encoding_is_used():
    content = decode("Grüße".encode("latin-1"), "a.xml", "ISO-8859-1")
    assert (content.text, content.encode("ß")) == ("Grüße", b"\xdf")


@pytest.mark.parametrize("declared", ["CHARSET", "rot13", "hex", "utf-16", "utf-7", "no such"])
def test_a_declaration_that_cannot_be_is_ignored(declared):
    assert decode(TEXT.encode(), "a.po", declared).text == TEXT


def test_other_encodings_are_guessed():
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5
    content = decode(text.encode("cp1251"), "a.txt")
    assert content.text == text
    assert content.encode(text) == text.encode("cp1251")


def test_a_line_in_another_encoding_is_named():
    data = "Grüße\nschöne Wörter\n".encode() + "Ende gut, älles\n".encode("latin-1")
    with pytest.raises(UserError, match=r"a\.txt, line 3: the bytes are not valid utf-8"):
        decode(data, "a.txt")


def test_characters_that_the_encoding_lacks_are_refused_or_referred_to():
    content = decode(b"x", "a.po", "latin-1")
    with pytest.raises(UserError, match=r"contains '세', which the encoding iso8859-1 of the file lacks"):
        content.encode("ü세")
    assert content.referring("ü세") == "ü&#49464;"
    assert decode(b"x", "a").referring("ü세") == "ü세"


def test_a_guess_is_said():
    text = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 5
    for name in ("a.txt", "a.md", "a.html", "a.csv", "a.json", "a.srt", "a.po", "a.strings"):
        shapes = {
            "a.csv": f"id,text\n1,{text}\n",
            "a.json": f'{{"a": "{text}"}}',
            "a.srt": f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n",
            "a.po": f'msgid "{text}"\nmsgstr ""\n',
            "a.strings": f'"a" = "{text}";\n',
        }
        shape = shapes.get(name, text)
        notes = read_document(shape.encode("cp1251"), ReadOptions(name)).notes
        assert any("the encoding seems to be" in note for note in notes), name
        assert not any("encoding" in note for note in read_document(shape.encode(), ReadOptions(name)).notes)
