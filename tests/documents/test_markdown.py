"""Markdown: what is translated, what is kept, and that translations are read as they are meant."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.segments import Code


def read(text: str):
    return read_document(text.encode(), ReadOptions("a.md"))


def shout(text: str) -> str:
    """Translate to capitals."""
    document = read(text)
    upper = [tuple(p.upper() if isinstance(p, str) else p for p in s.source) for s in document.segments]
    return document.write(upper).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\ntitle: x\n---\n# Titel ##\n\nText\nweiter\n", ["Titel", "Text weiter"]),
        ("+++\na = 1\n+++\nText", ["Text"]),
        ("Setext\n===\n\n> Zitat\n> zwei\n\n* eins\n  mehr\n2. zwei", ["Setext", "Zitat zwei", "eins mehr", "zwei"]),
        ("```py\ncode\n```\n\n    auch\n\nText mit `f(x)` da", ["Text mit f(x) da"]),
        ("| a | b \\| c |\n|---|---|\n| d | e |", ["a", "b | c", "d", "e"]),
        ("[Link](http://x 'Titel') und <http://y.z>", ["Link und http://y.z", "Titel"]),
        ("![Ein Hund](a.png) sitzt", ["Ein Hund", "sitzt"]),
        ('<div>\n<p>Ein <b>Hund</b></p>\n</div>\n\n<img alt="Bild">', ["Ein Hund", "Bild"]),
        ("Eine\\\nZeile", ["Eine Zeile"]),
        ("[^1]: Eine Notiz.\n\nText[^1].", ["Eine Notiz.", "Text."]),
        ("!!! note\n\nSiehe {ref}`Ziel`.", ["Siehe Ziel."]),
        (":::{note}\nEin Hund.\n:::\n\n!!! tip\n    Eine Katze.\n    Zwei.", ["Ein Hund.", "Eine Katze. Zwei."]),
        ("> [!NOTE]\n> Ein Hund.\n\n- [x] eins\n- [ ] zwei\n", ["Ein Hund.", "eins", "zwei"]),
        ("Wort\n:   Erklärung,\n    lang\n:   zweite", ["Wort", "Erklärung, lang", "zweite"]),
        ("Mit $a_1 * b_2 * c$ und $$\nx^2\n$$ hier", ["Mit $a_1 * b_2 * c$ und $$\nx^2\n$$ hier"]),
    ],
)
def test_segments(text, expected):
    document = read(text)
    assert [segment.text for segment in document.segments] == expected
    assert document.write([segment.source for segment in document.segments]) == text.encode()
    assert list(document.notes) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a *b* **c** ~~d~~ `e` [f](g "h")\n', 'A *B* **C** ~~D~~ `e` [F](g "H")\n'),
        ("a [b] c\n\n[b]: http://x\n", "A [B][b] C\n\n[b]: http://x\n"),
        ("a\r\nb  \r\nc\r\n", "A B  \r\nC\r\n"),
        ("> a\n> b  \n> c\n", "> A B  \n> C\n"),
        ("see ![a dog](x.png) now", "SEE ![A DOG](x.png) NOW"),
        ("snake_case and 2 * 3", "SNAKE_CASE AND 2 * 3"),
        ("it is $a_1*b_2*c$ or $5 and $6", "IT IS $a_1*b_2*c$ OR $5 AND $6"),
        (r"![a \* b \] c](x)", r"![A \* B \] C](x)"),
        ("[![a](b)](c) d", "[![A](b)](c) D"),
        ("a \\$x$", "A \\$X\\$"),
        ("- [ ] a *b*\n* [x] c\n", "- [ ] A *B*\n* [x] C\n"),
    ],
)
def test_only_text_changes(text, expected):
    assert shout(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "*a* _b_",
        "# a",
        "1. a",
        "- a",
        "<b>",
        "a | b",
        "[a](b)",
        "`a",
        "&amp;",
        "\\*",
        "![a](b)",
        "[ ] a",
        "[!a] b",
        ": a",
        ":::",
    ],
)
def test_text_that_looks_like_markup_is_escaped(text):
    document = read("wort\n")
    html = MarkdownIt().render(document.write([(text,)]).decode())
    assert html == MarkdownIt().render("X").replace(
        "X", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )


ATOMS = [
    "a",
    " ",
    "*",
    "**",
    "_",
    "`",
    "[",
    "](b)",
    "]",
    "![",
    "<b>",
    "</b>",
    "\\",
    "\n",
    "&amp;",
    "~~",
    "<",
    "> ",
    "- ",
    "|",
    "[a]: b\n",
]


@given(st.lists(st.sampled_from(ATOMS), max_size=20))
def test_identity_and_codes(atoms):
    text = "".join(atoms)
    document = read(text)
    sources = [segment.source for segment in document.segments]
    assert document.write(sources) == text.encode()
    assert document.write([None] * len(sources)) == text.encode()
    shouted = shout(text)
    again = [segment.source for segment in read(shouted).segments]
    codes = [sum(isinstance(part, Code) for part in source) for source in sources]
    assert sum(sum(isinstance(part, Code) for part in source) for source in again) >= sum(codes) - shouted.count("\\")


@pytest.mark.parametrize("attack", ["[", "*a ", "`a", "![", "<a ", "[a](", "> ", "[a]: b\n", "| a", "`<![a[-->"])
def test_time_is_linear(attack):
    started = time.process_time()
    document = read(attack * 10_000)
    document.write([segment.source for segment in document.segments])
    assert time.process_time() - started < 3


def test_many_brackets_do_not_end_the_recognition_of_links():
    document = read("[1] [a [b] c](d) ![e] [f][1] [ " * 500)
    assert sum(isinstance(part, Code) for segment in document.segments for part in segment.source) == 1_000


def test_deep_lists_are_read():
    text = "".join(f"{'  ' * depth}- level {depth}\n" for depth in range(30))
    assert len(read(text).segments) == 30


def test_html_within_markdown_keeps_its_white_space_and_references():
    text = "# a\n\n<div>\nb <b>c</b>\n  d &own; <img alt='e &#39;f&#39; \"'>\n</div>\n"
    assert shout(text) == "# A\n\n<div>\nB <b>C</b>\n  D &own; <img alt='E &#39;F&#39; \"'>\n</div>\n"


def test_titles_of_links_and_images_are_translated():
    text = "[a](b.md \"the 'title'\") and ![c](d.png 'two \\'words\\'') [e](<f g> (h)) [i](j.md) [k](l \"\")\n"
    document = read(text)
    assert {segment.text for segment in document.segments} >= {"the 'title'", "two 'words'", "h", "c"}
    assert document.write([segment.source for segment in document.segments]).decode() == text
    shouted = [tuple(p.upper() if isinstance(p, str) else p for p in s.source) for s in document.segments]
    written = document.write(shouted).decode()
    for part in ("](b.md \"THE 'TITLE'\")", "![C](d.png 'TWO \\'WORDS\\'')", "](<f g> (H))", "](j.md)", '](l "")'):
        assert part in written
    quoted = document.write([('x "y" \\ (z)',) if s.text in ("the 'title'", "h") else None for s in document.segments])
    again = read(quoted.decode())
    assert [s.text for s in again.segments].count('x "y" \\ (z)') == 2


@pytest.mark.parametrize("text", ["#", "Learn C #", "a ##", "C#", "a # b", "a #  "])
@pytest.mark.parametrize("heading", ["# x\n", "## x ##\n", "x\n===\n"])
def test_number_signs_at_the_end_of_a_heading_are_text(heading, text):
    written = read(heading).write([(text,)]).decode()
    assert MarkdownIt().render(written).count(f">{text.strip()}</h") == 1
