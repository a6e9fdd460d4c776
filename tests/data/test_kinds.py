"""Files that are not text are named, and named correctly text is not taken for one of them."""

import gzip
import io
import re
import sqlite3
import tarfile
import zipfile

import pytest

from allyouneed.data.files.kinds import recognise
from allyouneed.data.files.lines import read_lines
from allyouneed.errors import UserError


def archive(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, "content " * 100)
    return stream.getvalue()


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as file:
        file.addfile(tarfile.TarInfo("train.de"))
    return stream.getvalue()


def database(tmp_path):
    with sqlite3.connect(tmp_path / "db") as connection:
        connection.execute("create table pairs (source, target)")
    return (tmp_path / "db").read_bytes()


XML = b'<?xml version="1.0" encoding="UTF-8"?>\n'
KINDS = {
    "a translation memory (TMX)": XML + b'<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n<tmx version="1.4">\n<header/>',
    "an XLIFF file": XML + b"<!-- a comment -- -->\n<xliff xmlns='urn:oasis:names:tc:xliff:document:1.2'>",
    "a Qt translation file (TS)": XML + b"<!DOCTYPE TS>\n<TS version='2.1'>\n",
    "an HTML page": b"\n<!DOCTYPE html>\n<html lang='en'>\n<head>",
    "Android string resources": XML + b"<resources>\n  <string name='a'>A</string>",
    "an XML document (corpus)": XML + b"<corpus>\n<s>eins</s>",
    "a gettext catalogue (PO)": b'# Translators:\nmsgid ""\nmsgstr ""\n"Language: de\\n"\n\nmsgid "a"\nmsgstr "b"\n',
    "SubRip subtitles (SRT)": b"\xef\xbb\xbf1\r\n00:00:01,000 --> 00:00:02,000\r\nHallo\r\n",
    "WebVTT subtitles": b"WEBVTT\n\n00:01.000 --> 00:04.000\nHallo\n",
    "a JSON document": b'[\n {"de": "eins", "en": "one"}\n]\n',
    "a PDF document": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "a Parquet table": b"PAR1\x15\x04\x15\x00\x12" + bytes(10),
    "a Word document (DOCX)": archive("[Content_Types].xml", "_rels/.rels", "word/document.xml"),
    "an Excel workbook (XLSX)": archive("[Content_Types].xml", "xl/workbook.xml"),
    "a ZIP archive": archive("train.de", "train.en"),
    "a tar archive": tar(),
    "compressed twice": gzip.compress(b"a\n"),
    "a Git LFS pointer, not the file itself": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_files_are_named(tmp_path, name, compress):
    content = KINDS[name]
    if name == "compressed twice" and compress is bytes:
        content = gzip.compress(content)
    (tmp_path / "train.de").write_bytes(compress(content))  # the name says nothing
    with pytest.raises(UserError, match=rf"train\.de: this is {re.escape(name)}, not lines of text\. \w"):
        list(read_lines(tmp_path / "train.de"))


def test_a_database_is_named(tmp_path):
    assert recognise(database(tmp_path)).name == "an SQLite database"


def test_unknown_binary_data_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(256)) * 10 + bytes(1000))
    with pytest.raises(UserError, match="binary data of an unknown kind"):
        list(read_lines(tmp_path / "a"))


@pytest.mark.parametrize(
    "text",
    [
        "<html><b>Hallo</b></html>\t<html><b>Hello</b></html>\n",
        "<b>Hallo</b> Welt\n<i>x</i>\n",
        "<unk> ist selten\n",
        "[[Link]] im Wiki\n",
        "{0} Dateien\n{count} files\n",
        '{"de": "eins", "en": "one"}\n',
        "[ ] erledigt\n[x] fertig\n",
        "PAR1 is a gene\n",
        "GIF89a was a format\n",
        "BZh is not a word\n",
        "LZIP\n",
        "1\n00 Uhr\n",
        "msgid is a keyword of PO files, msgstr too\n",
        "Rar!\n",
        "",
    ],
)
def test_text_stays_text(tmp_path, text):
    (tmp_path / "a").write_text(text)
    assert b"".join(line + b"\n" for line in read_lines(tmp_path / "a")).decode() == text


@pytest.mark.parametrize(
    "part", ["<?a?> ", "<!-- x --> ", "<!DOCTYPE a [x] ", "<!-- <?", "[[{", 'msgid "a"\n', "\n\n ", "\n"]
)
def test_hostile_beginnings_take_no_time(part):
    """Nested repetition in a pattern would take longer than the age of the universe, one after another minutes."""
    for start in ("", "[", '{"a": [1]}'):
        recognise((start + part * 50_000).encode()[: 1 << 16])
