"""Sentences that are far longer than those of the training text are cut into pieces, so that none occupies a model
thread for long: the model cuts them anyway (see `translation/splitting.py`), but within one batch."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from allyouneed.serving.queue.model_worker import SentenceTranslation
from allyouneed.translation.sentence import Sentence, Span, Term

_UP_TO_LAST_BREAK = re.compile(r"(?s:.*)[\s,;:、，；：。！？]")


class SentencePiece(NamedTuple):
    """A piece of a sentence.

    Attributes:
        sentence: What is translated.
        start: Position in the sentence.
        end: Position in the sentence.
        added: Number of characters before the piece in what is translated, for a target-language code.
    """

    sentence: Sentence
    start: int
    end: int
    added: int = 0


def cut(sentence: Sentence, longest: int, code: str = "") -> list[SentencePiece]:
    """Cut a sentence between words, or within a word that is too long, but not within a kept part or a term.

    Args:
        sentence: The sentence.
        longest: Number of characters of a piece; a kept part that is longer is a piece of its own.
        code: Target-language code that the sentence begins with; it is added to the other pieces.
    """
    if len(sentence.text) <= longest:
        return [SentencePiece(sentence, 0, len(sentence.text))]
    first, *others = _pieces(sentence, longest)
    added = len(code) + 1 if code else 0
    return [first, *(each._replace(sentence=with_code(each.sentence, code), added=added) for each in others)]


def with_code(sentence: Sentence, code: str) -> Sentence:
    """Put a target-language code in front of a sentence; an empty sentence stays empty."""
    if not code or not sentence.text:
        return sentence
    by = len(code) + 1
    terms = tuple(Term((term.span[0] + by, term.span[1] + by), term.target) for term in sentence.terms)
    kept = tuple((start + by, end + by) for start, end in sentence.kept)
    return Sentence(f"{code} {sentence.text}", kept, terms)


def _pieces(sentence: Sentence, longest: int) -> Iterator[SentencePiece]:
    text, start = sentence.text, 0
    spans: list[tuple[Span, str | None]] = [(span, None) for span in sentence.kept]
    spans += [(term.span, term.target) for term in sentence.terms]
    waiting = deque(sorted(spans, key=lambda each: each[0]))
    while start < len(text):
        end = min(start + longest, len(text))
        if end < len(text) and (found := _UP_TO_LAST_BREAK.match(text, start + longest // 2, end)):
            end = found.end()
        inside: list[tuple[Span, str | None]] = []
        while waiting and waiting[0][0][0] < end:
            first, last = waiting[0][0]
            if last > end and first > start:
                end = first
                break
            end = max(end, last)
            inside.append(waiting.popleft())
        yield _piece(text, start, end, inside)
        start = end


def _piece(text: str, start: int, end: int, inside: Sequence[tuple[Span, str | None]]) -> SentencePiece:
    """Return a piece without the white space at its ends."""
    content = text[start:end]
    first = start + len(content) - len(content.lstrip())
    if inside:  # white space that is kept
        first = min(first, inside[0][0][0])
    moved = [((a - first, b - first), target) for (a, b), target in inside]
    last = max(first, start + len(content.rstrip()), *(b for (_, b), _ in inside))
    kept = tuple(span for span, target in moved if target is None)
    terms = tuple(Term(span, target) for span, target in moved if target is not None)
    return SentencePiece(Sentence(text[first:last], kept, terms), first, last)


def join(
    sentence: Sentence, pieces: Sequence[SentencePiece], results: Sequence[SentenceTranslation]
) -> SentenceTranslation:
    """Join the translations of the pieces of a sentence, with the white space between them."""
    if len(pieces) == 1:
        return results[0]
    texts, kept, links, end, offset = list[str](), list[Span](), list[tuple[Span, Span]](), 0, 0
    for piece, result in zip(pieces, results, strict=True):
        space = sentence.text[end : piece.start]
        offset += len(space)
        texts += [space, result.text]
        kept += [(a + offset, b + offset) for a, b in result.kept]
        shift = piece.start - piece.added
        links += [((a + shift, b + shift), (c + offset, d + offset)) for (a, b), (c, d) in result.links]
        offset += len(result.text)
        end = piece.end
    text, score = "".join(texts) + sentence.text[end:], sum(result.score for result in results)
    problems = tuple(problem for result in results for problem in result.problems)
    return SentenceTranslation(text, score, [(text, score)], (), (), tuple(kept), tuple(links), problems)
