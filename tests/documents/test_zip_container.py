"""Containers: hostile and damaged archives give one clear error; copies keep everything."""

from __future__ import annotations

import time
import warnings
import zipfile
import zlib
from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.formats.office import xml_entry
from allyouneed.documents.formats.office.zip_container import ZipContainer
from allyouneed.errors import UserError
from allyouneed.zip_files import IN_MEMORY, ZipLimits
from tests.documents.office_files import docx, run, zipped

BODY = f"<w:p>{run('text')}</w:p>"


def message(data: bytes, name: str = "a.docx", limits: ZipLimits = IN_MEMORY) -> str:
    with pytest.raises(UserError) as caught:
        read_document(data, ReadOptions(name, limits=limits))
    return str(caught.value)


def changed(data: bytes, entries: dict[str, bytes]) -> bytes:
    """Return an archive with other contents of some entries, and with further entries."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        contents: dict = {name: archive.read(name) for name in archive.namelist()}
    return zipped(contents | entries)


@pytest.mark.parametrize("data", [b"", b"PK", b"text", b"PK\x03\x04" + bytes(100), docx(BODY)[:-30], docx(BODY)[:200]])
def test_what_is_no_zip_archive_is_refused(data):
    assert message(data).startswith("a.docx: the archive is damaged, incomplete or of another type (")


def test_old_or_protected_documents_are_refused():
    assert message(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600)).startswith(
        "a.docx: protected by a password, or in an"
    )


def test_damaged_content_is_refused():
    data = bytearray(docx(BODY))
    position = data.index(b"word/document.xml") + len("word/document.xml") + 20
    data[position : position + 20] = bytes(20)
    assert "the archive is damaged" in message(bytes(data))


def test_damage_of_an_entry_without_text_is_found_before_the_translation():
    with zipfile.ZipFile(BytesIO(docx(BODY))) as archive:
        contents: dict = {name: archive.read(name) for name in archive.namelist()}
    data = zipped(contents | {"a.png": b"a picture"}, stored=("a.png",))
    assert "Bad CRC-32 for file 'a.png'" in message(data.replace(b"a picture", b"a pixture"))


def test_encrypted_entries_are_refused():
    data = bytearray(docx(BODY))
    position = data.index(b"PK\x01\x02")
    data[position + 8] |= 1
    assert "is encrypted. Save the file without a password." in message(bytes(data))


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "word/../../x", "C:\\x", "..\\x"])
def test_names_outside_the_document_are_refused(name):
    assert "has a name outside the archive" in message(changed(docx(BODY), {name: b""}))


def test_duplicate_entries_are_refused():
    file = BytesIO(docx(BODY))
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("word/document.xml", "<x/>")
    assert message(file.getvalue()) == (
        "a.docx: the archive has 'word/document.xml' twice. It is damaged: save it again."
    )


def test_other_archives_are_refused():
    assert (
        message(zipped({"a.txt": "x"}))
        == "a.docx: a zip archive, but no Office document: it lacks [Content_Types].xml."
    )
    assert message(docx(BODY), "a.pptx").startswith("a.pptx: a zip archive, but not a PowerPoint presentation.")


def test_large_entries_and_documents_are_refused_before_they_are_unpacked():
    bomb = changed(docx(BODY), {"word/document.xml": bytes(8 << 20)})
    start = time.process_time()
    assert "word/document.xml has 8 MiB; at most 1 MiB are read" in message(bomb, limits=ZipLimits(entry=1 << 20))
    assert "at most 1,048,576 are read" in message(bomb, limits=ZipLimits(unpacked=1 << 20))
    assert "files; at most 2 are read." in message(docx(BODY), limits=ZipLimits(entries=2))
    assert "times its size" in message(changed(docx(BODY), {"word/document.xml": bytes(200 << 20)}))
    assert time.process_time() - start < 5


def test_a_size_that_is_wrong_is_found():
    """The declared size bounds what is unpacked."""
    data = bytearray(docx(f"<w:p>{run('x' * 10_000)}</w:p>"))
    with zipfile.ZipFile(BytesIO(data)) as archive:
        size = archive.getinfo("word/document.xml").file_size
    data = data.replace(size.to_bytes(4, "little"), (100).to_bytes(4, "little"))
    assert "the archive is damaged, incomplete or of another type (Bad CRC-32" in message(bytes(data))


def test_many_elements_are_refused(monkeypatch):
    monkeypatch.setattr(xml_entry, "_MAX_MARKS", 1000)
    assert "more than 1,000 elements and attributes" in message(docx(BODY * 200))


@pytest.mark.parametrize(
    "xml",
    [
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x/>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>',
        b'<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd">]><x/>',
    ],
)
def test_entities_are_refused(xml):
    assert "declares entities" in message(changed(docx(BODY), {"word/document.xml": xml}))


def test_entities_in_attributes_are_not_expanded_without_bound():
    names = [f"<!ENTITY e{i} '{f'&e{i - 1};' * 10}'>" for i in range(1, 12)]
    xml = f"<!DOCTYPE x [<!ENTITY e0 'aaaaaaaaaa'>{''.join(names)}]><x a='&e11;'/>"
    start = time.process_time()
    message(changed(docx(BODY), {"word/document.xml": xml.encode()}))
    assert time.process_time() - start < 2


def test_malformed_xml_is_refused():
    assert "a.docx, word/document.xml: malformed or excessive XML (" in message(
        changed(docx(BODY), {"word/document.xml": b"<w:a>"})
    )


@pytest.mark.parametrize("text", ["a\0b", "x " * 6_000_000, "</w:t><w:t>" + "<w:x>" * 300])
def test_errors_of_the_parser_are_one_line(text):
    found = message(docx(f"<w:p>{run(text)}</w:p>"))
    assert found.startswith("a.docx, word/document.xml: malformed or excessive XML (")
    assert "\n" not in found


def test_a_missing_part_is_left_out_or_refused():
    assert message(zipped({"[Content_Types].xml": "<Types/>"})).startswith(
        "a.docx: a zip archive, but not a Word document"
    )


def test_copies_keep_order_methods_dates_and_attributes():
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"made by hand"
        info = zipfile.ZipInfo("mimetype", (1999, 12, 31, 23, 59, 58))
        info.external_attr = 0o600 << 16
        archive.writestr(info, b"x/y")
        archive.writestr("dir/", b"")
        archive.writestr("b.xml", b"<b/>" * 100)
        archive.writestr("a.png", bytes(1000), zipfile.ZIP_BZIP2)
    container = ZipContainer(file.getvalue(), "a")
    assert container.replace({}) == container.replace({"b.xml": b"<b/>" * 100}) == file.getvalue()
    with zipfile.ZipFile(BytesIO(container.replace({"b.xml": b"new"}))) as archive:
        infos = archive.infolist()
        assert [(each.filename, each.compress_type) for each in infos] == [
            ("mimetype", zipfile.ZIP_STORED),
            ("dir/", zipfile.ZIP_DEFLATED),
            ("b.xml", zipfile.ZIP_DEFLATED),
            ("a.png", zipfile.ZIP_BZIP2),
        ]
        assert (infos[0].date_time, infos[0].external_attr >> 16) == ((1999, 12, 31, 23, 59, 58), 0o600)
        assert (archive.read("b.xml"), archive.read("a.png")) == (b"new", bytes(1000))
        assert archive.comment == b"made by hand"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_anywhere_is_an_error_of_the_user_or_harmless(data):
    content = bytearray(docx(BODY, header1=BODY))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UserError):
        document = read_document(bytes(content), ReadOptions("a.docx"))
        document.write([("x",) for _ in document.segments])


def test_deflate_errors_are_reported():
    compressed = zlib.compress(b"x" * 1000)
    assert "the archive is damaged" in message(compressed)
