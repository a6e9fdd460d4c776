"""Damaged files of all kinds: cut, with changed, repeated or inserted bytes. They give pairs or one clear message."""

import io
import json
import time
import zipfile
from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs, reading_notes
from allyouneed.errors import UserError
from tests.data.test_units import MESSAGES, PO, XLIFF, XLIFF_UNITS, tmx

ROWS = [{"id": i, "translation": {"de": f"Hund {i}", "en": f"dog {i}"}} for i in range(4)]
HOSTILE = (
    rb"""\0 < > & &a; " \xff \xe2\x80\xa8 <!-- ]]> PK\3\4 { [ \t msgid \x1a </tu> <seg> <!DOCTYPE_a[<!ENTITY_a"b">]>"""
)
HOSTILE = [text.decode("unicode_escape").encode("latin-1").replace(b"_", b" ") for text in HOSTILE.split()]


@cache
def original(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.de-en.de", "eins\nzwei\n" * 9)
            archive.writestr("a.de-en.en", "one\ntwo\n" * 9)
    elif kind == "xlsx":
        book = pytest.importorskip("openpyxl").Workbook()
        for row in (["German", "English"], ["eins", "one"], ["zwei", 2]):
            book.active.append(row)
        book.save(stream)
    elif kind == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.Table.from_pylist(ROWS), stream)
    elif kind == "arrow":
        pa = pytest.importorskip("pyarrow")
        table = pa.Table.from_pylist(ROWS)
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
    return (
        stream.getvalue()
        or {
            "tmx": tmx({"de": "eins &amp; <ph>x</ph>", "en": "one"}, {"en": "two", "de-DE": "zwei"}).encode(),
            "tmx in UTF-16": tmx({"de": "eins", "en": "one"}).encode("utf-16"),
            "xliff": XLIFF.format(XLIFF_UNITS).encode(),
            "po": PO.format("en", 2, MESSAGES.format("Datei")).encode(),
            "json": json.dumps(ROWS, indent=1).encode(),
            "jsonl": "\n".join(map(json.dumps, ROWS)).encode(),
            "csv": b'"de","en"\n"eins, zwei","one"\n"drei","a ""b"""\n',
        }[kind]
    )


KINDS = ["tmx", "tmx in UTF-16", "xliff", "po", "json", "jsonl", "csv", "zip", "xlsx", "parquet", "arrow"]


def message_of(path) -> str:
    """Read a file and return the message of its error; "" if there is none."""
    try:
        columns = columns_for([path], (1, 2), ("de", "en"))
        reading_notes([path], columns)
        count_pairs([path], columns)
        texts = [pair.source + pair.target for pair in read_pairs([path], columns)]
    except UserError as error:
        return str(error)
    assert not any("\n" in text or "\0" in text for text in texts)
    return ""


def check(path, data: bytes) -> None:
    path.write_bytes(data)
    start = time.monotonic()
    message = message_of(path)
    assert not message or (str(path) in message and "\n" not in message)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_give_pairs_or_a_message(tmp_path, kind, data):
    _damage(tmp_path, kind, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_files_damaged_in_many_ways(tmp_path, kind, data):
    _damage(tmp_path, kind, data)


def _damage(tmp_path, kind, data):
    content = bytearray(original(kind))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        action = data.draw(st.sampled_from(["cut", "insert", "change", "repeat", "delete"]))
        if action == "cut":
            del content[place:]
        elif action == "insert":
            content[place:place] = data.draw(st.sampled_from(HOSTILE) | st.binary(max_size=8))
        elif action == "change" and place < len(content):
            content[place] = data.draw(st.integers(0, 255))
        elif action == "repeat":
            content[place:place] = content[place : place + data.draw(st.integers(1, 200))]
        else:
            del content[place : place + data.draw(st.integers(1, 50))]
    check(tmp_path / "a", bytes(content))
