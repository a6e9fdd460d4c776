"""Glossaries: translations of terms that a translation must use, and the search for the terms in a sentence."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from allyouneed.languages import primary
from allyouneed.translation.protection.finding import find_parts
from allyouneed.translation.sentence import Span, Term
from allyouneed.translation.terminology.words import Unit, nouns_of, units_of

_MOST_CHANGED = 4  # letters by which an inflected word differs in length from the term
_REPLACED = frozenset(("url", "e-mail", "path", "code", "handle", "emoji"))  # kept parts that a term may replace
_AGGLUTINATIVE = {"et", "eu", "fi", "hu", "tr", "ta"}  # languages with longer inflections


class Entry(NamedTuple):
    """An entry of a glossary.

    Attributes:
        source: The term in the source language.
        target: Its translation.
    """

    source: str
    target: str


class _Match(NamedTuple):
    """A term in a sentence; of overlapping ones, the greatest is used."""

    characters: int
    likeness: int  # 2: as in the glossary, 1: in other case, 0: inflected
    before: int  # minus its position, so that the first of equal terms is the greatest
    span: Span
    entry: Entry


@dataclass(frozen=True)
class Glossary:
    """A glossary for one pair of languages. It is immutable and thread-safe.

    A term is found as whole words, also in other forms of its words if a stemmer for the language is installed. In
    scripts without spaces (Chinese, Japanese, Thai), it is found anywhere; Korean nouns are found before particles.
    Small letters match capitals too, but capitals match only capitals: "word" is found in "Word" and "WORD", and the
    name "Word" is not found in "word". Of overlapping terms, the longest is used.

    Attributes:
        entries: The entries. If several have the same source, the first is used.
        source: Code of the source language.
        target: Code of the target language.
    """

    entries: tuple[Entry, ...]
    source: str = "und"
    target: str = "und"

    def __len__(self) -> int:
        return len(self.entries)

    def build_index(self) -> None:
        """Build the index of the terms now; otherwise the first search does it."""
        _ = self._counts

    def find(self, text: str, kept: Iterable[Span] = ()) -> tuple[Term, ...]:
        """Find the terms of a sentence, in their order, without overlap.

        A term overlaps a kept part only if it contains the part, and either the part is an address, a path, code or the
        like, or the translation of the term has it too.

        Args:
            text: The sentence.
            kept: Positions of parts that come through unchanged, in order, without overlap.
        """
        units, free, kept = units_of(text, self.source), bytearray(b"\1" * len(text)), tuple(kept)
        starts, ends = [start for start, _ in kept], [end for _, end in kept]
        found = []
        for match in sorted((match for i in range(len(units)) for match in self._beginning(units, i)), reverse=True):
            start, end = match.span
            inside = kept[bisect_right(ends, start) : bisect_left(starts, end)]
            if all(free[start:end]) and all(_gives_up(text, span, match) for span in inside):
                free[start:end] = bytes(end - start)
                found.append(Term(match.span, _in_case(match.entry, text[start:end])))
        return tuple(sorted(found))

    def _beginning(self, units: Sequence[Unit], index: int) -> Iterator[_Match]:
        """Yield the terms that begin at the unit with this index."""
        for count in {1, *self._counts.get(units[index].key, ())}:
            *before, last = units[index : index + count]
            if len(before) + 1 < count:
                continue
            keys = tuple(unit.key for unit in before)
            for form in (last, *nouns_of(last)):
                for entry, words in self._entries.get((*keys, form.key), ()):
                    likeness = self._likeness([*before, form], words)
                    if likeness is not None:
                        start = units[index].start
                        yield _Match(form.end - start, likeness, -start, (start, form.end), entry)

    def _likeness(self, units: Sequence[Unit], words: Sequence[Unit]) -> int | None:
        """Return how much a sentence's units are like the words of a term, see `_Match`; None if they are not it."""
        likeness = 2
        for unit, word in zip(units, words, strict=True):
            if unit.text == word.text or unit.text.isspace():
                continue
            same = unit.text.casefold() == word.text.casefold()
            too_long = abs(len(unit.text) - len(word.text)) > _MOST_CHANGED and not self._has_long_inflections
            if not _case_fits(unit.text, word.text) or (too_long and not same):
                return None
            likeness = min(likeness, int(same))
        return likeness

    @cached_property
    def _has_long_inflections(self) -> bool:
        return primary(self.source) in _AGGLUTINATIVE

    @cached_property
    def _entries(self) -> dict[tuple[str, ...], list[tuple[Entry, list[Unit]]]]:
        """The entries and the words of their terms, by the keys of the words."""
        found: dict[tuple[str, ...], list[tuple[Entry, list[Unit]]]] = {}
        for entry in {entry.source: entry for entry in reversed(self.entries)}.values():
            words = units_of(entry.source, self.source)
            found.setdefault(tuple(word.key for word in words), []).append((entry, words))
        return found

    @cached_property
    def _counts(self) -> dict[str, set[int]]:
        """The numbers of words of the terms that begin with each key."""
        counts: dict[str, set[int]] = {}
        for keys in self._entries:
            counts.setdefault(keys[0], set()).add(len(keys))
        return counts


def _gives_up(text: str, kept: Span, match: _Match) -> bool:
    """Return whether a term may replace a kept part."""
    if not (match.span[0] <= kept[0] and kept[1] <= match.span[1]):
        return False
    part = text[slice(*kept)]
    kinds = [each.kind for each in find_parts(part)]
    return part in match.entry.target or (bool(kinds) and _REPLACED.issuperset(kinds))


def _case_fits(word: str, term: str) -> bool:
    """Return whether a word may be a form of a term's word: capitals of the term are capitals of the word."""
    if word.isupper():
        return True
    letters = list(zip(word, term, strict=False))
    if any(t.isupper() and not w.isupper() for w, t in letters):
        return False
    return not any(w.isupper() and not t.isupper() for w, t in letters[1:])


def _in_case(entry: Entry, found: str) -> str:
    """Return the translation of a term; in capitals if the term is in capitals and the entry is not.

    Placeholders, tags and addresses in the translation stay as they are.
    """
    if not found.isupper() or entry.source.isupper() or sum(map(str.isalpha, found)) < 2:
        return entry.target
    text, end = "", 0
    for part in find_parts(entry.target):
        text += entry.target[end : part.start].upper() + entry.target[part.start : part.end]
        end = part.end
    return text + entry.target[end:].upper()
