"""Structure of markup: which tags belong together, separate segments, or enclose what is kept as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from allyouneed.documents.formats.markup.markup_scanner import Piece, PieceKind, attributes

_MAX_DEPTH = 64  # of inline elements; deeper ones separate segments
# fmt: off
_BLOCKS = frozenset((
    "address", "article", "aside", "audio", "base", "blockquote", "body", "br", "canvas", "caption", "center", "col",
    "colgroup", "datalist", "dd", "details", "dialog", "dir", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "frame", "frameset", "h1", "h2", "h3", "h4", "h5", "h6", "head", "header", "hgroup", "hr", "html",
    "iframe", "legend", "li", "link", "listing", "main", "menu", "meta", "nav", "noframes", "noscript", "object", "ol",
    "optgroup", "option", "p", "param", "plaintext", "pre", "search", "section", "select", "source", "summary", "table",
    "tbody", "td", "template", "textarea", "tfoot", "th", "thead", "title", "tr", "track", "ul", "video", "xmp",
))
_KEPT_IN_HTML = frozenset((
    "code", "iframe", "kbd", "listing", "math", "noembed", "plaintext", "pre", "rp", "rt", "samp", "script", "style",
    "svg", "tt", "var", "xmp",
))
KEPT_IN_XML = frozenset((
    "cmdname", "code", "codeblock", "codeph", "command", "filename", "filepath", "literal", "pre", "programlisting",
    "screen", "script", "style",
))
# fmt: on
_TEXT_IN_SVG, _LABELS_IN_SVG = frozenset(("foreignobject", "text")), frozenset(("desc", "title"))


class MarkupRules(NamedTuple):
    """How markup is interpreted.

    Attributes:
        is_xml: Whether it is XML; else HTML.
        is_xhtml: Whether it is HTML written as XML.
        ignored: Elements whose content is not translated.
        splitting: In XML, elements that separate segments.
        inline: In XML, elements that are within segments.
        outline: In XML, whether elements separate segments unless they are beside text. Else all are inline.
        source: Code of the language of the text, and
        target: of its translation, for the attributes `lang` and `xml:lang`; "und" leaves them as they are.
    """

    is_xml: bool = False
    is_xhtml: bool = False
    ignored: frozenset[str] = frozenset()
    splitting: frozenset[str] = frozenset()
    inline: frozenset[str] = frozenset()
    outline: bool = True
    source: str = "und"
    target: str = "und"


def mark_structure(text: str, pieces: list[Piece], rules: MarkupRules) -> None:
    """Set `partner`, `parent`, `splits` and `keeps` of the pieces."""
    _match_tags(pieces)
    _mark_kept(text, pieces, rules)
    splits = _outline(pieces, rules) if rules.is_xml else _html_blocks(pieces)
    for piece in pieces:
        if piece.kind in (PieceKind.START, PieceKind.END, PieceKind.EMPTY):
            piece.splits = splits(piece)
    _propagate(pieces)


def _asks_for_translation(text: str, piece: Piece) -> bool | None:
    """Return whether the attributes of a tag ask for translation or against it; None if they do not say."""
    found = attributes(text, piece) if piece.end - piece.start > len(piece.name) + 2 else {}
    value = text[slice(*found["translate"])].lower() if "translate" in found else None
    value = text[slice(*found["its:translate"])].lower() if "its:translate" in found else value
    if value == "no" or ("class" in found and "notranslate" in text[slice(*found["class"])].split()):
        return False
    return True if value in ("yes", "") else None


def _match_tags(pieces: list[Piece]) -> None:
    """Match start and end tags; elements left open inside a matched pair stay unmatched."""
    stack: list[int] = []
    open_names: Counter[str] = Counter()
    for index, piece in enumerate(pieces):
        if piece.kind is PieceKind.START:
            stack.append(index)
            open_names[piece.name] += 1
        elif piece.kind is PieceKind.END and open_names[piece.name]:
            while True:
                start = stack.pop()
                open_names[pieces[start].name] -= 1
                if pieces[start].name == piece.name:
                    break
            piece.partner, pieces[start].partner = start, index
    enclosing = [-1]
    for index, piece in enumerate(pieces):
        if piece.kind is PieceKind.END and piece.partner >= 0:
            enclosing.pop()
        piece.parent = enclosing[-1]
        if piece.kind is PieceKind.START and piece.partner >= 0:
            enclosing.append(index)


def _mark_kept(text: str, pieces: list[Piece], rules: MarkupRules) -> None:
    names = rules.ignored if rules.is_xml else rules.ignored | _KEPT_IN_HTML
    for piece in pieces:
        if piece.kind in (PieceKind.START, PieceKind.EMPTY):
            piece.asks, name = _asks_for_translation(text, piece), piece.name.lower()
            piece.keeps = name in rules.ignored or piece.asks is False or (name in names and not piece.asks)
    if not rules.is_xml:
        _mark_text_in_drawings(pieces)


def _mark_text_in_drawings(pieces: Sequence[Piece]) -> None:
    """Mark the text of SVG drawings in HTML as translated, and their labels unless they are beside other text."""
    beside_text = _with_text(pieces)
    drawing_until, kept_until, names = -1, -1, _TEXT_IN_SVG
    for index, piece in enumerate(pieces):
        if piece.kind is not PieceKind.START or piece.partner < 0 or index < kept_until:
            continue
        if piece.name == "svg" and piece.keeps and piece.asks is None:
            if index > drawing_until:
                drawing_until = piece.partner
                names = _TEXT_IN_SVG if piece.parent in beside_text else _TEXT_IN_SVG | _LABELS_IN_SVG
        elif piece.keeps:
            kept_until = piece.partner
        elif index < drawing_until and piece.name in names:
            piece.asks = True


def _html_blocks(pieces: Sequence[Piece]) -> Callable[[Piece], bool]:
    """HTML's default is inline: unknown elements and those that are never closed do not cut sentences."""
    beside_text, soft = _with_text(pieces), soft_breaks(pieces)

    def splits(piece: Piece) -> bool:
        if piece.name == "br":
            return id(piece) not in soft
        if piece.name in _TEXT_IN_SVG or piece.name in _LABELS_IN_SVG:
            is_of_page = piece.name == "title" and (piece.parent < 0 or pieces[piece.parent].name in ("head", "html"))
            start = pieces[piece.partner] if piece.kind is PieceKind.END and piece.partner >= 0 else piece
            return is_of_page or bool(start.asks)
        if piece.name == "button":  # one of several, or within a sentence
            return piece.parent not in beside_text
        return piece.name in _BLOCKS

    return splits


