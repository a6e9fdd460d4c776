"""Alignment of the words and punctuation marks of a text and its translation."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from allyouneed.documents.flat_text import PUNCTUATION, WORD, FlatCode, FlatText, Token, tokenise
from allyouneed.translation.sentence import Span

Link = tuple[Span, Span]

_SIMILAR = str.maketrans("“”„‟«»‘’‚‹›「」『』。、，！？：；（）…–—", '""""""\'\'\'\'\'"""".,,!?:;().--')


class AlignedText(NamedTuple):
    """A translation of a text.

    Attributes:
        text: The translation.
        kept: Positions in source and translation of each part that is kept.
        links: Positions of aligned words.
        sentences: Positions of each sentence.
    """

    text: str
    kept: Sequence[Link]
    links: Sequence[Link]
    sentences: Sequence[Link]


class TokenAlignment:
    """The tokens of a text and its translation, and which of them correspond.

    Args:
        source: The text.
        target: The translation.

    Attributes:
        source_tokens: Tokens of the text.
        target_tokens: Tokens of the translation.
        source_starts: Position of each token of the text.
        target_starts: Position of each token of the translation.
        shown: Codes with visible text, by target token.
        anchors: For each target token, the source token that it translates.
        first: The first target token of each source token that has one.
        last: The last one.
        linked: The source tokens that have one, in order.
    """

    def __init__(self, source: FlatText, target: AlignedText):
        self.source, self.target = source, target
        cuts = sorted({position for code in source.codes for position in (code.start, code.end)})
        self.source_tokens = tokenise(source.text, [span for span, _ in target.kept], cuts)
        target_cuts = [
            span[0] + cut - kept[0]
            for kept, span in target.kept
            for cut in cuts[bisect_left(cuts, kept[0]) : bisect_right(cuts, kept[1])]
        ]
        self.target_tokens = tokenise(target.text, sorted(span for _, span in target.kept), target_cuts)
        self.source_starts = [token.start for token in self.source_tokens]
        self.target_starts = [token.start for token in self.target_tokens]
        self.shown = self._shown_codes()
        self.anchors = self._anchors()
        self._linked()

    def tokens(self, span: Span, is_target: bool) -> range:
        """Return the indices of the tokens that overlap with a span."""
        starts = self.target_starts if is_target else self.source_starts
        tokens = self.target_tokens if is_target else self.source_tokens
        first = max(0, bisect_right(starts, span[0]) - 1)
        if first < len(tokens) and tokens[first].end <= span[0]:
            first += 1
        return range(first, max(first, bisect_left(starts, span[1])))

    def _shown_codes(self) -> dict[int, FlatCode]:
        """Return the codes with visible text by target token."""
        shown: dict[int, FlatCode] = {}
        codes = {(code.start, code.end): code for code in self.source.codes if code.end > code.start}
        for kept, span in self.target.kept:
            for one, other in zip(self.tokens(kept, False), self.tokens(span, True), strict=False):
                token = self.source_tokens[one]
                if code := codes.get((token.start, token.end)):
                    shown[other] = code
        return shown

    def _anchors(self) -> list[int | None]:
        """Return for each target token the source token that it translates."""
        anchors: list[int | None] = [None] * len(self.target_tokens)
        for kept, span in self.target.kept:
            for one, other in zip(self.tokens(kept, False), self.tokens(span, True), strict=False):
                anchors[other] = one
        for link in self.target.links:
            self._link_words(anchors, *link)
        starts = sorted(target[0] for _, target in self.target.links)
        for source, target in self.target.sentences:
            if bisect_left(starts, target[0]) == bisect_left(starts, target[1]):  # no links
                self._link_in_order(anchors, source, target)
            self._link_punctuation(anchors, source, target)
        return anchors

    def _words(self, span: Span, is_target: bool) -> list[int]:
        tokens = self.target_tokens if is_target else self.source_tokens
        return [index for index in self.tokens(span, is_target) if tokens[index].weight == WORD]

    def _link_words(self, anchors: list[int | None], source: Span, target: Span) -> None:
        ones, others = self._words(source, False), self._words(target, True)
        if not ones:
            return
        longest = max(ones, key=lambda one: self.source_tokens[one].end - self.source_tokens[one].start)
        for position, other in enumerate(others):
            if anchors[other] is None:
                anchors[other] = ones[position] if len(ones) == len(others) else longest

    def _link_in_order(self, anchors: list[int | None], source: Span, target: Span) -> None:
        ones, others = self._words(source, False), self._words(target, True)
        for position, other in enumerate(others if ones else ()):
            if anchors[other] is None:
                anchors[other] = ones[position * len(ones) // len(others)]

    def _link_punctuation(self, anchors: list[int | None], source: Span, target: Span) -> None:
        """Link punctuation marks beside linked words, then those that are equally frequent, in order."""
        ones: dict[str, list[int]] = defaultdict(list)
        for index in self.tokens(source, False):
            if self.source_tokens[index].weight == PUNCTUATION:
                ones[_mark(self.source.text, self.source_tokens[index])].append(index)
        others: dict[str, list[int]] = defaultdict(list)
        for index in self.tokens(target, True):
            if self.target_tokens[index].weight == PUNCTUATION and anchors[index] is None:
                others[_mark(self.target.text, self.target_tokens[index])].append(index)
        for mark, indices in others.items():
            free = set(ones[mark])
            for index in indices:
                before, after = _at(anchors, index - 1), _at(anchors, index + 1)
                beside = {before + 1} if before is not None else set()
                beside |= {after - 1} if after is not None else set()
                if found := free & beside:
                    anchors[index] = min(found)
                    free.discard(min(found))
            rest = [index for index in indices if anchors[index] is None]
            if len(rest) == len(free):
                for index, one in zip(rest, sorted(free), strict=True):
                    anchors[index] = one

    def _linked(self) -> None:
        """Find the first and last target token of each source token, and the nearest source tokens that have one."""
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}
        for index, anchor in enumerate(self.anchors):
            if anchor is not None:
                self.first.setdefault(anchor, index)
                self.last[anchor] = index
        self.linked = sorted(self.first)

    def space(self, gap: int) -> str:
        """Return the white space before a target token."""
        start = self.target_tokens[gap - 1].end if gap else 0
        end = self.target_tokens[gap].start if gap < len(self.target_tokens) else len(self.target.text)
        return self.target.text[start:end]


def _mark(text: str, token: Token) -> str:
    return text[token.start : token.end].translate(_SIMILAR)


def _at(anchors: Sequence[int | None], index: int) -> int | None:
    return anchors[index] if 0 <= index < len(anchors) else None
