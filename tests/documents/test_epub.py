"""Books: chapters in reading order, tables of contents, title, language; protected books are refused."""

from __future__ import annotations

import zipfile
from io import BytesIO

import pytest

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.errors import UserError
from tests.documents.office_files import entry, zipped

CONTAINER = (
    '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)
PACKAGE = """<?xml version="1.0" encoding="UTF-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title>A dog</dc:title><dc:creator>Ann</dc:creator><dc:language>en</dc:language><dc:identifier>7</dc:identifier>
</metadata><manifest><item id="n" href="toc.ncx" media-type="application/x-dtbncx+xml"/>
<item id="b" href="text/b%20c.xhtml" media-type="application/xhtml+xml"/>
<item id="a" href="text/a.html" media-type="application/xhtml+xml"/><item id="p" href="p.png" media-type="image/png"/>
<item id="x" href="missing.xhtml" media-type="application/xhtml+xml"/>
</manifest><spine toc="n"><itemref idref="a"/><itemref idref="b"/></spine></package>"""
CONTENTS = (
    '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>One</text></navLabel>'
    "</navPoint></navMap></ncx>"
)
CHAPTER = (
    '<?xml version="1.0"?>\n<!DOCTYPE html>\n<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang=\'en\'>'
    "<head><title>{0}</title></head><body><p>{0} <b>bold</b><a id='x'/>&#160;text.<br/></p></body></html>\r\n"
)


def book(**more: str) -> bytes:
    entries: dict[str, str | bytes] = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": CONTAINER,
        **{name.replace("_", "/"): content for name, content in more.items()},
        "OPS/book.opf": PACKAGE,
        "OPS/toc.ncx": CONTENTS,
        "OPS/text/b c.xhtml": CHAPTER.format("two"),
        "OPS/text/a.html": CHAPTER.format("one"),
        "OPS/p.png": b"\x89PNG",
    }
    return zipped(entries, stored=("mimetype",))


def read(data: bytes):
    return read_document(data, ReadOptions("a.epub", source="en", target="de"))


def test_text_is_read_in_reading_order():
    segments = read(book()).segments
    assert [each.text for each in segments] == ["A dog", "one", "one bold\xa0text.", "two", "two bold\xa0text.", "One"]
    assert [each.where for each in segments][:2] == ["title of the book", "OPS/text/a.html, line 3"]


def test_identity_is_byte_equal():
    data = book()
    document = read(data)
    assert document.write([each.source for each in document.segments]) == data
    assert document.write([None for _ in document.segments]) == data


def test_translations_and_language():
    document = read(book())
    upper = [tuple(p.upper() if isinstance(p, str) else p for p in each.source) for each in document.segments]
    data = document.write(upper)
    package = entry(data, "OPS/book.opf")
    assert package == PACKAGE.replace("A dog", "A DOG").replace(">en<", ">de<")
    chapter = entry(data, "OPS/text/a.html")
    assert chapter.startswith('<?xml version="1.0"?>\n<!DOCTYPE html>\n')
    assert 'xml:lang="de" lang="de"' in chapter
    assert "<p>ONE <b>BOLD</b><a id='x'/>" in chapter
    assert entry(data, "OPS/toc.ncx") == CONTENTS.replace("One", "ONE")
    with zipfile.ZipFile(BytesIO(data)) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type, archive.read("mimetype")) == (
            "mimetype", zipfile.ZIP_STORED, b"application/epub+zip",
        )  # fmt: skip


def encryption(algorithm: str, entry: str) -> str:
    return (
        '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData><e:EncryptionMethod'
        f' Algorithm="{algorithm}"/><e:CipherData><e:CipherReference URI="{entry}"/></e:CipherData></e:EncryptedData>'
        "</encryption>"
    )


def test_protected_books_are_refused_and_obfuscated_fonts_are_not():
    aes = "http://www.w3.org/2001/04/xmlenc#aes256-cbc"
    with pytest.raises(UserError, match=r"OPS/text/a\.html is protected by digital rights management"):
        read(book(**{"META-INF_encryption.xml": encryption(aes, "OPS/text/a.html")}))
    read(book(**{"META-INF_encryption.xml": encryption("http://www.idpf.org/2008/embedding", "OPS/font.otf")}))
    read(book(**{"META-INF_encryption.xml": encryption(aes, "OPS/font.otf")}))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"mimetype": "application/epub+zip"}, "a zip archive, but not an EPUB book"),
        ({"META-INF/container.xml": "<container>"}, "malformed or excessive XML"),
        ({"META-INF/container.xml": CONTAINER}, "the document lacks OPS/book.opf"),
        ({"META-INF/container.xml": "<container/>"}, "a zip archive, but not an EPUB book"),
    ],
)
def test_other_archives_are_refused(entries, message):
    with pytest.raises(UserError, match=message):
        read(zipped(entries))
