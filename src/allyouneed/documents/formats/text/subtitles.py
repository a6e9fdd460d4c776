"""Subtitles (SubRip and WebVTT): times, numbers, settings, styles and notes stay as they are.

A sentence that runs over several cues is one segment. Its translation is divided among the cues in proportion to their
text, after punctuation where possible, and each cue is broken into lines of similar length.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.text.encoded_text import EncodedText, decode
from allyouneed.documents.formats.text.patching import Edit, changed, patched
from allyouneed.documents.formats.text.subtitle_lines import balanced_lines, divided
from allyouneed.documents.segments import Code, CodeKind, Parts, Segment, plain_text
from allyouneed.errors import UserError

_TIME = re.compile(r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}")
_ANY_TIME = r"\d[\d:.,]*+"
_CUE = re.compile(
    rf"(?:^|(?<=\r))(?:[^\S\r\n]*(?P<id>[^\r\n]*\S)[^\S\r\n]*(?:\r\n|\n|\r))?[^\S\r\n]*(?P<start>{_ANY_TIME})[^\S\r\n]*-->[^\S\r\n]*"
    rf"(?P<end>{_ANY_TIME})(?P<settings>[^\r\n]*)(?:\r\n|[\r\n]|\Z)",
    re.MULTILINE,
)
_BLANK = re.compile(r"(?:\r\n|[\r\n])[^\S\r\n]*(?:\r\n|[\r\n]|\Z)")
_TAG = re.compile(r"</?[a-zA-Z\d][^<>\r\n]*>|\{\\[^{}\r\n]*\}")
_NAME = re.compile(r"</?\s*([a-zA-Z]+)")
_LINE_END = re.compile(r"[^\S\r\n]*(?:\r\n|[\r\n])[^\S\r\n]*")
_ENDS = re.compile(r"[.!?…。！？:;♪\])]['\"”’»」』]*$")
_DIALOGUE = re.compile(r"\s*(?:<[^<>/][^<>\r\n]*>)*(?:[-–—‐](?![-–—])[^\S\r\n]?(?=\S)|>>)")
_LEADING = re.compile(r"(?:\{\\[^{}\r\n]*\}|<v[. ][^<>\r\n]*>|\s)+")
_LONGEST_PAUSE = 1.5  # seconds between cues that may belong to one sentence
_MOST_CUES = 6


class Line(NamedTuple):
    """A stretch of text of a cue: all its lines, or one of several speakers.

    Attributes:
        start: Position of its text.
        end: The position after it.
        begins: Time at which its cue begins, in seconds.
        ends: Time at which its cue ends, in seconds.
        number: Line of the file.
        is_first: Whether it is the first of its cue.
        is_last: Whether it is the last of its cue.
        lead: Tags before it, such as that of the speaker.
    """

    start: int
    end: int
    begins: float
    ends: float
    number: int
    is_first: bool
    is_last: bool
    lead: str = ""


@dataclass
class Subtitles:
    """A file of subtitles.

    Attributes:
        content: The text and its encoding.
        segments: The segments.
        places: The stretches of text that each segment consists of.
        escapes: Whether the text has character references, as in WebVTT.
    """

    content: EncodedText
    segments: list[Segment]
    places: list[list[Line]]
    escapes: bool
    notes: Sequence[str] = ()
    suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the subtitles with translations in the cues of their sources."""
        text = self.content.text
        line_end = next((each for each in ("\r\n", "\n", "\r") if each in text), "\n")
        edits = []
        for index, parts in changed(self.segments, translations).items():
            lines = self.places[index]
            pieces = divided(parts, [line.end - line.start for line in lines])
            for line, piece in zip(lines, pieces, strict=True):
                count = len(_LINE_END.findall(text, line.start, line.end)) + 1
                broken = balanced_lines(piece, count)
                edits.append(Edit(line.start, line.end, line_end.join(map(self._written, broken))))
        return self.content.encode(patched(text, edits))

    def _written(self, parts: Parts) -> str:
        escape = html.escape if self.escapes else lambda text, quote: text.replace("-->", "→")
        return "".join(escape(part, False) if isinstance(part, str) else part.raw for part in parts)


def read(data: bytes, options: ReadOptions) -> Subtitles:
    """Read a file of subtitles, WebVTT by its first line and SubRip otherwise.

    Raises:
        UserError: If there is text but no cue.
    """
    content = decode(data, options.name)
    text = content.text
    is_vtt = text.startswith("WEBVTT")
    cues = list(_CUE.finditer(text))
    odd = [cue for cue in cues if not (_TIME.fullmatch(cue["start"]) and _TIME.fullmatch(cue["end"]))]
    if len(odd) == len(cues) and text.strip() and not is_vtt:
        raise UserError(f"{options.name}: no cue of the form 00:00:01,000 --> 00:00:02,000. Correct the times.")
    segments, places = [], []
    lines = list(_lines(text, cues, is_vtt))
    for group in _sentences(text, lines, options.source):
        parts = _joined(text, group, is_vtt)
        if plain_text(parts).strip():
            segments.append(Segment(parts, f"line {group[0].number:,}"))
            places.append(group)
    notes = [*content.notes]
    notes += [f"“{cue['start']} --> {cue['end']}” is no time, and is kept as it is" for cue in odd]
    return Subtitles(content, segments, places, is_vtt, notes)


