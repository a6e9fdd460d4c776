"""Documents of one hostile shape repeated are read, prepared, assembled and written in linear time."""

from __future__ import annotations

import sys
import time

import pytest

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.segment_translation import PROTECTION, assemble, prepare
from allyouneed.errors import UserError
from allyouneed.translation.sentence import TranslatedSentence

SHAPES = [
    *("a", "a ", "A dog runs. ", "word\n", "\n", "\r\n", " ", "\t", "\xa0", "\0", "\u202e", "\u0301", "a\u0301", "한"),
    *("<", "<a ", "<a>", "</a>", "<b>a", "<a><b></a>", "<a b=c ", "<p>a</p>", "<script>", "<!--", "-->", "<?", "]]>"),
    *("<![CDATA[", "<!DOCTYPE [", "&", "&amp;", "&#", ">", "> ", "{", "{}", "{a, plural, ", "${", "%s", "[", "[a]("),
    *("![", "(", "|", "|a|\n", "*", "**a", "_a", "`", "``a", "```\n", "#", "# a\n", "- ", "- a\n", "  - a\n", "1. "),
    *("\"", "'", "“", "A. ", ".", ". ", "...", "? ", "!", "Mr. ", "1", "a@", " ", "http://", "http://a.b/ ", "~"),
    *("\\", "=", "a=b\n", "a/", "\U0001f468\u200d", "<a b=\"", "{\"a\":", "a.\" ", "한。"),
]  # fmt: skip
QUICK = [
    "<a ",
    "<!--",
    "&",
    "]]>",
    "{",
    "[",
    "> ",
    "<b>a",
    '<a b="',
    "a",
    "a\u0301",
    "\0",
    "`",
    "![",
    "1. ",
    "{a, plural, ",
]


def process(shape: str, suffix: str, size: int) -> None:
    """Read, prepare, assemble and write a document."""
    data = (shape * (size // len(shape.encode()))).encode()
    try:
        document = read_document(data, ReadOptions(f"a{suffix}", "en", "de"))
    except UserError:
        return
    prepared = [prepare(segment.source, "en", PROTECTION) for segment in document.segments]
    translated = [
        assemble(each, [TranslatedSentence(f"{sentence.text}x", sentence.kept) for sentence in each.sentences])
        for each in prepared
    ]
    document.write([each.parts for each in translated])


def calls(shape: str, suffix: str, size: int) -> int:
    """Count the calls of functions, which do not depend on the machine."""
    count = 0

    def on_event(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(on_event)
    try:
        process(shape, suffix, size)
    finally:
        sys.setprofile(None)
    return count


def seconds(shape: str, suffix: str, size: int) -> float:
    start = time.process_time()
    process(shape, suffix, size)
    return time.process_time() - start


@pytest.mark.parametrize("shape", QUICK)
@pytest.mark.parametrize("suffix", [".txt", ".html", ".md"])
def test_the_number_of_calls_is_linear(shape, suffix):
    process(shape, suffix, 100)  # loads the format
    assert calls(shape, suffix, 1000) < 2.5 * calls(shape, suffix, 500) + 1000


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "suffix", [".txt", ".html", ".xml", ".md", ".csv", ".json", ".po", ".srt", ".properties", ".tmx"]
)
def test_the_time_is_linear_up_to_2_mb(shape, suffix):
    """Four times the time for twice the text would be quadratic."""
    assert seconds(shape, suffix, 2_000_000) < 3 * seconds(shape, suffix, 1_000_000) + 0.5
