"""Translation of sentences with parts that come through unchanged, and with given terms.

This is what documents, the server and the command line translate through: text that must not change (placeholders,
URLs, code) is in the translation exactly once, terms have the translation of a glossary, and what has no letters is
copied.

The model sees a stand-in for each kept part, a word that it knows. In the translation, the word that the decoder's
attention links with the stand-in is replaced by the kept part. Hence every kept part is there exactly once, whatever
the model generates. If the link is uncertain, other stand-ins are tried. A term whose translation the model does not
choose replaces the word that is linked with it in the same way; constrained search (`forced.py`) costs more time and,
for translations that the model does not know, more BLEU (`benchmarks/glossary.py`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from allyouneed.data.tokens.tokenizer import to_nfc
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection.finding import find_parts
from allyouneed.translation.protection.frame import Frame, frame_of
from allyouneed.translation.protection.letters import has_digits, has_letters, numbers_share, without_spans
from allyouneed.translation.protection.masking import mask, needs_space
from allyouneed.translation.protection.placement import Placed, Wanted, place
from allyouneed.translation.protection.stand_ins import StandIns, stand_ins_of
from allyouneed.translation.protection.views import MaskedSentence, Part, TermInView, View
from allyouneed.translation.translator import Translator
from allyouneed.translation.word_alignment import AlignedWords, align_words
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


_NO_FRAME = Frame("", 0, 0)
_ATTEMPTS = 4  # sets of stand-ins that are tried
_ENOUGH = 0.7  # attention to a stand-in above which no other is tried
_NUMBERS_SHARE = 0.02  # of the sources; a corpus of sentences may contain some numbers too
_CHECKED = frozenset(("placeholder", "message", "entity", "tag", "element", "url", "e-mail"))


def translate_sentences(
    translator: Translator,
    sentences: Sequence[Sentence],
    options: SearchOptions | None = None,
    links: bool = False,
    force_words: Sequence[str] = (),
) -> list[TranslatedSentence]:
    """Translate sentences with their kept parts and terms.

    A sentence that is copied lacks the forced words, which is a problem of its translation.

    Args:
        translator: The translator.
        sentences: The sentences.
        options: Search options; None for the bundle's.
        links: Whether to align words.
        force_words: Words and phrases that every translation must contain.

    Raises:
        UserError: If an option is out of bounds or conflicts with `force_words`, or a text contains an unpaired
            surrogate.
    """
    options = options or SearchOptions()
    works = [_Work.of(translator, sentence, links) for sentence in sentences]
    plain = [work for work in works if work.is_plain]
    texts = [work.sentence.text for work in plain]
    found = translator.translate(texts, options, force_words=force_words) if plain else []
    for work, one in zip(plain, found, strict=True):
        work.result = TranslatedSentence(
            one.text, problems=one.problems, score=one.score, hypotheses=tuple(one.hypotheses)
        )
    jobs = [job for work in works for job in work.jobs]
    if jobs:
        _JobRunner(translator, options, force_words).run(jobs)
    results = [work.result or work.assembled(links) for work in works]
    return [_with_missing(each, force_words) if each.is_copied else each for each in results]


def _with_missing(copied: TranslatedSentence, words: Sequence[str]) -> TranslatedSentence:
    """Add a problem for each word that a copied sentence lacks."""
    problems = [f"There is nothing to translate, so “{each}” is missing." for each in words if each not in copied.text]
    return copied._replace(problems=(*copied.problems, *problems)) if copied.text.strip() else copied


@dataclass
class _Job:
    """A part of a sentence that the model translates at once, and its best translations so far.

    The first part of a sentence has the forced words.
    """

    part: Part
    is_first: bool = True
    found: list[_Found] = field(default_factory=list)

    @property
    def quality(self) -> tuple[int, float]:
        """Certainty of the positions, to compare translations."""
        return _quality(self.found)

    @property
    def is_certain(self) -> bool:
        return bool(self.found) and self.quality >= (0, _ENOUGH)


class _Found(NamedTuple):
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


@dataclass
class _Work:
    """A sentence on its way through translation."""

    sentence: Sentence
    code: str = ""
    jobs: list[_Job] = field(default_factory=list)
    removed: int = 0  # characters of the code and the white space around it
    frame: Frame = _NO_FRAME
    is_plain: bool = False
    result: TranslatedSentence | None = None

    @classmethod
    def of(cls, translator: Translator, sentence: Sentence, links: bool) -> _Work:
        code, text = translator.tokenizer.split_code(sentence.text.lstrip())
        text = text.lstrip() if code else sentence.text
        removed = len(sentence.text) - len(text)
        if sentence.kept and sentence.kept[0][0] < removed:  # a symbol of the vocabulary that is no code here
            code, text, removed = "", sentence.text, 0
        moved = Sentence(
            text,
            tuple((start - removed, end - removed) for start, end in sentence.kept),
            tuple(Term((t.span[0] - removed, t.span[1] - removed), t.target) for t in sentence.terms),
        )
        if not _is_translatable(translator, moved):
            copied = TranslatedSentence(
                text, moved.kept, hypotheses=((text, 0.0),) if text.strip() else (), is_copied=True
            )
            return cls(moved, code, result=copied)
        if not (moved.kept or moved.terms or links):
            return cls(sentence, code, is_plain=True)
        frame = frame_of(text, moved.kept)
        if any(term.span[0] < frame.start or frame.end < term.span[1] for term in moved.terms):
            frame = Frame(text, 0, len(text))
        masked = _masked(_within(moved, frame), code)
        jobs = [_Job(part, i == 0) for i, part in enumerate(masked.cut(translator))]
        return cls(moved, code, jobs, removed, frame)

    def assembled(self, links: bool) -> TranslatedSentence:
        """Join the translations of the parts."""
        found = [job.found[0] for job in self.jobs]
        text, kept, problems, linked = self.frame.head, dict[int, Span](), list[str](), list[tuple[Span, Span]]()
        removed = self.removed + self.frame.start
        for job, one in zip(self.jobs, found, strict=True):
            offset = len(text)
            kept |= _kept_spans(one, offset)
            linked += _links(one, removed, offset) if links else []
            problems += [
                f"The position of “{one.view.wanted[i].text}” in the translation is uncertain."
                for i in one.placed.uncertain
            ]
            problems += one.problems
            text += one.placed.text + job.part.separator
        masked = self.jobs[0].part.sentence
        for index in masked.replaced if links else ():
            start, end = masked.kept[index]
            linked.append(((start + removed, end + removed), kept[index]))
        text = self.frame.trimmed(text, max((end for _, end in kept.values()), default=0))
        by = len(text) - self.frame.end
        ordered = (
            *(span for span in self.sentence.kept if span[0] < self.frame.start),
            *(kept[i] for i in range(len(masked.kept)) if i not in masked.replaced),
            *((start + by, end + by) for start, end in self.sentence.kept if start >= self.frame.end),
        )
        text += self.frame.tail
        text, ordered, more = _checked(self.sentence, text, ordered)
        hypotheses = [(text, sum((one.score for one in found), 0.0))]
        if len(self.jobs) == 1:
            hypotheses += [(self._framed(one), one.score) for one in self.jobs[0].found[1:]]
        return TranslatedSentence(text, ordered, tuple(linked), (*problems, *more), hypotheses[0][1], tuple(hypotheses))

    def _framed(self, one: _Found) -> str:
        last = max((end for _, end in one.placed.spans), default=0)
        return self.frame.head + self.frame.trimmed(one.placed.text, last) + self.frame.tail


def _within(sentence: Sentence, frame: Frame) -> Sentence:
    """Return the part of a sentence that is translated."""
    by = frame.start
    return Sentence(
        sentence.text[by : frame.end],
        tuple((start - by, end - by) for start, end in sentence.kept if by <= start < frame.end),
        tuple(Term((term.span[0] - by, term.span[1] - by), term.target) for term in sentence.terms),
    )


def _masked(sentence: Sentence, code: str) -> MaskedSentence:
    """Mask the kept parts, and the terms that contain what is kept elsewhere, such as addresses."""
    replaced = {term.span: term.target for term in sentence.terms if find_parts(sentence.text[slice(*term.span)])}
    terms = [term for term in sentence.terms if term.span not in replaced]
    kept = tuple(sorted((*sentence.kept, *replaced)))
    by_index = {index: replaced[span] for index, span in enumerate(kept) if span in replaced}
    return MaskedSentence(sentence.text, kept, terms, mask(sentence.text, kept), code, by_index)


def _is_translatable(translator: Translator, sentence: Sentence) -> bool:
    """Return whether a sentence has letters besides its kept parts, or digits that the model learned to translate."""
    rest = without_spans(sentence.text, sentence.kept)
    return has_letters(rest) or (has_digits(rest) and translates_numbers(translator))


def translates_numbers(translator: Translator) -> bool:
    """Return whether a model was trained on sources of digits without letters, such as dates.

    A bundle of an earlier version does not say so; its reference outputs do.
    """
    share = translator.bundle.numbers_share
    if share is None:
        share = numbers_share(translator.tokenizer.split_code(each["source"])[1] for each in translator.bundle.samples)
    return share >= _NUMBERS_SHARE


class _JobRunner:
    """Translates parts with stand-ins, and places what they must contain."""

    def __init__(self, translator: Translator, options: SearchOptions, force_words: Sequence[str]):
        self.translator, self.options, self.force_words = translator, options, force_words

    def run(self, jobs: Sequence[_Job]) -> None:
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

    def _translate(self, views: Sequence[View], forced: Sequence[Sequence[str]]) -> list[list[_Found]]:
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


def _quality(found: Sequence[_Found]) -> tuple[int, float]:
    """Return minus the number of uncertain positions, and the lowest attention to a stand-in."""
    return -len(found[0].placed.uncertain), found[0].placed.attention


def _placed(view: View, target: str, score: float, words: AlignedWords, forced: Sequence[str]) -> _Found:
    """Place kept parts, and terms that the translation lacks."""
    missing = _missing(view.terms, target)
    taken = [span for term in view.terms for span in occurrences(target, term.target)]
    taken += [(start, start + len(word)) for word in forced if word and (start := target.find(word)) >= 0]
    capitals = [_capital(term.target) if view.is_capital else "" for term in missing]
    wanted = [*view.wanted]
    for term, capital in zip(missing, capitals, strict=True):
        wanted.append(Wanted(term.span, term.target, before=" ", after=" ", capital=capital))
    placed = place(target, words, wanted, taken, to_nfc(view.text))
    return _Found(placed, view._replace(wanted=wanted), words, score)


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


def _kept_spans(found: _Found, offset: int) -> dict[int, Span]:
    """Return the positions of kept parts in a sentence's translation."""
    spans = {}
    for (start, _), indices in zip(found.placed.spans, found.view.kept, strict=False):
        for index, (first, last) in indices:
            spans[index] = offset + start + first, offset + start + last
    return spans


def _links(found: _Found, removed: int, offset: int) -> list[tuple[Span, Span]]:
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


def _checked(sentence: Sentence, text: str, kept: tuple[Span, ...]) -> tuple[str, tuple[Span, ...], list[str]]:
    """Remove further copies of kept parts, and report text of their kind that the source lacks."""
    problems, removed = list[str](), list[Span]()
    source = {sentence.text[start:end] for start, end in sentence.kept}
    ordered = sorted(kept)
    ends = [end for _, end in ordered]
    for part in find_parts(text):
        near = bisect_right(ends, part.start)
        extra = text[part.start : part.end]
        if part.kind not in _CHECKED or (near < len(ordered) and ordered[near][0] < part.end):
            continue
        if any(extra in term.target for term in sentence.terms):
            continue
        if extra in source:
            is_apart = text[part.start - 1 : part.start] == " " and text[part.end : part.end + 1] in (" ", "")
            removed.append((part.start - is_apart, part.end))
        elif extra not in sentence.text:
            problems.append(f"The translation contains “{extra}”, which the source lacks.")
    for start, end in reversed(removed):
        text = text[:start] + text[end:]
        kept = tuple((a - end + start, b - end + start) if a >= end else (a, b) for a, b in kept)
    return text, kept, problems
