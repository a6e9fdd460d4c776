"""Rebuilding of trees from the symbols that a parser generates, with repair of faulty outputs."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from allyouneed.paper.table4.treebank import CLOSING, OPENING, WORD, Tree

_OPENED_BY = {symbol: label for label, symbol in OPENING.items()}
_CLOSED_BY = {symbol: label for label, symbol in CLOSING.items()}
_ROOT = "S"  # label for outputs without a root; nearly all trees have it


class Fault(StrEnum):
    """An error of an output, and its repair."""

    FOREIGN = "a token that is not a symbol: dropped"
    UNOPENED = "a closing bracket without an opening one: dropped"
    CROSSED = "a bracket closed before one inside it: both closed"
    UNCLOSED = "a bracket not closed: closed at the end"
    CHILDLESS = "a constituent without words: dropped"
    TOO_MANY = "more words than the sentence has: dropped"
    TOO_FEW = "fewer words than the sentence has: the rest attached to the root"
    ROOTLESS = "no single root: the only constituent covers all words, or S is added"


class Rebuilt(NamedTuple):
    """A tree over all words of the sentence, and the faults that were repaired, each kind once."""

    tree: Tree
    faults: list[Fault]


def rebuild(output: str, leaves: Sequence[Tree]) -> Rebuilt:
    """Build the tree that an output describes, repairing its faults.

    The parser predicts no parts of speech; the leaves keep their gold parts of speech, which EVALB needs to
    recognise punctuation.

    Args:
        output: Symbols, with or without spaces between them.
        leaves: Leaves of the parsed sentence.

    Returns:
        A tree over all leaves, and the faults.
    """
    builder = _TreeBuilder(leaves)
    for symbol in output:
        if not symbol.isspace():
            builder.read(symbol)
    return builder.finish()


def spelled_out(output: str) -> str:
    """Format symbols as Vinyals et al. do: (S (NP XX )NP )S.

    Args:
        output: Symbols separated by spaces.

    Returns:
        The formatted text.
    """
    names = {WORD: "XX"}
    names |= {symbol: f"({label}" for label, symbol in OPENING.items()}
    names |= {symbol: f"){label}" for label, symbol in CLOSING.items()}
    return " ".join(names.get(symbol, symbol) for symbol in output.split())


class _TreeBuilder:
    """Stack of open brackets, each with its label and children; the first one collects the top level."""

    def __init__(self, leaves: Sequence[Tree]):
        self.leaves, self.used = leaves, 0
        self.opened: list[tuple[str, list[Tree]]] = [("", [])]
        self.faults: dict[Fault, None] = {}

    def read(self, symbol: str) -> None:
        if symbol == WORD:
            self._add_word()
        elif symbol in _OPENED_BY:
            self.opened.append((_OPENED_BY[symbol], []))
        elif symbol in _CLOSED_BY:
            self._close(_CLOSED_BY[symbol])
        else:
            self._note(Fault.FOREIGN)

    def finish(self) -> Rebuilt:
        while len(self.opened) > 1:
            self._note(Fault.UNCLOSED)
            self._close_innermost()
        missing = self.leaves[self.used :]
        if missing:
            self._note(Fault.TOO_FEW)
        return Rebuilt(self._rooted(self.opened[0][1], missing), list(self.faults))

    def _add_word(self) -> None:
        if self.used == len(self.leaves):
            self._note(Fault.TOO_MANY)
        else:
            self.opened[-1][1].append(self.leaves[self.used])
            self.used += 1

    def _close(self, label: str) -> None:
        if all(label != other for other, _ in self.opened):
            self._note(Fault.UNOPENED)
            return
        while self.opened[-1][0] != label:
            self._note(Fault.CROSSED)
            self._close_innermost()
        self._close_innermost()

    def _close_innermost(self) -> None:
        label, children = self.opened.pop()
        if children:
            self.opened[-1][1].append(Tree(label, tuple(children)))
        else:
            self._note(Fault.CHILDLESS)

    def _rooted(self, top: Sequence[Tree], missing: Sequence[Tree]) -> Tree:
        """Make one tree of the top level and the missing words."""
        if len(top) != 1 or top[0].word is not None:
            self._note(Fault.ROOTLESS)
        constituents = [tree for tree in top if tree.word is None]
        if len(constituents) != 1:
            return Tree(_ROOT, (*top, *missing))
        [root] = constituents
        index = top.index(root)
        return Tree(root.label, (*top[:index], *root.children, *top[index + 1 :], *missing))

    def _note(self, fault: Fault) -> None:
        self.faults[fault] = None
