"""A sentence to translate, with what must come through unchanged and the terms of a glossary, and its translation."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from allyouneed.translation.word_alignment import Span as Span


class Term(NamedTuple):
    """A term of a glossary in a sentence.

    Attributes:
        span: Position in the sentence.
        target: Its translation.
    """

    span: Span
    target: str


class Sentence(NamedTuple):
    """A sentence to translate.

    Attributes:
        text: The sentence.
        kept: Positions of the parts that come through unchanged, in order, without overlap.
        terms: Terms with their translations, outside the kept parts.
    """

    text: str
    kept: tuple[Span, ...] = ()
    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, text: str, kept: Sequence[Span], terms: Sequence[Term]) -> Sentence:
        """Return a sentence in which terms have precedence: what is within a term is not kept.

        Args:
            text: The sentence.
            kept: Positions of parts, in order, without overlap.
            terms: Terms, in order, without overlap; none overlaps a kept part without containing it.
        """
        starts = [term.span[0] for term in terms]

        def is_free(span: Span) -> bool:
            at = bisect_right(starts, span[0]) - 1
            return at < 0 or span[1] > terms[at].span[1]

        return cls(text, tuple(filter(is_free, kept)), tuple(terms))


class TranslatedSentence(NamedTuple):
    """The translation of a sentence.

    Attributes:
        text: The translation.
        kept: Position in the translation of each kept part, in the order of the source.
        links: Positions of aligned (source, target) words; empty unless requested.
        problems: What could not be guaranteed, one sentence each.
        score: Log probability divided by the length penalty.
        hypotheses: Texts with scores, best first.
        is_copied: Whether the source has nothing to translate and is copied.
    """

    text: str
    kept: tuple[Span, ...] = ()
    links: tuple[tuple[Span, Span], ...] = ()
    problems: tuple[str, ...] = ()
    score: float = 0.0
    hypotheses: tuple[tuple[str, float], ...] = ()
    is_copied: bool = False
