"""Inline elements of bilingual formats (XLIFF, TMX) and resources as codes, and back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from allyouneed.documents.formats.markup.markup_scanner import Piece
from allyouneed.documents.formats.markup.xml_tree import Node, XmlTree
from allyouneed.documents.segments import Code, CodeKind, Parts

_LAYOUT = re.compile(r"[ \t]*\n(?:[ \t]{2,}|\t)\s*")


class Role(NamedTuple):
    """How an inline element is treated.

    Attributes:
        encloses: Whether it is around text, which is translated.
        kind: For an element without translatable text, whether it opens or closes something.
        key: What it shares with its partner.
        text: Its text as readers see it.
    """

    encloses: bool = False
    kind: CodeKind = CodeKind.ALONE
    key: str = ""
    text: str = ""


@dataclass
class _Mark:
    """A code whose partner is not known yet."""

    raw: str
    role: Role
    is_tag: bool = False
    pair: int = 0


def read_parts(tree: XmlTree, node: Node, role: Callable[[Node], Role], preserves: bool = True) -> Parts:
    """Return the content of an element as text and codes.

    Args:
        tree: The file.
        node: The element.
        role: Returns how an inline element is treated.
        preserves: Whether white space counts; otherwise line breaks with indentation are spaces.
    """
    found = list(_flattened(tree, node, role))
    _match(found)
    parts: list[str | Code] = []
    for each in found:
        if isinstance(each, _Mark):
            kind = each.role.kind if each.pair else CodeKind.ALONE
            parts.append(Code(each.raw, kind, each.pair, each.role.text if not each.pair else ""))
        else:
            text = each if preserves else _LAYOUT.sub(" ", each)
            if parts and isinstance(parts[-1], str):
                parts[-1] += text
            elif text:
                parts.append(text)
    return tuple(parts)


def write_parts(tree: XmlTree, parts: Parts) -> str:
    """Return text and codes as XML."""
    return "".join(tree.escaped(part) if isinstance(part, str) else part.raw for part in parts)


def _flattened(tree: XmlTree, node: Node, role: Callable[[Node], Role]) -> Iterator[str | _Mark]:
    waiting: list[Node | Piece | _Mark] = list(reversed(node.children))
    while waiting:
        child = waiting.pop()
        if isinstance(child, _Mark):
            yield child
        elif isinstance(child, Node):
            how = role(child)
            if how.encloses and child.inner[0] < child.end:
                key = f"<{child.start}"
                yield _Mark(tree.text[child.start : child.inner[0]], Role(kind=CodeKind.OPEN, key=key), True)
                closing = tree.text[child.inner[1] : child.end]
                waiting.append(_Mark(closing, Role(kind=CodeKind.CLOSE, key=key), True))
                waiting += reversed(child.children)
            else:
                yield _Mark(tree.raw(child), how)
        elif tree.is_text(child):
            yield tree.text_of(child)
        else:
            yield _Mark(tree.text[child.start : child.end], Role(text=child.text))


def _match(found: list[str | _Mark]) -> None:
    """Number the pairs; marks whose pairs would overlap stay alone, and tags always have their partner."""
    stack: list[_Mark] = []
    number = 0
    for mark in found:
        if isinstance(mark, str) or mark.role.kind is CodeKind.ALONE:
            continue
        if mark.role.kind is CodeKind.OPEN:
            stack.append(mark)
            continue
        depth = len(stack) - 1
        while depth >= 0 and stack[depth].role.key != mark.role.key and (mark.is_tag or not stack[depth].is_tag):
            depth -= 1
        if depth >= 0 and stack[depth].role.key == mark.role.key:
            number += 1
            stack[depth].pair = mark.pair = number
            del stack[depth:]
