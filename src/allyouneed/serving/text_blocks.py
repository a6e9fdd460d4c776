"""Blocks of translatable text; word alignment determines the positions of inline tags in the translation."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

_ID_ATTRIBUTE = re.compile(r"""\sid\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)""", re.IGNORECASE)

Span = tuple[int, int]
WordLink = tuple[Span, Span]  # positions of a target word and of its source word


class InlineElement(NamedTuple):
    """An inline element: its two tags, and the position of the opening tag, which identifies the element."""

    opening: str
    closing: str
    position: int


@dataclass
class TextBlock:
    """Translatable text between block tags.

    Attributes:
        text: Plain text.
        runs: Adjacent spans (start, end) of the text, each with the inline elements around it, outermost first.
        atoms: (position, raw markup) of untranslated markup between words.
    """

    text: str = ""
    runs: list[tuple[int, int, tuple[InlineElement, ...]]] = field(default_factory=list)
    atoms: list[tuple[int, str]] = field(default_factory=list)

    @property
    def has_tags(self) -> bool:
        """Whether the block has inline markup, so that its translation needs word alignment."""
        return any(elements for _, _, elements in self.runs) or bool(self.atoms)

    def append(self, text: str, elements: tuple[InlineElement, ...]) -> None:
        """Append a run of text."""
        self.runs.append((len(self.text), len(self.text) + len(text), elements))
        self.text += text

    def without_prefix(self, length: int) -> TextBlock:
        """Return the block without its first characters and without its atoms."""
        rest = TextBlock()
        for start, end, elements in self.runs:
            if end > length:
                rest.append(self.text[max(start, length) : end], elements)
        return rest

    def render(self, text: str, links: Sequence[WordLink]) -> str:
        """Insert the block's tags into a translation.

        An element is opened and closed around adjacent words that belong to it, so it may occur several times. Its `id`
        stays with the first occurrence.

        Args:
            text: Translation of the block.
            links: For each target word, its position and that of its source word.

        Returns:
            Escaped markup.
        """
        cache = {source: self._elements_around(source) for source in {source for _, source in links}}
        elements_by_word = [cache[source] for _, source in links]
        self._restore_lost_elements(elements_by_word)
        out: list[str] = []
        seen: set[InlineElement] = set()
        open_elements: tuple[InlineElement, ...] = ()
        position = 0
        atoms = deque(sorted(self.atoms, key=lambda atom: atom[0]))
        for (span, source), elements in zip(links, elements_by_word, strict=True):
            shared = _common_prefix(open_elements, elements)
            out += [element.closing for element in reversed(open_elements[shared:])]
            preceding = []
            while atoms and atoms[0][0] <= source[0]:
                preceding.append(atoms.popleft())
            out.append(self._render_gap(escape(text[position : span[0]], quote=False), preceding))
            for element in elements[shared:]:
                out.append(_ID_ATTRIBUTE.sub("", element.opening) if element in seen else element.opening)
                seen.add(element)
            out.append(escape(text[slice(*span)], quote=False))
            open_elements, position = elements, span[1]
        out += [element.closing for element in reversed(open_elements)]
        out.append(self._render_gap(escape(text[position:], quote=False), atoms))
        unplaced = [element for element in self._elements() if element not in seen]
        return "".join([*out, *(element.opening + element.closing for element in unplaced)])

    def _elements_around(self, span: Span) -> tuple[InlineElement, ...]:
        """Return the elements of the run that overlaps most with the span."""
        first = bisect_right(self.runs, span[0], key=lambda run: run[1])
        last = bisect_left(self.runs, span[1], key=lambda run: run[0])
        overlaps = [(min(span[1], end) - max(span[0], start), len(e), e) for start, end, e in self.runs[first:last]]
        return max(overlaps, key=lambda overlap: overlap[:2], default=(0, 0, ()))[2]

    def _render_gap(self, gap: str, atoms: Sequence[tuple[int, str]]) -> str:
        """Return the text between two words: the gap, or atoms with the spaces that surround them in the source."""
        if not atoms:
            return gap
        spaced = ((" " if self.text[at - 1 : at] == " " else "") + raw for at, raw in atoms)
        last = atoms[-1][0]
        between = "".join(spaced) + (" " if self.text[last : last + 1] == " " else "")
        return between + gap if gap and " " not in (between[0], between[-1]) else between

    def _restore_lost_elements(self, elements_by_word: list[tuple[InlineElement, ...]]) -> None:
        """Assign the elements of a run without target words to the word at the relative position of the run."""
        counts = Counter(element for elements in elements_by_word for element in elements)
        for start, end, elements in self.runs:
            if elements_by_word and not all(counts[element] for element in elements):
                relative = (start + end) / 2 / max(1, len(self.text))
                word = min(len(elements_by_word) - 1, int(relative * len(elements_by_word)))
                counts.subtract(elements_by_word[word])
                counts.update(elements)
                elements_by_word[word] = elements

    def _elements(self) -> list[InlineElement]:
        return list(dict.fromkeys(element for _, _, elements in self.runs for element in elements))


@dataclass
class MarkupDocument:
    """Markup that is kept as it is, and blocks of text to translate, in document order."""

    parts: list[str | TextBlock]

    @property
    def blocks(self) -> list[TextBlock]:
        """Blocks to translate, in order."""
        return [part for part in self.parts if isinstance(part, TextBlock)]

    def rebuild(self, translations: Sequence[tuple[str, Sequence[WordLink]]]) -> str:
        """Return the document with each block's translation and word links in place of its text."""
        remaining = iter(translations)
        return "".join(part.render(*next(remaining)) if isinstance(part, TextBlock) else part for part in self.parts)


def _common_prefix(first: Sequence[InlineElement], second: Sequence[InlineElement]) -> int:
    """Return the number of outermost elements that both sequences share."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count
