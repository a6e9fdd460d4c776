"""Translation of the parts of sentences, with stand-ins for what must be kept.

The model sees a stand-in for each kept part, a word that it knows. In the translation, the word that the decoder's
attention links with the stand-in is replaced by the kept part. If the link is uncertain, other stand-ins are tried. A
term whose translation the model does not choose replaces the word that is linked with it in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from allyouneed.data.tokens.tokenizer import to_nfc
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection.masking import needs_space
from allyouneed.translation.protection.placement import Placed, Wanted, place
from allyouneed.translation.protection.stand_ins import StandIns, stand_ins_of
from allyouneed.translation.protection.views import Part, TermInView, View
from allyouneed.translation.translator import Translator
from allyouneed.translation.word_alignment import AlignedWords, Span, align_words

_ATTEMPTS = 4  # sets of stand-ins that are tried
_ENOUGH = 0.7  # attention to a stand-in above which no other is tried


@dataclass
class Job:
    """A part of a sentence that the model translates at once, and its best translations so far.

    The first part of a sentence has the forced words.
    """

    part: Part
    is_first: bool = True
    found: list[Found] = field(default_factory=list)

    @property
    def quality(self) -> tuple[int, float]:
        """Certainty of the positions, to compare translations."""
        return _quality(self.found)

    @property
    def is_certain(self) -> bool:
        return bool(self.found) and self.quality >= (0, _ENOUGH)


class Found(NamedTuple):
    """A translation of a part.

    Attributes:
        placed: The translation with its kept parts and terms.
        view: What the model saw.
        words: Alignment of the model's text and translation.
        score: Score of the translation.
        problems: Problems of the model's translation.
    """

    placed: Placed
    view: View
    words: AlignedWords
    score: float
    problems: tuple[str, ...] = ()


class JobRunner:
    """Translates parts with stand-ins, and places what they must contain."""

    def __init__(self, translator: Translator, options: SearchOptions, force_words: Sequence[str]):
        self.translator, self.options, self.force_words = translator, options, force_words

    def run(self, jobs: Sequence[Job]) -> None:
        """Translate parts; those with uncertain positions again with other stand-ins."""
        needs_stand_ins = any(job.part.sentence.masked.slots for job in jobs)
        stand_ins = stand_ins_of(self.translator) if needs_stand_ins else StandIns((), (), 0)
        pending = list(jobs)
        for attempt in range(_ATTEMPTS):
            views = [job.part.view(stand_ins, attempt) for job in pending]
            forced = [self.force_words if job.is_first else () for job in pending]
            for job, found in zip(pending, self._translate(views, forced), strict=True):
                if not job.found or _quality(found) > job.quality:
                    job.found = found
            pending = [job for job in pending if not job.is_certain and job.part.sentence.masked.slots]
            if not pending:
                break

    def _translate(self, views: Sequence[View], forced: Sequence[Sequence[str]]) -> list[list[Found]]:
        texts = [view.text for view in views]
        translated = self.translator.translate(texts, self.options, force_words=forced if self.force_words else ())
        found = [one.hypotheses or [("", 0.0)] for one in translated]
        pairs = [(to_nfc(view.text), to_nfc(text)) for view, each in zip(views, found, strict=True) for text, _ in each]
        aligned = iter(align_words(self.translator, pairs))
        return [
            [
                _placed(view, to_nfc(text), score, next(aligned), words)._replace(problems=one.problems)
                for text, score in each
            ]
            for view, one, each, words in zip(views, translated, found, forced, strict=True)
        ]


def _quality(found: Sequence[Found]) -> tuple[int, float]:
    """Return minus the number of uncertain positions, and the lowest attention to a stand-in."""
    return -len(found[0].placed.uncertain), found[0].placed.attention


def _placed(view: View, target: str, score: float, words: AlignedWords, forced: Sequence[str]) -> Found:
    """Place kept parts, and terms that the translation lacks."""
    missing = _missing(view.terms, target)
    taken = [span for term in view.terms for span in occurrences(target, term.target)]
    taken += [(start, start + len(word)) for word in forced if word and (start := target.find(word)) >= 0]
    capitals = [_capital(term.target) if view.is_capital else "" for term in missing]
    wanted = [*view.wanted]
    for term, capital in zip(missing, capitals, strict=True):
        wanted.append(Wanted(term.span, term.target, before=" ", after=" ", capital=capital))
    placed = place(target, words, wanted, taken, to_nfc(view.text))
    return Found(placed, view._replace(wanted=wanted), words, score)


def _missing(terms: Sequence[TermInView], target: str) -> list[TermInView]:
    """Return the terms that a translation lacks."""
    missing, counts = [], dict[str, int]()
    for term in terms:
        if term.target not in counts:
            counts[term.target] = len(occurrences(target, term.target))
        counts[term.target] -= 1
        if counts[term.target] < 0:
            missing.append(term)
    return missing


def _capital(term: str) -> str:
    """Return a term as at the beginning of a sentence; names such as "iPhone" stay as they are."""
    first, word = term[:1].title(), term.split(" ", maxsplit=1)[0]
    return first + term[1:] if word.islower() and len(first) == 1 else term


def occurrences(text: str, phrase: str) -> list[Span]:
    """Return the positions of a phrase in a text as whole words; at its beginning, also with a capital."""
    begin = next((i for i, character in enumerate(text) if character.isalnum()), 0)
    if phrase and text.startswith(_capital(phrase), begin):
        text = text[:begin] + phrase + text[begin + len(phrase) :]
    found, start = [], text.find(phrase) if phrase else -1
    while start >= 0:
        end = start + len(phrase)
        if not (needs_space(text[start - 1 : start], phrase[0]) or needs_space(phrase[-1], text[end : end + 1])):
            found.append((start, end))
        start = text.find(phrase, end)
    return found


def kept_spans(found: Found, offset: int) -> dict[int, Span]:
    """Return the positions of kept parts in a sentence's translation."""
    spans = {}
    for (start, _), indices in zip(found.placed.spans, found.view.kept, strict=False):
        for index, (first, last) in indices:
            spans[index] = offset + start + first, offset + start + last
    return spans


def aligned_positions(found: Found, removed: int, offset: int) -> list[tuple[Span, Span]]:
    """Return aligned words, with positions in the sentence and in its translation."""
    links, origins = [], found.view.origins
    for (first, last), (start, end) in found.words.links():
        piece = next((p for p in found.placed.pieces if p[0] <= start and end <= p[1]), None)
        if piece and last < len(origins):
            shift = offset + piece[2] - piece[0]
            source = origins[first] + removed, origins[last - 1] + 1 + removed
            links.append((source, (start + shift, end + shift)))
    kept = len(found.view.kept)
    for term, (start, end) in zip(found.view.wanted[kept:], found.placed.spans[kept:], strict=True):
        first, last = term.source
        links.append(((origins[first] + removed, origins[last - 1] + 1 + removed), (start + offset, end + offset)))
    return links
