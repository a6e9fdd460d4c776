"""Division of a text among cues and lines of subtitles."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from unicodedata import east_asian_width

from allyouneed.documents.segments import Code, CodeKind, Part, Parts, plain_text

Cut = tuple[int, int]

_LONGEST_LINE = 42  # columns; Netflix's and the EBU's limit for Latin scripts, and 21 wide characters
_WIDE = r"[\u1100-\u115f\u2e80-\ua4cf\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60]"
_BREAK = re.compile(rf"(?<=\S)\s+(?=\S)|(?<={_WIDE})(?=[^\s、。，．！？」』）】〉》ー…])(?<![（「『【〈《])")
_AFTER_PUNCTUATION = re.compile(r"[,.;:!?…，、。！？；：]['\"”’»」』]*$")
_MOST_MARKS = 8  # a punctuation mark and closing quotation marks
_BONUS = 0.15  # of the text: how far a break may move to follow punctuation


def divided(parts: Parts, weights: list[int]) -> list[Parts]:
    """Divide a text among cues.

    Args:
        parts: Text and codes.
        weights: The length of the source in each cue.

    Returns:
        The text of each cue; an inline element that runs over cues is closed and opened again. If the text has fewer
        words than cues, the last ones repeat its end.
    """
    if len(weights) == 1:
        return [parts]
    text = plain_text(parts)
    ideal = [total / sum(weights) * _columns(text) for total in accumulate(weights[:-1])]
    return _cut(parts, _cuts(text, ideal, _BONUS * _columns(text) / len(weights)))


def balanced_lines(parts: Parts, count: int) -> list[Parts]:
    """Break the text of a cue into lines of similar length.

    Args:
        parts: Text and codes.
        count: Number of lines of the source; more are used only if the text is longer than they hold.
    """
    text = plain_text(parts)
    columns = _columns(text)
    count = max(count, -(-columns // _LONGEST_LINE))
    if count == 1 or columns <= _LONGEST_LINE / 2:
        return [parts]
    ideal = [columns / count * number for number in range(1, count)]
    cuts = [cut for cut in _cuts(text, ideal, _BONUS * columns / count) if cut is not None]
    return _cut(parts, cuts)


def _cuts(text: str, ideal: list[float], bonus: float) -> list[Cut | None]:
    """The breaks nearest to ideal columns, in order; None where no break is left."""
    breaks = [match.span() for match in _BREAK.finditer(text)]
    columns = [_columns(text[:start]) for start, _ in breaks] if len(text) < 2_000 else [start for start, _ in breaks]
    costs = [0.0 if _follows_punctuation(text, start) else bonus for start, _ in breaks]
    cuts: list[Cut | None] = []
    first = 0
    for index, column in enumerate(ideal):
        last = len(breaks) - (len(ideal) - index - 1)  # leave a break for each of the others
        last = max(last, first + 1) if first < len(breaks) else first
        choices = _candidates(columns, column, bonus, first, last)
        best = min(choices, key=lambda at: abs(columns[at] - column) + costs[at], default=None)
        cuts.append(None if best is None else breaks[best])
        first = first if best is None else best + 1
    return cuts


def _follows_punctuation(text: str, at: int) -> bool:
    return _AFTER_PUNCTUATION.search(text, max(0, at - _MOST_MARKS), at) is not None


def _candidates(columns: Sequence[float], column: float, bonus: float, first: int, last: int) -> range:
    """The breaks from `first` on and before `last` that are at most `bonus` farther from a column than the nearest."""
    if first == last:
        return range(0)
    after = bisect_left(columns, column, first, last)
    farthest = min(abs(columns[at] - column) for at in (max(after - 1, first), min(after, last - 1))) + bonus
    return range(
        bisect_left(columns, column - farthest, first, last), bisect_right(columns, column + farthest, first, last)
    )


def _cut(parts: Parts, cuts: Sequence[Cut | None]) -> list[Parts]:
    """Cut text and codes at positions of the text."""
    spans = [cut for cut in cuts if cut is not None]
    pieces: list[list[Part]] = [[]]
    opened: list[Code] = []
    position = 0
    for part in parts:
        if isinstance(part, Code):
            _add_code(part, pieces[-1], opened)
            position += len(part.text)
            continue
        begin = 0
        while spans and spans[0][0] < position + len(part) and spans[0][1] <= position + len(part):
            start, end = spans.pop(0)
            pieces[-1].append(part[begin : max(start - position, 0)])
            pieces[-1] += [Code(_closing(code.raw), CodeKind.CLOSE, code.pair) for code in reversed(opened)]
            pieces.append(list(opened))
            begin = end - position
        pieces[-1].append(part[begin:])
        position += len(part)
    while len(pieces) < len(cuts) + 1:
        pieces.append(list(pieces[-1]))
    return [tuple(part for part in piece if part != "") for piece in pieces]


def _add_code(code: Code, piece: list[Part], opened: list[Code]) -> None:
    if code.kind is CodeKind.OPEN:
        opened.append(code)
    elif code.kind is CodeKind.CLOSE and opened:
        opened.pop()
    piece.append(code)


def _closing(raw: str) -> str:
    """The tag that closes an element."""
    return "</" + re.split(r"[\s.>]", raw[1:], maxsplit=1)[0] + ">"


def _columns(text: str) -> int:
    return len(text) if text.isascii() else sum(1 + (east_asian_width(char) in "WF") for char in text)
