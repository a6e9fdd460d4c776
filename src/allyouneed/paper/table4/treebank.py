"""Penn Treebank trees, and trees as sequences of symbols: read, cleaned, linearised, rebuilt.

Cleaned as is standard for parsing: empty elements (-NONE-) and constituents left empty go, function tags and indices
too (NP-SBJ-1 is NP); unary chains stay, X over X among them, since EVALB counts both brackets.

Linearised as by Vinyals et al. 2015 (arXiv 1412.7449): depth first, labels on both brackets, parts of speech all one
symbol: `(S (NP XX )NP (VP XX )VP )S`. Here each symbol is one character, Ⓢ for `(S`, ⓢ for `)S`, ● for XX, with spaces
between, so that each symbol is one token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import NamedTuple

from allyouneed.data.formats import read_text
from allyouneed.errors import UserError

_LETTERS = {
    "ADJP": "A",
    "SBAR": "B",
    "CONJP": "C",
    "ADVP": "D",
    "SQ": "E",
    "FRAG": "F",
    "NAC": "G",
    "WHNP": "H",
    "INTJ": "I",
    "WHADJP": "J",
    "SBARQ": "K",
    "LST": "L",
    "NX": "M",
    "NP": "N",
    "PRN": "O",
    "PP": "P",
    "QP": "Q",
    "RRC": "R",
    "S": "S",
    "PRT": "T",
    "UCP": "U",
    "VP": "V",
    "WHADVP": "W",
    "X": "X",
    "WHPP": "Y",
    "SINV": "Z",
}  # all labels of the Penn Treebank's constituents
_OPENING = {label: chr(ord("Ⓐ") + ord(letter) - ord("A")) for label, letter in _LETTERS.items()}
_CLOSING = {label: chr(ord("ⓐ") + ord(letter) - ord("A")) for label, letter in _LETTERS.items()}
_OPENED_BY = {symbol: label for label, symbol in _OPENING.items()}
_CLOSED_BY = {symbol: label for label, symbol in _CLOSING.items()}
_WORD = "●"
_ROOT = "S"  # of an output that has none: the label of nearly all roots
_OUTERMOST = ("", "TOP", "ROOT", "S1")  # brackets around a whole tree, that are not part of it
_EMPTY = "-NONE-"
_TOKENS = re.compile(r"[()]|[^\s()]+")
_FUNCTION = re.compile(r"(?<=.)[-=|].*")  # of a label; also the second of two, as in ADVP|PRT


class Span(NamedTuple):
    """A constituent over the words from `start` up to, but without, `end`."""

    label: str
    start: int
    end: int


class _Event(Enum):
    OPEN, WORD, CLOSE = auto(), auto(), auto()


@dataclass(frozen=True)
class Tree:
    """A constituent; or a leaf, whose `word` is not None and whose label is its part of speech."""

    label: str
    children: tuple[Tree, ...] = ()
    word: str | None = None

    def leaves(self) -> list[Tree]:
        """From left to right, itself if it is one."""
        return [node for event, node in self._walk() if event is _Event.WORD]

    def words(self) -> list[str]:
        """Of the leaves, from left to right."""
        return [node.word for _, node in self._walk() if node.word is not None]

    def sentence(self) -> str:
        """The words, a space between each."""
        return " ".join(self.words())

    def constituents(self) -> Iterator[Tree]:
        """This one and all inside it, leaves not."""
        return (node for event, node in self._walk() if event is _Event.OPEN)

    def linearized(self) -> str:
        """The symbols, a space between each: the target that a parser writes."""
        symbols = {_Event.OPEN: _OPENING, _Event.CLOSE: _CLOSING}
        return " ".join(_WORD if event is _Event.WORD else symbols[event][node.label] for event, node in self._walk())

    def spans(self) -> list[Span]:
        """Of all constituents, each after those inside it; leaves are none."""
        spans, starts, place = [], [], 0
        for event, node in self._walk():
            if event is _Event.OPEN:
                starts.append(place)
            elif event is _Event.WORD:
                place += 1
            else:
                spans.append(Span(node.label, starts.pop(), place))
        return spans

    def __str__(self) -> str:
        """With brackets, on one line, as EVALB reads it."""
        shown: dict[_Event, Callable[[Tree], str]] = {
            _Event.OPEN: lambda node: f"({node.label}",
            _Event.WORD: lambda node: f"({node.label} {node.word})",
            _Event.CLOSE: lambda node: ")",
        }
        return " ".join(shown[event](node) for event, node in self._walk()).replace(" )", ")")

    def _walk(self) -> Iterator[tuple[_Event, Tree]]:
        """Depth first; without recursion, since an output may nest as deep as it is long."""
        waiting = [(_Event.OPEN, self)]
        while waiting:
            event, node = waiting.pop()
            if node.word is not None:
                yield _Event.WORD, node
                continue
            yield event, node
            if event is _Event.OPEN:
                waiting.append((_Event.CLOSE, node))
                waiting.extend((_Event.OPEN, child) for child in reversed(node.children))


def read_trees(path: Path) -> list[Tree]:
    """The cleaned trees of a `.mrg` file (or `.mrg.gz`), in order; a tree without any word is left out.

    Errors: `UserError` with file and line for a broken bracket or a label that is not the Penn Treebank's.
    """
    trees: list[Tree | None] = []
    opened: list[_Bracket] = []
    for number, line in enumerate(read_text(path), start=1):
        for token in _TOKENS.findall(line):
            if token == "(":
                opened.append(_Bracket(number, [], []))
            elif not opened:
                raise UserError(f"{path}:{number}: {token} stands outside of all trees. Mend the brackets before it.")
            elif token != ")":
                opened[-1].words.append(token)
            else:
                tree = opened.pop().closed(path, outermost=not opened)
                (opened[-1].children if opened else trees).append(tree)
    if opened:
        raise UserError(f"{path}:{opened[0].line}: this bracket is never closed. Mend the tree that begins here.")
    kept = [tree for tree in trees if tree is not None]
    if not kept:
        raise UserError(f"{path}: there is no tree in it. Give a file of the Penn Treebank's combined (.mrg) trees.")
    return kept


class _Bracket(NamedTuple):
    """One that is open while a file is read. words: its label and a leaf's word; children: None if nothing is left."""

    line: int
    words: list[str]
    children: list[Tree | None]

    def closed(self, path: Path, outermost: bool) -> Tree | None:
        """The cleaned tree; None if nothing is left of it."""
        label, *words = self.words or [""]
        if len(words) == 1 and not self.children:
            return None if label == _EMPTY else Tree(label, word=words[0])
        if words or not self.children:
            raise UserError(
                f"{path}:{self.line}: ({label} ...) holds neither one word nor constituents. Mend the tree."
            )
        children = tuple(child for child in self.children if child is not None)
        if not children:
            return None
        if outermost and label in _OUTERMOST:
            if len(children) > 1:
                raise UserError(f"{path}:{self.line}: {len(children)} trees in one bracket. Give each its own.")
            return children[0]
        if not label:
            raise UserError(
                f"{path}:{self.line}: a bracket without label in a tree. Does the tree before it lack a ')'?"
            )
        label = _FUNCTION.sub("", label)
        if label not in _LETTERS:
            raise UserError(f"{path}:{self.line}: {label!r} is no constituent's label in the Penn Treebank. Mend it.")
        return Tree(label, children)


