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

from allyouneed.translation.options import SearchOptions
from allyouneed.translation.protection.finding import find_parts
from allyouneed.translation.protection.frame import Frame, frame_of
from allyouneed.translation.protection.learned import ENTITY, translates_entities, translates_numbers
from allyouneed.translation.protection.letters import has_digits, has_letters, without_spans
from allyouneed.translation.protection.masking import mask, seen_by_model
from allyouneed.translation.protection.part_translation import Found, Job, JobRunner, aligned_positions, kept_spans
from allyouneed.translation.protection.views import MaskedSentence
from allyouneed.translation.sentence import Sentence, Span, Term, TranslatedSentence
from allyouneed.translation.translator import Translator

_NO_FRAME = Frame("", 0, 0)
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
        JobRunner(translator, options, force_words).run(jobs)
    results = [work.result or work.assembled(links) for work in works]
    return [_with_missing(each, force_words) if each.is_copied else each for each in results]


def _with_missing(copied: TranslatedSentence, words: Sequence[str]) -> TranslatedSentence:
    """Add a problem for each word that a copied sentence lacks."""
    problems = [f"There is nothing to translate, so “{each}” is missing." for each in words if each not in copied.text]
    return copied._replace(problems=(*copied.problems, *problems)) if copied.text.strip() else copied


@dataclass
class _Work:
    """A sentence on its way through translation."""

    sentence: Sentence
    code: str = ""
    jobs: list[Job] = field(default_factory=list)
    removed: int = 0  # characters of the code and the white space around it
    frame: Frame = _NO_FRAME
    checked: frozenset[str] = _CHECKED  # kinds that a translation may not have more of
    is_plain: bool = False
    result: TranslatedSentence | None = None

    @classmethod
    def of(cls, translator: Translator, sentence: Sentence, links: bool) -> _Work:
        sentence = _without_learned_entities(translator, sentence)
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
            return cls(sentence._replace(text=seen_by_model(sentence.text)), code, is_plain=True)
        frame = frame_of(text, moved.kept)
        if any(term.span[0] < frame.start or frame.end < term.span[1] for term in moved.terms):
            frame = Frame(text, 0, len(text))
        masked = _masked(_within(moved, frame), code)
        jobs = [Job(part, i == 0) for i, part in enumerate(masked.cut(translator))]
        checked = _CHECKED - {ENTITY} if translates_entities(translator) else _CHECKED
        return cls(moved, code, jobs, removed, frame, checked)

    def assembled(self, links: bool) -> TranslatedSentence:
        """Join the translations of the parts."""
        found = [job.found[0] for job in self.jobs]
        text, kept, problems, linked = self.frame.head, dict[int, Span](), list[str](), list[tuple[Span, Span]]()
        removed = self.removed + self.frame.start
        for job, one in zip(self.jobs, found, strict=True):
            offset = len(text)
            kept |= kept_spans(one, offset)
            linked += aligned_positions(one, removed, offset) if links else []
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
        text, ordered, more = _checked(self.sentence, text, ordered, self.checked)
        hypotheses = [(text, sum((one.score for one in found), 0.0))]
        if len(self.jobs) == 1:
            hypotheses += [(self._framed(one), one.score) for one in self.jobs[0].found[1:]]
        return TranslatedSentence(
            text, ordered, tuple(linked), tuple(dict.fromkeys((*problems, *more))), hypotheses[0][1], tuple(hypotheses)
        )

    def _framed(self, one: Found) -> str:
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


def _without_learned_entities(translator: Translator, sentence: Sentence) -> Sentence:
    """Return a sentence whose escaped characters are not kept, if they are ordinary words of the model's training."""
    if not (sentence.kept and "&" in sentence.text and translates_entities(translator)):
        return sentence
    entities = {(each.start, each.end) for each in find_parts(sentence.text) if each.kind == ENTITY}
    return sentence._replace(kept=tuple(span for span in sentence.kept if span not in entities))


def _is_translatable(translator: Translator, sentence: Sentence) -> bool:
    """Return whether a sentence has letters besides its kept parts, or digits that the model learned to translate."""
    rest = without_spans(sentence.text, sentence.kept)
    return has_letters(rest) or (has_digits(rest) and translates_numbers(translator))


def _checked(
    sentence: Sentence, text: str, kept: tuple[Span, ...], kinds: frozenset[str]
) -> tuple[str, tuple[Span, ...], list[str]]:
    """Remove further copies of kept parts, and report text of some kinds that the source lacks."""
    problems, removed = list[str](), list[Span]()
    source = {sentence.text[start:end] for start, end in sentence.kept}
    ordered = sorted(kept)
    ends = [end for _, end in ordered]
    for part in find_parts(text):
        near = bisect_right(ends, part.start)
        extra = text[part.start : part.end]
        if part.kind not in kinds or (near < len(ordered) and ordered[near][0] < part.end):
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
