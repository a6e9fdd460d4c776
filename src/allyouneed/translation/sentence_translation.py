"""Translation of sentences with parts that come through unchanged, and with given terms.

This is what documents, the server and the command line translate through: text that must not change (placeholders,
URLs, code) is in the translation exactly once, terms have the translation of a glossary, and what has no letters is
copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

Span = tuple[int, int]  # start and end, in characters


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
        terms: Terms with their translations.
    """

    text: str
    kept: tuple[Span, ...] = ()
    terms: tuple[Term, ...] = ()


class TranslatedSentence(NamedTuple):
    """The translation of a sentence.

    Attributes:
        text: The translation.
        kept: Position in the translation of each kept part, in the order of the source.
        links: Positions of aligned (source, target) words; empty unless requested.
        problems: What could not be guaranteed, one sentence each.
        score: Log probability divided by the length penalty.
        hypotheses: Texts with scores, best first.
    """

    text: str
    kept: tuple[Span, ...] = ()
    links: tuple[tuple[Span, Span], ...] = ()
    problems: tuple[str, ...] = ()
    score: float = 0.0
    hypotheses: tuple[tuple[str, float], ...] = ()


def translate_sentences(
    translator: Translator,
    sentences: Sequence[Sentence],
    options: SearchOptions | None = None,
    links: bool = False,
) -> list[TranslatedSentence]:
    """Translate sentences with their kept parts and terms.

    Args:
        translator: The translator.
        sentences: The sentences.
        options: Search options; None for the bundle's.
        links: Whether to align words.
    """
    found = translator.translate([sentence.text for sentence in sentences], options)
    return [TranslatedSentence(one.text, score=one.score, hypotheses=tuple(one.hypotheses)) for one in found]