def _lines(text: str, cues: Sequence[re.Match[str]], is_vtt: bool) -> Iterator[Line]:
    """The text of each cue, one stretch for each speaker."""
    number, counted = 1, 0
    for index, cue in enumerate(cues):
        start = cue.end()
        limit = cues[index + 1].start() if index + 1 < len(cues) else len(text)
        start, end = _text_of(text, start, limit, is_vtt)
        lead = _LEADING.match(text, start, end)
        first_start = lead.end() if lead else start
        cuts = [first_start, end]
        if _DIALOGUE.match(text, first_start, end):
            starts = (match.end() for match in _LINE_END.finditer(text, first_start, end))
            cuts[1:1] = [at for at in starts if _DIALOGUE.match(text, at, end)]
        for first, last in pairwise(cuts):
            stop = last - len(text[first:last]) + len(text[first:last].rstrip())
            number += text.count("\n", counted, first)
            counted = first
            dash = _DIALOGUE.match(text, first, stop)
            begin = dash.end() if dash and "<" not in dash[0] else first
            times = _seconds(cue["start"]), _seconds(cue["end"])
            ends = first == first_start, last == end
            yield Line(begin, stop, *times, number, *ends, text[start:first_start].strip())


def _text_of(text: str, start: int, limit: int, is_vtt: bool) -> tuple[int, int]:
    """The position of the text of a cue between its times and the next cue."""
    if is_vtt:  # a blank line ends the cue
        blank = _BLANK.search(text, start - 1, limit)
        limit = max(blank.start(), start) if blank else limit
    stripped = text[start:limit].strip()
    start += len(text[start:limit]) - len(text[start:limit].lstrip())
    return start, start + len(stripped)


def _seconds(time: str) -> float:
    if not _TIME.fullmatch(time):
        return math.nan
    *hours, minutes, seconds = time.replace(",", ".").split(":")
    return int(hours[0] if hours else 0) * 3600 + int(minutes) * 60 + float(seconds)


def _sentences(text: str, lines: list[Line], language: str) -> Iterator[list[Line]]:
    """Groups of stretches that a sentence runs over."""
    group: list[Line] = []
    for line in lines:
        if group and not (len(group) < _MOST_CUES and _continues(text, group[-1], line, language)):
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def _continues(text: str, before: Line, line: Line, language: str) -> bool:
    """Whether a sentence goes on from one cue to the next."""
    is_next = before.is_last and line.is_first and -0.5 <= line.begins - before.ends <= _LONGEST_PAUSE
    if not is_next or before.lead != line.lead:
        return False
    old, new = (_TAG.sub("", text[each.start : each.end]).strip() for each in (before, line))
    letter = next((char for char in new if char.isalpha()), "")
    if not letter or not any(map(str.isalpha, old)) or _ENDS.search(old) or _DIALOGUE.match(new):
        return False
    if old[0] in "[(♪" or new[0] in "[(♪":
        return False
    begins_anew = letter.isupper() and not (language[:2] == "de" and new[0] == letter)
    return not begins_anew or old.endswith((",", "，", "、", "-", "–"))


def _joined(text: str, group: list[Line], is_vtt: bool) -> Parts:
    """The text of a group of stretches with its tags as codes; line breaks are spaces."""
    raw = " ".join(_LINE_END.sub(" ", text[line.start : line.end]) for line in group)
    parts: list[str | Code] = []
    stack: list[tuple[str, int, str]] = []
    position, number = 0, 0
    for tag in [*_TAG.finditer(raw), None]:
        piece = raw[position : tag.start() if tag else len(raw)]
        if piece:
            parts.append(html.unescape(piece) if is_vtt else piece)
        if tag is None:
            break
        position = tag.end()
        name = _NAME.match(tag[0])
        if name is None or name[1].lower() not in ("b", "i", "u", "s", "c", "v", "font", "lang", "ruby", "rt"):
            parts.append(Code(tag[0]))
        elif tag[0][1] != "/":
            stack.append((name[1].lower(), len(parts), tag[0]))
            parts.append(Code(tag[0]))
        elif stack and stack[-1][0] == name[1].lower():
            _, index, opening = stack.pop()
            number += 1
            parts[index] = Code(opening, CodeKind.OPEN, number)
            parts.append(Code(tag[0], CodeKind.CLOSE, number))
        else:
            parts.append(Code(tag[0]))
    return tuple(parts)
