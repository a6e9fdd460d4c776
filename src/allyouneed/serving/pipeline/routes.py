"""Sentences on their way through several models: kept parts, terms and alignment are followed along the route."""

from __future__ import annotations

from typing import NamedTuple

from allyouneed.serving.queue.model_worker import SentenceTranslation
from allyouneed.translation.sentence import Sentence, Span, Term


class Travelling(NamedTuple):
    """A sentence between two models.

    Attributes:
        text: The sentence in the language that was reached.
        spans: Positions in `text` of what is kept and of terms, in the order of the source.
        targets: The translation of each span that is a term; None for what is kept. A term is kept up to the last
            model, which has its translation in the target language.
        result: The translation so far, aligned with the source.
        is_begun: Whether a model has translated it.
    """

    text: str
    spans: tuple[Span, ...]
    targets: tuple[str | None, ...]
    result: SentenceTranslation = SentenceTranslation("", 0.0, [])
    is_begun: bool = False

    @classmethod
    def begin(cls, sentence: Sentence) -> Travelling:
        """Return a sentence in its source language."""
        spans: list[tuple[Span, str | None]] = [(span, None) for span in sentence.kept]
        spans = sorted([*spans, *((term.span, term.target) for term in sentence.terms)], key=lambda pair: pair[0])
        return cls(sentence.text, tuple(span for span, _ in spans), tuple(target for _, target in spans))

    def next_sentence(self, is_last: bool) -> Sentence:
        """Return what the next model translates."""
        pairs = sorted(zip(self.spans, self.targets, strict=True))
        if not is_last:
            return Sentence(self.text, tuple(span for span, _ in pairs))
        kept = tuple(span for span, target in pairs if target is None)
        return Sentence(self.text, kept, tuple(Term(span, target) for span, target in pairs if target is not None))

    def after(self, result: SentenceTranslation, is_last: bool) -> Travelling:
        """Return the sentence after a model."""
        order = [i for _, i in sorted((span, i) for i, span in enumerate(self.spans))]
        order = [i for i in order if not is_last or self.targets[i] is None]  # of the parts that the model kept
        by_index = dict(zip(order, result.kept, strict=False))
        spans = tuple(by_index[i] for i in sorted(by_index))
        targets = tuple(self.targets[i] for i in sorted(by_index))
        combined = _over(self.result, result) if self.is_begun else result
        return Travelling(result.text, spans, targets, combined._replace(kept=spans), True)


def _over(first: SentenceTranslation, second: SentenceTranslation) -> SentenceTranslation:
    """Return the second translation, aligned with the source of the first."""
    words = {(source, target) for source, pivot in first.alignment for i, target in second.alignment if i == pivot}
    links = [
        (source, target)
        for source, pivot in first.links
        for other, target in second.links
        if pivot[0] < other[1] and other[0] < pivot[1]
    ]
    problems = (*first.problems, *second.problems)
    return second._replace(alignment=sorted(words), links=tuple(dict.fromkeys(links)), problems=problems)
