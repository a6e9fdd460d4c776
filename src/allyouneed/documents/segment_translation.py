"""Translation of segments: the steps before and after the model, which all formats, commands and servers share.

`prepare` splits a segment into sentences and finds what they must keep; `assemble` joins their translations and inserts
the codes. Between the two, the command line calls a translator, and the server its queue.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from allyouneed.documents.code_placement import place_codes
from allyouneed.documents.flat_text import FlatText, flatten
from allyouneed.documents.segments import CodeKind, Parts, Segment, plain_text
from allyouneed.documents.sentences import SentenceSegment, single_sentence, split_sentences
from allyouneed.documents.token_alignment import AlignedText, Link
from allyouneed.translation.protection import find_kept, has_letters, without_spans
from allyouneed.translation.sentence import Sentence, Span, Term, TranslatedSentence


def _nothing(text: str) -> tuple[()]:
    return ()


def _no_terms(text: str, kept: Sequence[Span]) -> tuple[()]:
    return ()


class Finders(NamedTuple):
    """Functions that find parts of a text before it is translated.

    Attributes:
        kept: Returns the positions of parts that come through unchanged, such as placeholders, in order.
        terms: Returns the terms of a glossary in a sentence with their translations; one may contain kept parts, which
            it replaces.
    """

    kept: Callable[[str], Sequence[Span]] = _nothing
    terms: Callable[[str, Sequence[Span]], Sequence[Term]] = _no_terms


_BRACKETS = frozenset(("()", "[]", "{}", "（）", "［］", "【】"))
_LONGEST_LETTERLESS = 20  # characters
_SPACES = re.compile(r"[ \t\xa0]{2,}|\t")  # white space within a sentence that readers see, such as that of a table
NOTHING_FOUND = Finders()
PROTECTION = Finders(find_kept)


class PreparedSegment(NamedTuple):
    """A segment that is ready for translation.

    Attributes:
        source: The segment's text and codes.
        flat: Its text, and its codes with their positions.
        pieces: The sentences of the text and the white space between them.
        starts: Position of each sentence in the text.
        sentences: What the model translates, one for each piece; empty sentences have empty translations.
        links: For each sentence, whether its words must be aligned, because a code is within it.
    """

    source: Parts
    flat: FlatText
    pieces: list[SentenceSegment]
    starts: list[int]
    sentences: list[Sentence]
    links: list[bool]


class SegmentTranslation(NamedTuple):
    """The translation of a segment.

    Attributes:
        parts: Text and codes; every code of the source occurs exactly once.
        problems: What could not be guaranteed, one sentence each.
        unchanged: Sentences whose translation equals them, although they have words to translate.
    """

    parts: Parts
    problems: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text without codes, as readers see it."""
        return plain_text(self.parts)


def prepare(source: Parts, language: str, finders: Finders = NOTHING_FOUND, split: bool = True) -> PreparedSegment:
    """Split a segment into sentences.

    Args:
        source: Text and codes.
        language: Code of the source language, for the rules of sentence ends.
        finders: Find what must be kept, and terms.
        split: Whether to split the text into sentences.
    """
    flat = flatten(source)
    fixed = [*((code.start, code.end) for code in flat.codes if code.code.text), *_letterless_elements(flat)]
    kept = _merged([_with_brackets(flat.text, span) for span in (*finders.kept(flat.text), *fixed)])
    pieces = split_sentences(flat.text, language) if split else single_sentence(flat.text)
    pieces = _without_ends_within(pieces, kept)
    starts, sentences, links, position = [], [], [], 0
    ends, codes = [end for _, end in kept], [code.start for code in flat.codes if code.start == code.end]
    for space, text in pieces:
        start = position + len(space)
        position = start + len(text)
        spans = kept[bisect_right(ends, start) : bisect_right(ends, position)]
        inside = [(a - start, b - start) for a, b in spans if start <= a]
        inside = _merged([*inside, *_runs_of_spaces(text, inside)])
        terms = finders.terms(text, inside) if text else ()
        starts.append(start)
        sentences.append(Sentence.of(text, inside, [each for each in terms if not _overlaps(each.span, start, fixed)]))
        links.append(bisect_right(codes, start) < bisect_left(codes, position))
    return PreparedSegment(source, flat, pieces, starts, sentences, links)


