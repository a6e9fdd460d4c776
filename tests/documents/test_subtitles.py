"""SubRip and WebVTT: times stay, sentences that run over cues are translated as a whole."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.documents.document import ReadOptions, read_document
from allyouneed.documents.formats.text import subtitle_lines
from allyouneed.documents.formats.text.subtitle_lines import balanced_lines, divided
from allyouneed.documents.segments import Code, CodeKind, plain_text
from allyouneed.errors import UserError

SRT = """1
00:00:01,000 --> 00:00:02,000
The dog runs across the green
field and

2
00:00:02,100 --> 00:00:04,000 X1:10
jumps over <i>the small
fence</i>.

3
00:00:05,000 --> 00:00:06,000
- Who are you?
- <b>Me</b>!

4
00:00:07,000 --> 00:00:08,000
{\\an8}12


5
00:00:09,000 --> 00:00:10,000

6
00:00:10,000 --> 00:00:11,000
a wolf
"""
VTT = """WEBVTT - title
Kind: captions

STYLE
::cue { color: red }

NOTE
not this --> text

intro
00:01.000 --> 00:02.000 align:start line:0
<v Roger>Fish &amp; <c.big>chips</c>,

00:02.000 --> 00:03.000
<v Roger>are good

00:03.000 --> 00:03.500
<v Ann>and cheap.

NOTE end
"""
ITALIC = (Code("<i>", CodeKind.OPEN, 1), Code("</i>", CodeKind.CLOSE, 1))


def read(name: str, text: str):
    return read_document(text.encode(), ReadOptions(name, "en", "de"))


def texts(document) -> list[str]:
    return [segment.text for segment in document.segments]


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT)])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_identity_keeps_every_byte(name, text, line_end, mark):
    data = (mark + text.replace("\n", line_end)).encode()
    document = read_document(data, ReadOptions(name))
    assert document.write([segment.source for segment in document.segments]) == data
    assert document.write([None for _ in document.segments]) == data
    assert texts(document) == texts(read(name, text))


def test_sentences_run_over_lines_and_cues():
    expected = ["The dog runs across the green field and jumps over the small fence.", "Who are you?", "Me!", "12"]
    document = read("a.srt", SRT)
    assert texts(document) == [*expected, "a wolf"]
    assert [segment.where for segment in document.segments][:3] == ["line 3", "line 13", "line 14"]


def test_speakers_of_webvtt_are_separate():
    assert texts(read("a.vtt", VTT)) == ["Fish & chips, are good", "and cheap."]


def test_translations_are_divided_among_cues():
    document = read("a.srt", SRT)
    new = ("Der Hund rennt quer über die grüne Wiese und springt über ", ITALIC[0], "den kleinen Zaun", ITALIC[1], ".")
    written = document.write([new, ("Wer bist du?",), None, None, None]).decode()
    assert written == SRT.replace(
        "The dog runs across the green\nfield and", "Der Hund rennt quer\nüber die grüne Wiese"
    ).replace("jumps over <i>the small\nfence</i>.", "und springt über\n<i>den kleinen Zaun</i>.").replace(
        "Who are you?", "Wer bist du?"
    )


def test_text_of_webvtt_is_escaped():
    written = read("a.vtt", VTT).write([("Fisch & Brot, die < sind --> gut",), None]).decode()
    assert "<v Roger>Fisch &amp; Brot, die &lt; sind\n" in written
    assert "<v Roger>--&gt; gut\n" in written


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT)])
def test_times_and_settings_are_kept(name, text):
    document = read(name, text)
    written = document.write([("ein Wort mit vielen anderen",) for _ in document.segments]).decode()
    pattern = re.compile(r"^(?:\d+|.*-->.*|WEBVTT.*|Kind.*|STYLE|::cue.*|NOTE.*|intro)$", re.MULTILINE)
    assert pattern.findall(written) == pattern.findall(text)


WORDS = st.lists(st.text("ab,.가나다 ", min_size=1, max_size=9), min_size=1, max_size=30).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(WORDS, st.lists(st.integers(1, 90), min_size=1, max_size=6), st.integers(0, 9))
def test_division_loses_nothing(text, weights, cut):
    text = " ".join(text.split()) or "a"
    parts = tuple(part for part in (text[:cut], ITALIC[0], text[cut:], ITALIC[1]) if part)
    pieces = divided(parts, weights)
    assert len(pieces) == len(weights)
    for piece in pieces:
        kinds = [part.kind for part in piece if isinstance(part, Code)]
        assert kinds.count(CodeKind.OPEN) == kinds.count(CodeKind.CLOSE)
    joined = "".join(plain_text(piece) for piece in pieces).replace(" ", "")
    assert joined.startswith(text.replace(" ", ""))
    if len(text.split()) >= len(weights):
        assert joined == text.replace(" ", "")


def test_lines_are_of_similar_length():
    lines = balanced_lines(("Der kleine Hund läuft über die große grüne Wiese, weil er Hunger hat.",), 2)
    assert [plain_text(line) for line in lines] == [
        "Der kleine Hund läuft über die große",
        "grüne Wiese, weil er Hunger hat.",
    ]
    assert len(balanced_lines(("Der Hund.",), 2)) == 1
    assert len(balanced_lines(("word " * 20,), 1)) == 3


def test_text_without_times_is_refused():
    with pytest.raises(UserError, match=r"a\.srt: no cue of the form"):
        read("a.srt", "just text\n")
    assert texts(read("a.vtt", "WEBVTT\n")) == []


def test_speakers_within_tags_are_separate():
    cue = "1\n00:00:01,000 --> 00:00:02,000\n{}\n\n2\n00:00:02,100 --> 00:00:03,000\n{}\n"
    assert texts(read("a.srt", cue.format('<font color="red">---</font>', "<b>-Wer ist da</b>\n<b>-ich</b>"))) == [
        "---",
        "-Wer ist da",
        "-ich",
    ]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_times_with_errors_and_all_line_ends_are_kept(end):
    cat = f"a grey cat that nobody knows{end}sleeps below the old table"
    text = "1\n00:00:01,000 --> 00:00:02,000\na dog\n\n2\n00:00:07,000 --> 00:00:11:890\nCAT\n".replace("\n", end)
    text = text.replace("CAT", cat)
    document = read_document(text.encode(), ReadOptions("a.srt"))
    assert [segment.text for segment in document.segments] == ["a dog", cat.replace(end, " ")]
    assert document.write([("A DOG",), (cat.replace(end, " ").upper(),)]).decode() == text.upper()
    assert list(document.notes) == ["“00:00:07,000 --> 00:00:11:890” is no time, and is kept as it is"]


@given(
    st.lists(st.sampled_from(["a", "bb,", "hello.”", "的中。文", "x" * 9]), min_size=1, max_size=40),
    st.lists(st.floats(0, 120), min_size=1, max_size=6),
    st.floats(0, 15),
)
@settings(max_examples=200, deadline=None)
def test_a_few_candidates_give_the_same_breaks_as_all(words, ideal, bonus):
    text, ideal = " ".join(words), sorted(ideal)
    found = subtitle_lines._cuts(text, ideal, bonus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            subtitle_lines, "_candidates", lambda columns, column, bonus, first, last: range(first, max(first, last))
        )
        assert subtitle_lines._cuts(text, ideal, bonus) == found


def test_long_text_has_few_candidates_for_each_break():
    columns = list(range(0, 100_000, 5))
    assert len(subtitle_lines._candidates(columns, 50_001.0, 6.3, 10, 20_000)) == 3
