"""What the model sees of a sentence: parts that are short enough, with stand-ins in place of kept parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from allyouneed.data.tokens.tokenizer import to_nfc
from allyouneed.translation.protection.masking import Mark, MaskedText, Slot, SlotKind
from allyouneed.translation.protection.placement import LONGEST_LEAD, Wanted
from allyouneed.translation.protection.stand_ins import StandIn, StandIns, stand_ins_of
from allyouneed.translation.translator import Translator
from allyouneed.translation.word_alignment import Span


class TermInView(NamedTuple):
    """A term in the model's text, with its translation."""

    span: Span
    target: str


class View(NamedTuple):
    """What the model sees of a part.

    Attributes:
        text: The text, with the code of the target language if the sentence has one.
        wanted: What the translation must contain.
        kept: For each of these, the indices of the kept parts in it, and their positions relative to its beginning.
        origins: Position in the sentence of each character, and its length.
        terms: Terms in the text.
        is_capital: Whether the translation begins with a capital, since the text does or is a whole sentence.
    """

    text: str
    wanted: list[Wanted]
    kept: list[list[tuple[int, Span]]]
    origins: list[int]
    terms: list[TermInView]
    is_capital: bool


class MaskedSentence(NamedTuple):
    """A sentence whose kept parts are masked.

    Attributes:
        text: The sentence, without the code of a target language.
        kept: Positions of its kept parts.
        terms: Positions of its terms, with their translations.
        masked: The masked text.
        code: Code of the target language that the sentence begins with; "" for none.
        replaced: Translations of the kept parts that are terms, by their index.
    """

    text: str
    kept: tuple[Span, ...]
    terms: Sequence[tuple[Span, str]]
    masked: MaskedText
    code: str
    replaced: Mapping[int, str] = MappingProxyType({})

    def cut(self, translator: Translator) -> list[Part]:
        """Cut the sentence into parts that the model can translate."""
        tokenizer, position, parts = translator.tokenizer, 0, list[Part]()
        masked, marks = self.masked.text, list(self.masked.marks)
        slots = self.masked.slots
        splitter = translator.splitter
        if slots:
            splitter = splitter.with_stand_ins(slots, stand_ins_of(translator).tokens)
        for coded, separator in splitter.cut(f"{self.code} {masked}" if self.code else masked):
            text = tokenizer.split_code(coded)[1].lstrip() if self.code else coded
            origin = max(position, masked.find(text, position))
            position = origin + len(text)
            parts.append(Part(self, text, origin, separator, [mark for mark in marks if mark.position < position]))
            marks = [mark for mark in marks if mark.position >= position]
        last = parts.pop()
        return [*parts, last._replace(separator="", marks=[*last.marks, *marks])]


class Part(NamedTuple):
    """A part of a masked sentence.

    Attributes:
        sentence: The sentence.
        text: Its masked text.
        origin: Position in the masked text of the sentence.
        separator: Text between the translations of this part and of the next.
        marks: Marks in it.
    """

    sentence: MaskedSentence
    text: str
    origin: int
    separator: str
    marks: Sequence[Mark]

    def view(self, stand_ins: StandIns, attempt: int) -> View:
        """Make the model's text, with other stand-ins at each attempt."""
        maker = _ViewMaker(self, _chosen(self, stand_ins, attempt))
        return maker.view()


