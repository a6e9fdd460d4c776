"""Damaged and random files: refused in one line or kept byte for byte, never a traceback, in linear time."""

from __future__ import annotations

import random
import time

import pytest

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.errors import UserError
from tests.documents.test_bilingual import DOCUMENTS
from tests.documents.test_po import CATALOGUE
from tests.documents.test_resources import ANDROID, DICT, PROPERTIES, STRINGS
from tests.documents.test_subtitles import SRT, VTT
from tests.documents.test_table import CSV

SAMPLES = {
    **DOCUMENTS,
    "a.po": CATALOGUE,
    "a.properties": PROPERTIES,
    "a.strings": STRINGS,
    "strings.xml": ANDROID,
    "a.stringsdict": DICT,
    "a.srt": SRT,
    "a.vtt": VTT,
    "a.csv": CSV,
    "a.tsv": CSV.replace(",", "\t"),
    "a.json": '{"a": ["x y", {"b_one": "one \\u00fc", "b_other": "many"}], "c": {"message": "m n"}}',
    "a.jsonl": '{"translation": {"en": "a b", "de": ""}}\n{"translation": {"en": "c d"}}\n',
}
INSERTED = [
    '"',
    "\\",
    "<",
    ">",
    "&",
    "\n",
    "\r",
    "\0",
    "\u2028",
    "{",
    "[",
    "-->",
    "<![CDATA[",
    "]]>",
    "\ud83d",
    "\ufeff",
    "#~",
]


def mutated(text: str, chance: random.Random) -> bytes:
    """A sample with a few pieces removed, doubled, moved or inserted."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(text) + 1)
        end = min(len(text), start + chance.randint(0, 12))
        piece = chance.choice(["", text[start:end] * 2, chance.choice(INSERTED)])
        text = text[:start] + piece + text[end:]
    data = text.encode(chance.choice(["utf-8", "utf-8", "utf-8", "utf-16"]), "ignore")
    return data if chance.random() < 0.9 else data.replace(b"e", b"\xe9")


@pytest.mark.parametrize("name", SAMPLES)
def test_damaged_files_are_refused_or_kept(name):
    chance = random.Random(name)
    for _ in range(100):
        check(mutated(SAMPLES[name], chance), name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_many_damaged_files_are_refused_or_kept(name):
    chance = random.Random(f"slow {name}")
    for _ in range(10_000):
        check(mutated(SAMPLES[name], chance), name)


def check(data: bytes, name: str) -> None:
    """Check that a file is refused or kept, and that what is written can be read."""
    try:
        document = read_document(data, ReadOptions(name, "en", "ru"))
    except UserError:
        return
    assert document.write([segment.source for segment in document.segments]) == data
    assert document.write([None for _ in document.segments]) == data
    try:
        written = document.write([("", *segment.source) for segment in document.segments])
    except UserError as error:  # a character that the encoding lacks
        if "lacks" not in str(error):
            raise
        return
    read_document(written, ReadOptions(name, "en", "ru"))


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.xlf", "<a "),
        ("a.tmx", "<tu><"),
        ("a.po", 'msgid "a\\'),
        ("a.json", '{"a":['),
        ("a.json", '"\\'),
        ("a.csv", '"a""'),
        ("a.tsv", '"\t'),
        ("a.strings", '"a" = '),
        ("a.strings", "/*"),
        ("a.properties", "\\\n"),
        ("a.properties", "a\\ "),
        ("a.srt", "00:00:01,000 --> "),
        ("a.srt", "<i"),
        ("a.vtt", "<c.a"),
    ],
)
def test_hostile_repetition_takes_linear_time(name, unit):
    start = "WEBVTT\n\n00:01.000 --> 00:02.000\n" if name == "a.vtt" else ""
    began = time.process_time()
    check((start + unit * 40_000).encode(), name)
    assert time.process_time() - began < 10