def soft_breaks(pieces: Sequence[Piece]) -> set[int]:
    """Return the ids of line breaks within sentences: the text before does not end one, and that after begins none."""
    return {
        id(piece)
        for before, piece, after in zip(pieces, pieces[1:], pieces[2:], strict=False)
        if piece.name == "br"
        and before.kind is after.kind is PieceKind.TEXT
        and after.text.lstrip()[:1].islower()
        and before.text.rstrip()[-1:] not in ("", *".!?:;…")
    }


def _with_text(pieces: Sequence[Piece]) -> set[int]:
    """Return the elements that contain text directly, by the indices of their start tags; -1 for none."""
    is_text = (PieceKind.TEXT, PieceKind.REFERENCE)
    return {piece.parent for piece in pieces if piece.kind in is_text and piece.text.strip()}


def _outline(pieces: Sequence[Piece], rules: MarkupRules) -> Callable[[Piece], bool]:
    """In XML, elements beside text are inline, and the others separate segments.

    An only child of an inline element is as elements of its name are elsewhere, by majority.
    """
    with_text = _with_text(pieces)
    children = Counter(piece.parent for piece in pieces if piece.kind in (PieceKind.START, PieceKind.EMPTY))
    majority: Counter[str] = Counter()
    for piece in pieces:
        if piece.kind in (PieceKind.START, PieceKind.EMPTY):
            majority[piece.name] += 1 if piece.parent in with_text else -1 if children[piece.parent] > 1 else 0
    decided: dict[int, bool] = {}
    for index, piece in enumerate(pieces):
        if piece.kind not in (PieceKind.START, PieceKind.EMPTY):
            continue
        name = piece.name.lower()
        if name in rules.splitting or name in rules.inline or not rules.outline:
            decided[index] = name in rules.splitting
        elif piece.parent in with_text:
            decided[index] = False
        else:
            decided[index] = decided.get(piece.parent, True) or majority[piece.name] < 0
    by_piece = {id(pieces[index]): value for index, value in decided.items()}

    def splits(piece: Piece) -> bool:
        if piece.kind is PieceKind.END:
            return piece.partner < 0 or decided[piece.partner]
        return by_piece[id(piece)]

    return splits


def _propagate(pieces: list[Piece]) -> None:
    """Mark inline elements that contain one that separates segments, and those that are too deep."""
    enclosing: list[tuple[Piece, Piece, int]] = []  # start and end tags, and number of inline elements around
    for piece in pieces:
        if piece.kind is PieceKind.START and piece.partner >= 0:
            depth = enclosing[-1][2] + 1 if enclosing else 1
            piece.splits = piece.splits or depth > _MAX_DEPTH
            enclosing.append((piece, pieces[piece.partner], 0 if piece.splits else depth))
        elif piece.kind is PieceKind.END and piece.partner >= 0:
            enclosing.pop()
        if piece.splits:
            if piece.partner >= 0:
                pieces[piece.partner].splits = True
            for outer, end, _ in reversed(enclosing):
                if outer.splits and outer is not piece:  # already marked, as are all elements around it
                    break
                outer.splits = end.splits = True