class _ViewMaker:
    """Makes a view character by character."""

    def __init__(self, part: Part, chosen: dict[str, StandIn]):
        self.part, self.sentence, self.chosen = part, part.sentence, chosen
        self.text, self.origins, self.starts = "", list[int](), list[int]()
        self.wanted: list[Wanted] = []
        self.kept: list[list[tuple[int, Span]]] = []
        self.normalised = to_nfc(part.text)
        self.scale = len(part.text) / max(1, len(self.normalised))  # characters are approximately at the same position

    def view(self) -> View:
        sentence, slots = self.sentence, self.sentence.masked.slots
        if sentence.code:
            self._append(f"{sentence.code} ", self._origin(0))
        for i, character in enumerate(self.normalised):
            self.starts.append(len(self.text))
            if character in slots:
                self._append_slot(i, slots[character], self.chosen[character])
            else:
                self._append(character, self._origin(i))
        self.starts.append(len(self.text))
        for mark in self.part.marks:
            self._add_mark(mark, max(0, mark.position - self.part.origin))
        terms = [
            TermInView((inside[0], inside[-1] + 1), target)
            for (start, end), target in sentence.terms
            if (inside := [i for i, origin in enumerate(self.origins) if start <= origin < end])
        ]
        return View(
            self.text, self.wanted, self.kept, [*self.origins, len(sentence.text)], terms, self._begins_with_capital()
        )

    def _begins_with_capital(self) -> bool:
        text, slots = self.part.text, self.sentence.masked.slots
        first = next((each for each in text if each.isalnum() or each in slots), "")
        return first.isupper() or (not first.isalpha() and text.rstrip()[-1:] in (".", "!", "?"))

    def _origin(self, i: int) -> int:
        origins = self.sentence.masked.origins
        return origins[min(self.part.origin + int(i * self.scale), len(origins) - 1)]

    def _append(self, text: str, origin: int) -> None:
        self.text += text
        self.origins += [origin] * len(text)

    def _append_slot(self, i: int, slot: Slot, stand_in: StandIn) -> None:
        is_word = slot.kind is not SlotKind.ITSELF
        before, after = self.normalised[max(0, i - 1) : i], self.normalised[i + 1 : i + 2]
        self._append(" " * (is_word and before.isalnum()), self._origin(i))
        span = len(self.text), len(self.text) + len(stand_in.source)
        self._append(stand_in.source, self._origin(i))
        self._append(" " * (is_word and after.isalnum()), self._origin(i))
        self._add(span, slot.span, slot.kept, Wanted(span, "", stand_in.targets, slot.shown))

    def _add_mark(self, mark: Mark, at: int) -> None:
        position = self.starts[min(len(self.starts) - 1, round(at / self.scale))]
        span = position, position
        self._add(span, self.sentence.kept[mark.kept], (mark.kept,), Wanted(span, "", is_mark=True, opens=mark.opens))

    def _add(self, span: Span, source: Span, kept: Sequence[int], wanted: Wanted) -> None:
        text, (start, end) = self.sentence.text, source
        before, after = text[max(0, start - LONGEST_LEAD) : start], text[end : end + 2]
        shown, spans, position = "", list[tuple[int, Span]](), start
        for index in kept:
            first, last = self.sentence.kept[index]
            shown += text[position:first]
            begin = len(shown)
            shown += self.sentence.replaced.get(index, text[first:last])
            spans.append((index, (begin, len(shown))))
            position = last
        self.wanted.append(wanted._replace(text=shown + text[position:end], before=before, after=after))
        self.kept.append(spans)


def _chosen(part: Part, stand_ins: StandIns, attempt: int) -> dict[str, StandIn]:
    """Choose a different stand-in for each slot, none of which occurs in the text."""
    present, slots = part.text.lower(), part.sentence.masked.slots
    inside = [(character, slots[character]) for character in part.text if character in slots]
    counts: dict[SlotKind, int] = defaultdict(int)
    chosen = {}
    for character, slot in inside:
        if slot.kind is SlotKind.ITSELF:
            chosen[character] = StandIn(slot.shown)
            continue
        every = stand_ins.words if slot.kind is SlotKind.WORD else stand_ins.numbers
        pool = [each for each in every if each.source.lower() not in present] or every
        same = sum(each.kind is slot.kind for _, each in inside)
        chosen[character] = pool[(attempt * same + counts[slot.kind]) % len(pool)]
        counts[slot.kind] += 1
    return chosen