class Fault(StrEnum):
    """What can be wrong with an output, and what is done about it."""

    FOREIGN = "a token that is no symbol: dropped"
    UNOPENED = "a bracket closed that was not opened: dropped"
    CROSSED = "a bracket closed before one inside it: both closed"
    UNCLOSED = "a bracket never closed: closed at the end"
    CHILDLESS = "a constituent without words: dropped"
    TOO_MANY = "more words than the sentence has: dropped"
    TOO_FEW = "fewer words than the sentence has: the others put under the root"
    ROOTLESS = "not one constituent over everything: the only one takes all words, or S is put above"


class Rebuilt(NamedTuple):
    """A tree over all words of the sentence, and the faults that were mended for it, each kind once."""

    tree: Tree
    faults: list[Fault]


def rebuild(output: str, leaves: Sequence[Tree]) -> Rebuilt:
    """The tree that an output's symbols tell, over the leaves of the sentence that was parsed.

    The leaves keep their gold parts of speech, which EVALB needs to know punctuation; the parser itself predicts none.
    """
    rebuilding = _Rebuilding(leaves)
    for symbol in output:
        if not symbol.isspace():
            rebuilding.read(symbol)
    return rebuilding.finish()


def spelled_out(output: str) -> str:
    """Symbols as Vinyals et al. write them: (S (NP XX )NP )S."""
    names = {_WORD: "XX"}
    names |= {symbol: f"({label}" for label, symbol in _OPENING.items()}
    names |= {symbol: f"){label}" for label, symbol in _CLOSING.items()}
    return " ".join(names.get(symbol, symbol) for symbol in output.split())


class _Rebuilding:
    """opened: labels and children of the brackets open now, below all of them the top; place: words used so far."""

    def __init__(self, leaves: Sequence[Tree]):
        self.leaves, self.place = leaves, 0
        self.opened: list[tuple[str, list[Tree]]] = [("", [])]
        self.faults: dict[Fault, None] = {}

    def read(self, symbol: str) -> None:
        if symbol == _WORD:
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
        missing = self.leaves[self.place :]
        if missing:
            self._note(Fault.TOO_FEW)
        return Rebuilt(self._rooted(self.opened[0][1], missing), list(self.faults))

    def _add_word(self) -> None:
        if self.place == len(self.leaves):
            self._note(Fault.TOO_MANY)
        else:
            self.opened[-1][1].append(self.leaves[self.place])
            self.place += 1

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
        """One tree from what stands at the top and the words that are left."""
        if len(top) != 1 or top[0].word is not None:
            self._note(Fault.ROOTLESS)
        constituents = [tree for tree in top if tree.word is None]
        if len(constituents) != 1:
            return Tree(_ROOT, (*top, *missing))
        [root] = constituents
        place = top.index(root)
        return Tree(root.label, (*top[:place], *root.children, *top[place + 1 :], *missing))

    def _note(self, fault: Fault) -> None:
        self.faults[fault] = None
