"""Documents of several formats, uploaded to the server: progress, names, problems and limits."""

from __future__ import annotations

import time

import pytest
import requests

from allyouneed.serving.server_settings import ServerSettings
from tests.documents.office_files import docx, run
from tests.serving.conftest import serving

FORM = {"source": "aa", "target": "bb"}


def translate(address: str, name: str, data: bytes, **form: str) -> tuple[dict, bytes]:
    """Upload a document, and return its final state and its translation."""
    answer = requests.post(f"{address}/api/documents", files={"file": (name, data)}, data=FORM | form, timeout=300)
    assert answer.status_code == 202, answer.text
    state = answer.json()
    while state["status"] not in ("done", "error"):
        time.sleep(0.02)
        state = requests.get(f"{address}/api/documents/{state['id']}", timeout=300).json()
    assert state["status"] == "done", state
    return state, requests.get(address + state["url"], timeout=300).content


def test_a_catalogue_keeps_its_format_and_finished_units(address):
    text = b'#: a.c:1\nmsgid "a b"\nmsgstr ""\n\nmsgid "c"\nmsgstr "finished"\n'
    state, data = translate(address, "de.po", text)
    assert state["name"] == "de_bb.po"
    assert data.startswith(b"#: a.c:1\n")
    assert b'msgstr "finished"' in data
    assert state["done"] == state["total"] == 1


def test_a_word_document_is_translated(address):
    state, data = translate(address, "letter.docx", docx(f"<w:p>{run('a b c')}</w:p>"))
    assert state["name"] == "letter_bb.docx"
    assert data.startswith(b"PK")


def test_problems_and_unchanged_segments_are_said(address):
    state, data = translate(address, "a.txt", b"a b\n12\n?\n{name}\n")
    assert data.decode().split("\n")[1:] == ["12", "?", "{name}", ""]
    assert state["problems"] == []
    assert state["notes"] == []


def test_the_language_of_a_document_is_detected(address):
    state, _ = translate(address, "a.html", b"<p>a b c</p>", source="auto")
    assert state["status"] == "done"


@pytest.mark.parametrize(
    ("name", "data", "form", "message"),
    [
        ("a.pdf.exe", b"MZ", {}, "file extension .exe is not supported"),
        ("a.json", b"{", {}, "a.json"),
        ("a.txt", b"a", {"output_format": "docx"}, "leave output_format out"),
        ("a.txt", b"a" * 3000, {}, "characters"),
        ("a.txt", b"a", {"glossary_id": "x"}, "glossary not found"),
    ],
)
def test_what_cannot_be_translated_is_refused_at_once(registry, name, data, form, message):
    with serving(registry, ServerSettings(threads=1, file_characters=2000)) as address:
        answer = requests.post(f"{address}/translate_file", files={"file": (name, data)}, data=FORM | form, timeout=300)
        assert answer.status_code in (400, 404)
        assert message in answer.json()["error"]


def test_supported_file_types_are_listed(address):
    types = requests.get(f"{address}/frontend/settings", timeout=300).json()["supportedFilesFormat"]
    assert {".txt", ".html", ".docx", ".po", ".json"} <= set(types)
    assert len(types) == len(set(types))