def assemble(prepared: PreparedSegment, translated: Sequence[TranslatedSentence]) -> SegmentTranslation:
    """Join the translations of a segment's sentences, and insert its codes.

    Args:
        prepared: The segment.
        translated: The translation of each of its sentences.
    """
    problems = tuple(dict.fromkeys(problem for each in translated for problem in each.problems))
    pairs = list(zip(prepared.sentences, translated, strict=True))
    unchanged = tuple(sentence.text for sentence, each in pairs if is_unchanged(sentence, each.text))
    if all(sentence.text == each.text for sentence, each in pairs):
        return SegmentTranslation(prepared.source, problems, unchanged)
    text, kept, links, spans = "", [], [], []
    for piece, start, (sentence, each) in zip(prepared.pieces, prepared.starts, pairs, strict=True):
        text += piece.space
        offset = len(text)
        text += each.text
        moved = _moved(zip(sentence.kept, each.kept, strict=False), start, offset)
        source_text = prepared.flat.text
        kept += [(a, b) for a, b in moved if source_text[slice(*a)] == text[slice(*b)]]
        links += _moved(each.links, start, offset)
        spans.append(((start, start + len(sentence.text)), (offset, len(text))))
    placed = place_codes(prepared.flat, AlignedText(text, kept, links, spans))
    return SegmentTranslation(placed, problems, unchanged)


def exceeds(segment: Segment, translation: SegmentTranslation) -> str | None:
    """Return a problem if a translation is longer than the document allows."""
    length = len(translation.text)
    if segment.longest is None or length <= segment.longest:
        return None
    return f"the translation has {length} characters, and the document allows {segment.longest}"


def _moved(links: Sequence[Link] | zip[Link], source: int, target: int) -> list[Link]:
    """Move positions within a sentence to positions within its segment."""
    return [((a + source, b + source), (c + target, d + target)) for (a, b), (c, d) in links]


def _letterless_elements(flat: FlatText) -> Iterator[Span]:
    """Yield the texts of inline elements without letters, such as the number of a note, which are kept."""
    opened: dict[int, int] = {}
    for code in flat.codes:
        if code.code.kind is CodeKind.OPEN:
            opened[code.code.pair] = code.start
            continue
        start = opened.pop(code.code.pair, code.start) if code.code.kind is CodeKind.CLOSE else code.start
        text = flat.text[start : min(code.start, start + _LONGEST_LETTERLESS + 1)]
        if text.strip() and len(text) <= _LONGEST_LETTERLESS and not has_letters(text):
            begin = start + len(text) - len(text.lstrip())
            yield begin, start + len(text.rstrip())


def _with_brackets(text: str, span: Span) -> Span:
    """Extend a kept part by the brackets directly around it, so that they stay with it."""
    start, end = span
    while 0 < start < end < len(text) and text[start - 1] + text[end] in _BRACKETS:
        start, end = start - 1, end + 1
    return start, end


def _runs_of_spaces(text: str, kept: Sequence[Span]) -> Iterator[Span]:
    """Yield the runs of spaces of a sentence; those between two kept parts are kept with these."""
    starts, ends = {start for start, _ in kept}, {end for _, end in kept}
    for match in _SPACES.finditer(text):
        if match.start() not in ends or match.end() not in starts:
            yield match.span()


def _overlaps(span: Span, start: int, fixed: Sequence[Span]) -> bool:
    """Return whether a term of a sentence, which begins at `start`, overlaps with visible text of codes."""
    return any(a < span[1] + start and span[0] + start < b for a, b in fixed)


def _merged(spans: Sequence[Span]) -> list[Span]:
    """Sort spans, and join those that overlap."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if start == end:
            continue
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def is_unchanged(sentence: Sentence, translation: str) -> bool:
    """Return whether a translation equals its sentence, which has letters outside the parts that are kept."""
    rest = without_spans(sentence.text, sentence.kept)
    return sentence.text.split() == translation.split() and has_letters(rest)


def _without_ends_within(pieces: list[SentenceSegment], kept: Sequence[Span]) -> list[SentenceSegment]:
    """Join the sentences that end within a kept part."""
    out: list[list[SentenceSegment]] = []
    position, remaining = 0, iter(kept)
    inside = next(remaining, None)
    for piece in pieces:
        start = position + len(piece.space)
        while inside and inside[1] <= position:
            inside = next(remaining, None)
        if out and inside and inside[0] < start:
            out[-1].append(piece)
        else:
            out.append([piece])
        position = start + len(piece.sentence)
    return [SentenceSegment(first.space, first.sentence + "".join(map("".join, rest))) for first, *rest in out]
