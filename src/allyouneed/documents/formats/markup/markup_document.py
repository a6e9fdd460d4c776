"""Segments of HTML and XML: text with inline tags, and attributes that readers see. All else is copied."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate

from allyouneed.documents.formats.catalogues.languages import is_language
from allyouneed.documents.formats.markup.markup_scanner import (
    Piece,
    PieceKind,
    allowed_in_xml,
    attributes,
    own_references,
    scan,
    unescape_html,
    unescape_xml,
)
from allyouneed.documents.formats.markup.markup_structure import MarkupRules, mark_structure
from allyouneed.documents.formats.text.segmented_text import AttributeValue, Copy, SegmentedText, Span, TextBlock
from allyouneed.documents.segments import Code, CodeKind, Part, Parts, Segment

_TAG = re.compile(r"</?[^\W\d_]")
_SPACES = " \t\n\r\f"
_SPACE = re.compile(f"[{_SPACES}]+")
_LONGEST_SHOWN = 80  # characters of a kept element that the model sees
_LABELLED = frozenset(("iframe", "svg"))  # kept, but for attributes of their tags that readers see
_UNSEEN = frozenset(("iframe", "math", "noembed", "rp", "rt", "script", "style", "svg", "xmp"))
_PREFORMATTED = frozenset(("pre", "textarea"))
_SEEN_ATTRIBUTES = (
    "abbr", "alt", "aria-description", "aria-label", "aria-placeholder", "aria-roledescription", "aria-valuetext",
    "label", "placeholder", "summary", "title",
)  # fmt: skip
_BUTTONS = ("submit", "button", "reset")
_DESCRIPTIONS = re.compile(
    r"(?:og:|twitter:)?(?:description|title|site_name|image:alt)|keywords|abstract", re.IGNORECASE
)

_REFERENCE = re.compile(r"&#?\w{1,32};")
_ESCAPED = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_QUOTES = {'"': "&quot;", "'": "&#39;"}
_CDATA, _CDATA_END = "<![CDATA[", "]]>"

Escape = Callable[[str], str]
_CODE = re.compile(r"\s*[A-Za-z]{1,8}(?:[-_][A-Za-z0-9]{1,8})*\s*")  # of a language; not a variable of a template


class MarkupText(SegmentedText):
    """Markup that was read.

    Args:
        text: The markup.
        rules: How it is interpreted.
        finish: Applied to each piece of translated text when it is written, after escaping.
        first_line: Number of the first line, for positions.
    """

    def __init__(self, text: str, rules: MarkupRules, finish: Escape = str, first_line: int = 1):
        super().__init__(text, first_line)
        self.rules, self.finish = rules, finish
        self.pieces = scan(text, rules.is_xml, rules.is_xhtml)
        mark_structure(text, self.pieces, rules)
        units: list[TextBlock | AttributeValue] = [*_Builder(self).blocks(), *self._attribute_values()]
        self.units = sorted(units, key=lambda unit: unit.start)
        self.on_change = dict(self._languages())

    @cached_property
    def unread_line(self) -> int | None:
        """Line of a tag that does not end, so that the rest is not read."""
        last = self.pieces[-1] if self.pieces else None
        is_open_tag = last and last.kind is PieceKind.OTHER and last.end == len(self.text)
        return self.line(last.start) if last and is_open_tag and _TAG.match(self.text, last.start) else None

    @cached_property
    def _references(self) -> dict[int, str]:
        texts = (self.text[piece.start : piece.end] for piece in self.pieces if piece.kind is PieceKind.TEXT)
        return self._spellings(texts, _ESCAPED)

    def _spellings(self, raws: Iterable[str], escaped: Mapping[str, str]) -> dict[int, str]:
        """Return how the texts spell each character that they have only as a reference, or that needs one.

        Args:
            raws: Texts of the document.
            escaped: References to characters that need one, unless it is `>` and the texts do without.
        """
        found, plain = dict[str, str](), set[str]()
        unescaped = unescape_xml if self.rules.is_xml else unescape_html
        for raw in raws:
            for reference in _REFERENCE.findall(raw) if "&" in raw else ():
                if len(character := unescaped(reference)) == 1:
                    found.setdefault(character, reference)
            plain.update(_REFERENCE.sub("", raw) if "&" in raw else raw)
        bare = {">"} & plain - found.keys()
        needed = {char: reference for char, reference in escaped.items() if char not in bare}
        spelled = {char: reference for char, reference in found.items() if char not in plain or char in needed}
        return {ord(char): reference for char, reference in (needed | spelled).items()}

    def _escape(self, text: str) -> str:
        return self.finish(text.translate(self._references).replace("]]>", "]]&gt;"))

    def write_text(self, block: TextBlock, translation: Parts, copied: Copy) -> str:
        out: list[str] = []
        in_cdata = False
        for part in self._with_white_space(block, translation):
            if isinstance(part, Code):
                span = block.tags.get((part.kind, part.pair))
                out.append(copied(*span) if span else part.raw)
                in_cdata = part.raw == _CDATA if part.kind is CodeKind.OPEN else in_cdata and part.raw != _CDATA_END
            elif in_cdata:
                out.append(self._allowed(part).replace(_CDATA_END, "]]]]><![CDATA[>"))
            else:
                out.append(self._escape(self._allowed(part)))
        return "".join(out)

    def _allowed(self, text: str) -> str:
        """Return text without characters that would make the document malformed."""
        return allowed_in_xml(text) if self.rules.is_xml or self.rules.is_xhtml else text

    def _with_white_space(self, block: TextBlock, translation: Parts) -> Iterator[Part]:
        """Yield the parts with the white space that the document has beside their codes, such as line breaks."""
        spans = [self._own_span(block, part) for part in translation]
        begin, end = block.start - self.offset, block.end - self.offset
        for part, before, after in zip(translation, (None, *spans), (*spans[1:], None), strict=False):
            if isinstance(part, str):
                leading = before and _SPACE.match(self.text, before[1], end)
                trailing = self._space_before(after[0], begin) if after else ""
                if trailing and part.endswith(" ") and not (leading and part == " "):
                    part = part[:-1] + trailing
                if leading and part.startswith(" "):
                    part = leading[0] + part[1:]
            yield part

    def _own_span(self, block: TextBlock, part: Part) -> Span | None:
        """Return the position of a code in this text; None for text."""
        span = block.tags.get((part.kind, part.pair)) if isinstance(part, Code) else None
        return span and (span[0] - self.offset, span[1] - self.offset)

    def _space_before(self, position: int, begin: int) -> str:
        start = position
        while start > begin and self.text[start - 1] in _SPACES:
            start -= 1
        return self.text[start:position]

    def write_value(self, value: AttributeValue, text: str) -> str:
        raw = self.text[value.start - self.offset : value.end - self.offset]
        quote = value.quote or '"'
        table = self._spellings([raw], {"&": "&amp;", "<": "&lt;", quote: _QUOTES[quote]})
        escaped = self.finish(self._allowed(text).translate(table))
        for reference in own_references(raw, is_xml=False):
            escaped = escaped.replace(f"&amp;{reference[3]};", reference[0])
        return escaped if value.quote else f'"{escaped}"'

    def _attribute_values(self) -> Iterator[AttributeValue]:
        if self.rules.is_xml:
            return
        kept_until = 0
        for piece in self.pieces:
            if piece.start < kept_until or piece.kind not in (PieceKind.START, PieceKind.EMPTY):
                continue
            if piece.keeps:
                kept_until = self.pieces[piece.partner].end if piece.partner >= 0 else piece.end
                if piece.name not in _LABELLED or piece.name in self.rules.ignored:
                    continue
            for name, (start, end) in self._seen(piece):
                if text := unescape_html(self.text[start:end]).strip():
                    where = f"line {self.line(start):,}, {name}"
                    quote = self.text[start - 1] if self.text[start - 1] in "\"'" else ""
                    yield AttributeValue(start, end, Segment((text,), where), quote)

    def _languages(self) -> Iterator[tuple[int, tuple[int, str]]]:
        """Yield the languages that become the target language: of the root, and of text that is translated."""
        if self.rules.target == "und":
            return
        names = ("xml:lang",) if self.rules.is_xml else ("lang", "xml:lang")
        kept_until, is_first = 0, True
        for piece in self.pieces:
            if piece.start < kept_until or piece.kind not in (PieceKind.START, PieceKind.EMPTY):
                continue
            is_root, is_first = (is_first if self.rules.is_xml else piece.name == "html"), False
            if piece.keeps:
                kept_until = self.pieces[piece.partner].end if piece.partner >= 0 else piece.end
            elif "lang" in self.text[piece.start : piece.end].lower():
                found = attributes(self.text, piece)
                for start, end in (found[name] for name in names if name in found):
                    declared = self.text[start:end]
                    is_source = is_language(declared, self.rules.source)
                    if is_source or (
                        is_root and _CODE.fullmatch(declared) and not is_language(declared, self.rules.target)
                    ):
                        yield start, (end, self.rules.target)

    def _seen(self, piece: Piece) -> Iterator[tuple[str, Span]]:
        """Yield the attributes of a tag whose values readers see."""
        if piece.end - piece.start <= len(piece.name) + 3 or piece.asks is False:
            return
        found = attributes(self.text, piece)
        values = {name: self.text[slice(*span)] for name, span in found.items()}
        for name, span in found.items():
            is_seen = name in _SEEN_ATTRIBUTES
            is_seen = is_seen or (
                name == "value" and piece.name == "input" and values.get("type", "").lower() in _BUTTONS
            )
            described = values.get("name", values.get("property", ""))
            is_seen = is_seen or (
                name == "content" and piece.name == "meta" and bool(_DESCRIPTIONS.fullmatch(described))
            )
            if is_seen:
                yield name, span


class _Builder:
    """Collects the text blocks of markup."""

    def __init__(self, markup: MarkupText):
        self.markup, self.text, self.rules, self.pieces = markup, markup.text, markup.rules, markup.pieces
        self.parts: list[tuple[Part, Span]] = []
        self.preserved_until = 0  # position up to which white space counts
        counted = (bool(piece.text.strip()) or self._is_cdata(piece) for piece in self.pieces)
        self.texts = [0, *accumulate(counted)]  # number of texts before each piece, to recognise empty elements
        self.asking = [0, *accumulate(piece.asks is True for piece in self.pieces)]

    def blocks(self) -> Iterator[TextBlock]:
        """Yield the blocks, in document order."""
        states = [(len(self.pieces), True)]  # last piece of the elements around, and whether they are translated
        index = 0
        while index < len(self.pieces):
            piece = self.pieces[index]
            while index > states[-1][0]:
                states.pop()
            is_element, last = piece.kind is PieceKind.START and piece.partner >= 0, index
            if is_element and piece.keeps and self.asking[piece.partner] > self.asking[index]:
                states.append((piece.partner, False))
            elif is_element and piece.asks and not states[-1][1]:
                states.append((piece.partner, True))
            elif is_element and (piece.keeps or self.texts[index] == self.texts[piece.partner]):
                last = piece.partner
            if piece.splits or not states[-1][1]:
                yield from self._finish()
            else:
                self._add(piece, index, last)
            if is_element and (piece.name in _PREFORMATTED or self._preserves(piece)):
                self.preserved_until = max(self.preserved_until, self.pieces[piece.partner].end)
            index = last + 1
        yield from self._finish()

    def _is_cdata(self, piece: Piece) -> bool:
        is_xml = self.rules.is_xml or self.rules.is_xhtml
        return is_xml and piece.kind is PieceKind.OTHER and self.text.startswith(_CDATA, piece.start)

    def _preserves(self, piece: Piece) -> bool:
        return "xml:space" in self.text[piece.start : piece.end] and "preserve" in self.text[piece.start : piece.end]

    def _add(self, piece: Piece, index: int, last: int) -> None:
        """Add a piece, or a whole element that is kept or empty, to the block."""
        span = (piece.start, self.pieces[last].end)
        raw = self.text[slice(*span)]
        if piece.kind is PieceKind.TEXT:
            is_preserved = piece.start < self.preserved_until
            self.parts.append((piece.text if is_preserved else _SPACE.sub(" ", piece.text), span))
        elif piece.kind is PieceKind.REFERENCE:
            self.parts.append((Code(raw, pair=index, text=raw), span))
        elif self._is_cdata(piece):
            inner = raw.removeprefix(_CDATA).removesuffix(_CDATA_END)
            start, end = piece.start + len(_CDATA), piece.start + len(_CDATA) + len(inner)
            self.parts.append((Code(_CDATA, CodeKind.OPEN, index), (piece.start, start)))
            self.parts.append((inner, (start, end)))
            self.parts.append((Code(raw[len(_CDATA) + len(inner) :], CodeKind.CLOSE, index), (end, piece.end)))
        elif last > index or piece.partner < 0:
            self.parts.append((Code(raw, pair=index, text=self._shown(piece, index, last)), span))
        elif piece.kind is PieceKind.START:
            self.parts.append((Code(raw, CodeKind.OPEN, index), span))
        else:
            self.parts.append((Code(raw, CodeKind.CLOSE, piece.partner), span))

    def _shown(self, piece: Piece, index: int, last: int) -> str:
        """Return the text that readers see of an element that is kept."""
        if piece.name == "br":
            return " "
        if last == index or piece.name in _UNSEEN:
            return ""
        inside = "".join(each.text for each in self.pieces[index : last + 1])
        text = _SPACE.sub(" ", inside).strip()
        return text if len(text) <= _LONGEST_SHOWN else ""

    def _finish(self) -> Iterator[TextBlock]:
        parts, self.parts = self.parts, []
        if parts:
            where = next((start for part, (start, _) in parts if isinstance(part, str) and part.strip()), 0)
            if block := self.markup.block(parts, f"line {self.markup.line(where):,}", _CDATA):
                yield block
