"""Inline elements of XLIFF 1.2 and 2."""

from __future__ import annotations

import re

from allyouneed.documents.formats.catalogues.inline_codes import Role
from allyouneed.documents.formats.markup.xml_tree import Node, XmlTree
from allyouneed.documents.segments import CodeKind

_OPENING, _CLOSING = ("bx", "bpt", "sc", "sm"), ("ex", "ept", "ec", "em")
_FAMILY = {"bx": "x", "ex": "x", "bpt": "p", "ept": "p", "sc": "s", "ec": "s", "sm": "m", "em": "m"}
_ANGULAR = re.compile(r"(START|CLOSE)_([A-Z0-9_]+)")
_MARKUP = re.compile(r"[<>]|&\w+;")


def role_of(tree: XmlTree, node: Node) -> Role:
    """Return how an inline element is treated."""
    if node.name in ("g", "pc", "mrk"):
        if tree.get(node, "mtype") == "protected" or tree.get(node, "translate") == "no":
            return Role(text=tree.shown(node))
        return Role(encloses=True)
    if node.name in _OPENING or node.name in _CLOSING:
        kind = CodeKind.OPEN if node.name in _OPENING else CodeKind.CLOSE
        return Role(kind=kind, key=_FAMILY[node.name] + _partner(tree, node))
    if node.name == "it" and tree.get(node, "pos") in ("open", "close"):
        return Role()
    if node.name == "x" and (tag := _ANGULAR.fullmatch(tree.get(node, "id"))):
        return Role(kind=CodeKind.OPEN if tag[1] == "START" else CodeKind.CLOSE, key=f"a{tag[2]}")
    if tree.get(node, "ctype") == "lb":
        return Role(text=" ")
    shown = tree.get(node, "equiv-text") or tree.get(node, "equiv") or tree.get(node, "disp") or tree.shown(node)
    return Role(text="" if _MARKUP.search(shown) else shown.strip())


def _partner(tree: XmlTree, node: Node) -> str:
    """What an opening and a closing element share."""
    return tree.get(node, "startref") or tree.get(node, "rid") or tree.get(node, "id")
