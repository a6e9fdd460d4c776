"""Penn Treebank trees: reading, cleaning, and linearising to sequences of symbols.

Cleaning follows the standard for parsing: empty elements (-NONE-) and constituents left empty are removed, and so are
function tags and indices (NP-SBJ-1 becomes NP). Unary chains are kept, even X over X, since EVALB counts both brackets.

Linearisation follows Vinyals et al. 2015 (arXiv 1412.7449): depth first, labels on both brackets, one symbol for all
parts of speech: `(S (NP XX )NP (VP XX )VP )S`. Here each symbol is one character, Ⓢ for `(S`, ⓢ for `)S`, ● for XX,
separated by spaces, so that each symbol is one token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from allyouneed.data.files.lines import read_text
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
}  # all constituent labels of the Penn Treebank
OPENING = {label: chr(ord("Ⓐ") + ord(letter) - ord("A")) for label, letter in _LETTERS.items()}
CLOSING = {label: chr(ord("ⓐ") + ord(letter) - ord("A")) for label, letter in _LETTERS.items()}
WORD = "●"
_OUTERMOST = ("", "TOP", "ROOT", "S1")  # labels of brackets around a tree that are not part of it
_EMPTY = "-NONE-"
_TOKENS = re.compile(r"[()]|[^\s()]+")
_FUNCTION = re.compile(r"(?<=.)[-=|].*")  # function tags, and the second of two labels, as in ADVP|PRT


class Span(NamedTuple):
    """A constituent that covers words `start` to `end`, exclusive."""

    label: str
    start: int
    end: int


class _Visit(Enum):
    OPEN, WORD, CLOSE = auto(), auto(), auto()


@dataclass(frozen=True)
class Tree:
    """A constituent, or a leaf.

    Attributes:
        label: Label of the constituent, or part of speech of the leaf.
        children: Children of the constituent.
        word: Word of the leaf; None for a constituent.
    """

    label: str
    children: tuple[Tree, ...] = ()
    word: str | None = None

    def leaves(self) -> list[Tree]:
        """Return the leaves from left to right; a leaf returns itself."""
        return [node for visit, node in self._walk() if visit is _Visit.WORD]

    def words(self) -> list[str]:
        """Return the words of the leaves from left to right."""
        return [node.word for _, node in self._walk() if node.word is not None]

    def sentence(self) -> str:
        """Return the words separated by spaces."""
        return " ".join(self.words())

    def constituents(self) -> Iterator[Tree]:
        """Iterate over this constituent and all inside it, without leaves."""
        return (node for visit, node in self._walk() if visit is _Visit.OPEN)

    def linearized(self) -> str:
        """Return the symbols separated by spaces: the parser's target sentence."""
        symbols = {_Visit.OPEN: OPENING, _Visit.CLOSE: CLOSING}
        return " ".join(WORD if visit is _Visit.WORD else symbols[visit][node.label] for visit, node in self._walk())

    def spans(self) -> list[Span]:
        """Return the spans of all constituents, each after those inside it."""
        spans, starts, position = [], [], 0
        for visit, node in self._walk():
            if visit is _Visit.OPEN:
                starts.append(position)
            elif visit is _Visit.WORD:
                position += 1
            else:
                spans.append(Span(node.label, starts.pop(), position))
        return spans

    def __str__(self) -> str:
        """Return the tree with brackets on one line, as EVALB reads it."""
        formats: dict[_Visit, Callable[[Tree], str]] = {
            _Visit.OPEN: lambda node: f"({node.label}",
            _Visit.WORD: lambda node: f"({node.label} {node.word})",
            _Visit.CLOSE: lambda node: ")",
        }
        return " ".join(formats[visit](node) for visit, node in self._walk()).replace(" )", ")")

    def _walk(self) -> Iterator[tuple[_Visit, Tree]]:
        """Walk depth first, without recursion: an output may be nested as deeply as it is long."""
        stack = [(_Visit.OPEN, self)]
        while stack:
            visit, node = stack.pop()
            if node.word is not None:
                yield _Visit.WORD, node
                continue
            yield visit, node
            if visit is _Visit.OPEN:
                stack.append((_Visit.CLOSE, node))
                stack.extend((_Visit.OPEN, child) for child in reversed(node.children))


def read_trees(path: Path) -> list[Tree]:
    """Read and clean the trees of a file.

    Args:
        path: A `.mrg` or `.mrg.gz` file.

    Returns:
        The trees in order, without those that have no words.

    Raises:
        UserError: If a bracket is wrong or a label is not one of the Penn Treebank; the message names file and line.
    """
    trees: list[Tree | None] = []
    opened: list[_Bracket] = []
    for number, line in enumerate(read_text(path), start=1):
        for token in _TOKENS.findall(line):
            if token == "(":
                opened.append(_Bracket(number, [], []))
            elif not opened:
                raise UserError(f"{path}:{number}: {token} is outside of all trees. Check the brackets before it.")
            elif token != ")":
                opened[-1].words.append(token)
            else:
                tree = opened.pop().close(path, outermost=not opened)
                (opened[-1].children if opened else trees).append(tree)
    if opened:
        raise UserError(f"{path}:{opened[0].line}: this bracket is never closed. Check the tree that begins here.")
    non_empty = [tree for tree in trees if tree is not None]
    if not non_empty:
        raise UserError(f"{path}: contains no trees. Give a file of combined (.mrg) Penn Treebank trees.")
    return non_empty


class _Bracket(NamedTuple):
    """An open bracket: `words` are its label and a leaf's word; a child is None if cleaning removed it."""

    line: int
    words: list[str]
    children: list[Tree | None]

    def close(self, path: Path, outermost: bool) -> Tree | None:
        """Return the cleaned tree; None if nothing is left of it."""
        label, *words = self.words or [""]
        if len(words) == 1 and not self.children:
            return None if label == _EMPTY else Tree(label, word=words[0])
        if words or not self.children:
            raise UserError(
                f"{path}:{self.line}: ({label} ...) contains neither exactly one word nor constituents. "
                "Correct the tree."
            )
        children = tuple(child for child in self.children if child is not None)
        if not children:
            return None
        if outermost and label in _OUTERMOST:
            if len(children) > 1:
                raise UserError(
                    f"{path}:{self.line}: {len(children)} trees in one bracket. Put each tree in its own bracket."
                )
            return children[0]
        if not label:
            raise UserError(
                f"{path}:{self.line}: a bracket without a label inside a tree. Is a ')' missing in the tree before it?"
            )
        label = _FUNCTION.sub("", label)
        if label not in _LETTERS:
            raise UserError(
                f"{path}:{self.line}: {label!r} is not a constituent label of the Penn Treebank. Correct it."
            )
        return Tree(label, children)
