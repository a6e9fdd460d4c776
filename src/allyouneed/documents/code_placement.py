"""Placement of codes in a translation by word alignment.

Each code of the source occurs in the translation exactly once, and pairs remain nested. An inline element covers the
contiguous words of the translation that best match its words in the source. A code between words follows the word
before it. Spaces beside codes are those of the source.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from allyouneed.documents.flat_text import FlatCode, FlatText, joined
from allyouneed.documents.segments import Code, CodeKind, Parts
from allyouneed.documents.token_alignment import AlignedText, TokenAlignment
from allyouneed.translation.sentence import Span

_NEARBY = 8  # tokens that are tried for an element without words


@dataclass(eq=False)
class _Item:
    """An inline element, or a code that stands alone (`closing` is None), with its position in both texts, in tokens.

    The lists of codes are in document order, so `order` also orders items.
    """

    order: int
    opening: FlatCode
    closing: FlatCode | None
    source: Span
    target: Span = (0, 0)
    inner: list[_Item] = field(default_factory=list)


def place_codes(source: FlatText, target: AlignedText) -> Parts:
    """Insert the codes of a text into its translation."""
    if not source.codes:
        return (target.text,) if target.text else ()
    placement = _Placement(source, target)
    placement.place()
    return placement.parts()


class _Placement:
    def __init__(self, source: FlatText, target: AlignedText):
        self.source, self.target = source, target
        self.aligned = TokenAlignment(source, target)
        self._sentence_ends = [span[1] for span, _ in target.sentences]
        self.root = self._tree()

    # The tree of inline elements

    def _gap(self, position: int) -> int:
        """Return the number of source tokens before a position."""
        return bisect_left(self.aligned.source_starts, position)

    def _tree(self) -> _Item:
        codes = self.source.codes
        everything = FlatCode(Code(""), 0, len(self.source.text), False, False)
        whole = (0, len(self.aligned.source_tokens))
        root = _Item(-1, everything, everything, whole, (0, len(self.aligned.target_tokens)))
        stack, partners = [root], _partners([code.code for code in codes])
        placed = {id(code) for code in self.aligned.shown.values()}
        for order, code in enumerate(codes):
            partner, gap = partners.get(order), self._gap(code.start)
            if partner is not None and partner > order:
                item = _Item(order, code, codes[partner], (gap, self._gap(codes[partner].start)))
                stack[-1].inner.append(item)
                stack.append(item)
            elif partner is not None:
                stack.pop()
            elif id(code) not in placed:
                stack[-1].inner.append(_Item(order, code, None, (gap, gap)))
        return root

    # Positions in the translation

    def place(self) -> None:
        """Choose the position of every element and code in the translation."""
        waiting = [self.root]
        while waiting:
            parent = waiting.pop()
            elements = [item for item in parent.inner if item.closing]
            self._place_elements(parent, elements)
            occupied = sorted((item.target, item.source) for item in elements if item.target[0] < item.target[1])
            for item in parent.inner:
                if not item.closing:
                    gap = _outside(self._gap_of(item, parent), item.source[0], occupied)
                    item.target = (gap, gap)
            parent.inner.sort(key=lambda item: (*item.target, item.order))
            waiting += elements

    def _place_elements(self, parent: _Item, elements: list[_Item]) -> None:
        starts = [item.source[0] for item in elements]
        best: dict[int, tuple[int, Span]] = {}
        current, score, start = -1, 0, 0
        for index in range(*parent.target):
            anchor, weight = self.aligned.anchors[index], self.aligned.target_tokens[index].weight
            if anchor is None:
                continue
            number = bisect_right(starts, anchor) - 1
            if number >= 0 and anchor < elements[number].source[1]:
                if number != current or score <= 0:
                    current, score, start = number, 0, index
                score += weight
                if score > best.get(number, (0, (0, 0)))[0]:
                    best[number] = score, (start, index + 1)
            else:
                score -= weight
        taken = {index for _, span in best.values() for index in range(*span)}
        for number, item in enumerate(elements):
            item.target = best[number][1] if number in best else self._place_lost(item, parent, taken)
            taken.update(range(*item.target))

    def _place_lost(self, item: _Item, parent: _Item, taken: set[int]) -> Span:
        """Return the nearest free word for an element whose words are not in the translation."""
        gap = self._after(item.source[0], parent)
        if item.source[0] == item.source[1]:
            return gap, gap
        for distance in range(_NEARBY):
            for index in (gap + distance, gap - 1 - distance):
                if (
                    parent.target[0] <= index < parent.target[1]
                    and index not in taken
                    and index not in self.aligned.shown
                ):
                    return index, index + 1
        return gap, gap

    def _after(self, gap: int, parent: _Item) -> int:
        """Return the target gap after the word that precedes a source gap."""
        low, high = parent.target
        at = bisect_left(self.aligned.linked, gap) - 1
        if at < 0 or self.aligned.linked[at] < parent.source[0]:
            return low
        return min(max(self.aligned.last[self.aligned.linked[at]] + 1, low), high)

    def _before(self, gap: int, parent: _Item) -> int:
        """Return the target gap before the word that follows a source gap."""
        low, high = parent.target
        at = bisect_left(self.aligned.linked, gap)
        if at == len(self.aligned.linked) or self.aligned.linked[at] >= parent.source[1]:
            return high
        return min(max(self.aligned.first[self.aligned.linked[at]], low), high)

    def _gap_of(self, item: _Item, parent: _Item) -> int:
        """Return the target gap of a code that stands alone."""
        code, gap = item.opening, item.source[0]
        low, high = parent.target
        if gap == parent.source[0]:
            return low
        if gap == parent.source[1]:
            return high
        if code.is_space:
            return min(max(self._break_near(code.start), low), high)
        if code.space_before and not code.space_after:
            return self._before(gap, parent)
        return self._after(gap, parent)

    def _break_near(self, position: int) -> int:
        """Return the gap with white space that divides the translated sentence as the line break does the sentence."""
        number = bisect_right(self._sentence_ends, position)
        if number == len(self._sentence_ends):
            return len(self.aligned.target_tokens)
        source, target = self.target.sentences[number]
        share = max(0, position - source[0]) / (source[1] - source[0])
        wanted = target[0] + share * (target[1] - target[0])
        tokens = self.aligned.tokens(target, True)
        middle = min(max(bisect_left(self.aligned.target_starts, wanted), tokens.start), tokens.stop)
        near = range(max(tokens.start, middle - _NEARBY), min(tokens.stop, middle + _NEARBY + 1))
        gaps = [gap for gap in near if gap == tokens.start or self.aligned.space(gap)] if share else [tokens.start]
        return min(gaps, key=lambda gap: abs(self._end_before(gap, target[0]) - wanted), default=middle)

    def _end_before(self, gap: int, begin: int) -> int:
        """Return the end of the token before a gap, but at least the beginning of the sentence."""
        return max(begin, self.aligned.target_tokens[gap - 1].end) if gap else begin

    # The translation with codes

    def parts(self) -> Parts:
        """Return the translation with codes."""
        codes: list[list[FlatCode]] = [[] for _ in range(len(self.aligned.target_tokens) + 1)]
        for gap, code in self._in_order():
            codes[gap].append(code)
        out: list[str | Code] = []
        for gap, here in enumerate(codes):
            out += _spaced(here, self.aligned.space(gap), gap == 0)
            if gap < len(self.aligned.target_tokens):
                token = self.aligned.target_tokens[gap]
                out.append(
                    self.aligned.shown[gap].code
                    if gap in self.aligned.shown
                    else self.target.text[token.start : token.end]
                )
        return joined(out)

    def _in_order(self) -> Iterator[tuple[int, FlatCode]]:
        """Yield codes with their target gaps."""
        stack = [(self.root, iter(self.root.inner))]
        while stack:
            parent, remaining = stack[-1]
            item = next(remaining, None)
            if item is None:
                stack.pop()
                if parent is not self.root and parent.closing:
                    yield parent.target[1], parent.closing
                continue
            yield item.target[0], item.opening
            if item.closing:
                stack.append((item, iter(item.inner)))


def _partners(codes: Sequence[Code]) -> dict[int, int]:
    """Return the indices of the codes that close and open each pair; codes of pairs that overlap have no partner."""
    partners: dict[int, int] = {}
    stack: list[int] = []
    opened = {code.pair for code in codes if code.kind is CodeKind.OPEN}
    for index, code in enumerate(codes):
        if code.kind is CodeKind.OPEN:
            stack.append(index)
        elif code.kind is CodeKind.CLOSE and code.pair in opened:
            while stack and codes[stack[-1]].pair != code.pair:
                opened.discard(codes[stack.pop()].pair)
            if stack:
                partners[index], partners[stack[-1]] = stack[-1], index
                opened.discard(code.pair)
                stack.pop()
    return partners


def _outside(gap: int, source_gap: int, occupied: Sequence[tuple[Span, Span]]) -> int:
    """Move a gap that is inside an element to one of its ends."""
    at = bisect_right(occupied, gap, key=lambda pair: pair[0][0]) - 1
    if at < 0 or not occupied[at][0][0] < gap < occupied[at][0][1]:
        return gap
    (start, end), source = occupied[at]
    return start if source_gap <= source[0] else end


def _spaced(codes: Sequence[FlatCode], space: str, is_first: bool) -> list[str | Code]:
    """Return the codes between two words, or before the first one, with white space where the source has it."""
    if not codes:
        return [space]
    if any(code.is_space for code in codes):  # it takes the place of white space
        own = ((" " * code.space_before, code.code, " " * code.space_after) for code in codes)
        return [part for three in own for part in three] if space else [code.code for code in codes]
    if not space:
        apart = codes[0].space_before and codes[0].space_after
        return [" " * (apart and not is_first), *(code.code for code in codes), " " * (apart and is_first)]
    before = [_prefers_space_before(code) for code in codes]
    slot = max(range(len(codes) + 1), key=lambda at: sum(before[at:]) - sum(before[:at]))
    out: list[str | Code] = [code.code for code in codes]
    out.insert(slot, space)
    if slot < len(codes) and codes[-1].space_before and codes[-1].space_after:
        out.append(" ")
    elif slot > 0 and codes[0].space_before and codes[0].space_after:
        out.insert(0, " ")
    return out


def _prefers_space_before(code: FlatCode) -> int:
    """Return 2 or 1 if white space belongs before a code, -1 or -2 if it belongs after it."""
    if code.space_before != code.space_after:
        return 2 if code.space_before else -2
    return 1 if code.code.kind is CodeKind.OPEN else -1
