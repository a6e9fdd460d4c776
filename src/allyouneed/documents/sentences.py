"""Splits text into sentences and joins translations with the original spacing and line breaks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from allyouneed.errors import UserError
from allyouneed.languages import primary

try:
    import sentencex
except ImportError as error:
    raise UserError("documents need the package sentencex: pip install 'allyouneed[documents]'.") from error

# Line breaks, also those of Unicode, and NULs, which separate texts; tokenizers would drop or replace them.
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"
# Lines, line breaks, and bars with space around them, which separate titles or (in messages of Vue) plural forms.
_LINES = re.compile(rf"(?:[^{_BREAKS}|]|(?<!\s)\||\|(?!\s))+|[{_BREAKS}]+|\|")
_ENDS_WITH_NUMBER = re.compile(r"(?:^|\s)\d{1,4}\.\s*$")
_WINDOW = 4000  # characters


class SentenceSegment(NamedTuple):
    """A sentence, and the white space and separators before it. The last sentence of a text may be empty."""

    space: str
    sentence: str


def split_sentences(text: str, language: str) -> list[SentenceSegment]:
    """Split a text into sentences; a line break and " | " always end a sentence.

    Args:
        text: The text.
        language: Language code, for sentencex's rules.

    Returns:
        Segments; joining them with their own sentences gives `text`.
    """
    pieces, space = [], ""
    for line in _LINES.findall(text):
        if line[0] in _BREAKS:
            space += line
            continue
        for segment in _segments(line, language) if line.strip(" |") else [line]:
            sentence = segment.strip()
            if sentence in ("", "|"):
                space += segment
                continue
            start = segment.index(sentence)
            pieces.append(SentenceSegment(space + segment[:start], sentence))
            space = segment[start + len(sentence) :]
    return [*pieces, SentenceSegment(space, "")] if space else pieces


def single_sentence(text: str) -> list[SentenceSegment]:
    """Return the whole text as one sentence, without the surrounding whitespace."""
    sentence = text.strip()
    start = text.index(sentence)
    rest = text[start + len(sentence) :]
    return [SentenceSegment(text[:start], sentence), *([SentenceSegment(rest, "")] if rest else [])]


def join_sentences(pieces: Sequence[SentenceSegment], sentences: Sequence[str]) -> str:
    """Join one sentence per segment with the original spacing."""
    return "".join(piece.space + sentence for piece, sentence in zip(pieces, sentences, strict=True))


def _segments(line: str, language: str) -> list[str]:
    """Split with sentencex, undoing splits inside dates such as `2026. 11. 22.`"""
    groups: list[list[str]] = []
    for segment in _windows(line, language):
        if groups and _ENDS_WITH_NUMBER.search(groups[-1][-1]) and _continues_number(segment, language):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return ["".join(group) for group in groups]


def _windows(line: str, language: str) -> Iterator[str]:
    """Split with sentencex, whose time is quadratic, in windows.

    The last sentence of a window may be incomplete, so the next window begins with it. A sentence that is longer than a
    window is cut between words.
    """
    start = 0
    while len(line) - start > _WINDOW:
        window = line[start : start + _WINDOW]
        complete = sentencex.segment(language, window)[:-1]
        if not any(complete):
            complete = [window[: window.rfind(" ", _WINDOW // 2) + 1] or window]
        yield from complete
        start += sum(map(len, complete))
    yield from sentencex.segment(language, line[start:])


def _continues_number(segment: str, language: str) -> bool:
    """Whether a segment after "NUMBER." continues the sentence; in Korean, no capital marks the start of a new one."""
    return primary(language) == "ko" or segment[:1].isdigit()
