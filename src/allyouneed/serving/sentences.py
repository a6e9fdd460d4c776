"""Long text as sentences, and back: what stands between them (line breaks, spaces) is kept as it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import sentencex

_LINES = re.compile(r"[^\r\n]+|[\r\n]+")
_NUMBER_AND_DOT = re.compile(r"(?:^|\s)\d{1,4}\.\s*$")


class Piece(NamedTuple):
    """A sentence, and the space before it that is not translated. The last piece of a text may have no sentence."""

    before: str
    sentence: str


def split(text: str, language: str) -> list[Piece]:
    """Sentences of every line (a line break always ends one). `join(split(text), the sentences)` gives the text."""
    pieces, before = [], ""
    for line in _LINES.findall(text):
        for part in _segments(line, language) if line.strip() else [line]:
            sentence = part.strip()
            if not sentence:
                before += part
                continue
            start = part.index(sentence)
            pieces.append(Piece(before + part[:start], sentence))
            before = part[start + len(sentence) :]
    return [*pieces, Piece(before, "")] if before else pieces


def whole(text: str) -> list[Piece]:
    """The text as one sentence, for those who do not want it split."""
    sentence = text.strip()
    start = text.index(sentence)
    after = text[start + len(sentence) :]
    return [Piece(text[:start], sentence), *([Piece(after, "")] if after else [])]


def join(pieces: Sequence[Piece], sentences: Sequence[str]) -> str:
    """sentences: one for each piece, in order."""
    return "".join(piece.before + sentence for piece, sentence in zip(pieces, sentences, strict=True))


def _segments(line: str, language: str) -> list[str]:
    """The splitter's, joined again where it cut after a number: `2026. 11. 22.` is a date, not three sentences."""
    segments: list[str] = []
    for segment in sentencex.segment(language, line):
        if segments and _NUMBER_AND_DOT.search(segments[-1]) and _goes_on(segment, language):
            segments[-1] += segment
        else:
            segments.append(segment)
    return segments


def _goes_on(segment: str, language: str) -> bool:
    """Whether what follows a number and a dot belongs to it. Korean has no capitals to tell, and writes dates so."""
    return language.startswith("ko") or segment[:1].isdigit()
