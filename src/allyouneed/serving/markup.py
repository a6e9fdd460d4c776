"""Parser for HTML and XML that separates translatable text from tags.

Tags are never re-serialized: each keeps its original spelling. Tags that are not inline (`<p>`, `<li>`, ...) separate
blocks of text; inline tags (`<b>`, `<a>`, ...) are part of a block, see `text_blocks.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from itertools import accumulate
from typing import NamedTuple

from allyouneed.serving.text_blocks import InlineElement, MarkupDocument, TextBlock

# fmt: off
_INLINE = frozenset((
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font", "i", "img",
    "input", "ins", "kbd", "label", "mark", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike", "strong",
    "sub", "sup", "time", "tt", "u", "var", "wbr",
))
# fmt: on
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
_NOT_TRANSLATED = frozenset(("script", "style", "textarea", "template"))
_MAX_INLINE_DEPTH = 64  # deeper elements separate blocks
_TAG_NAME = re.compile(r"<\s*([^\s/>]+)")
_LINE_SPACE = re.compile(r"[\r\n\t]")


class MarkupFormat(NamedTuple):
    """How tags are interpreted.

    Attributes:
        name: "html" or "xml".
        splitting: In XML, the tags that separate blocks; all others are inline.
        ignored: Tags whose content is not translated.
    """

    name: str = "html"
    splitting: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()


@dataclass(eq=False)
class _ParseEvent:
    """A tag, text or comment.

    Attributes:
        kind: "start", "end", "void", "text" or "other".
        name: Name of the tag.
        raw: Original markup.
        text: Unescaped text.
        keep: Whether the element is kept untranslated.
        partner: Index of the matching start or end tag; None if there is none.
        boundary: Whether the tag separates blocks.
    """

    kind: str
    name: str
    raw: str
    text: str = ""
    keep: bool = False
    partner: int | None = None
    boundary: bool = False


def parse_markup(text: str, markup_format: MarkupFormat) -> MarkupDocument:
    """Parse markup; malformed tags are kept as boundaries, so that any text can be parsed."""
    parser = _MarkupParser(markup_format)
    parser.feed(text)
    parser.close()
    events = parser.events
    _match_tags(events)
    _mark_boundaries(events, markup_format)
    return MarkupDocument(_DocumentBuilder(events).build())


class _MarkupParser(HTMLParser):
    def __init__(self, markup_format: MarkupFormat):
        super().__init__(convert_charrefs=True)
        self.markup_format = markup_format
        self.events: list[_ParseEvent] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        is_void = self.markup_format.name == "html" and tag in _VOID
        self._add_tag("void" if is_void else "start", tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add_tag("void", tag, attrs)

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """Treat `<![` without a name as a comment, as browsers do; Python's parser raises."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i)

    def handle_endtag(self, tag: str) -> None:
        self.events.append(_ParseEvent("end", tag, f"</{tag}>"))

    def handle_data(self, data: str) -> None:
        raw = data if self.cdata_elem else escape(data, quote=False)
        self.events.append(_ParseEvent("text", "", raw, data))

    def handle_comment(self, data: str) -> None:
        self.events.append(_ParseEvent("other", "", f"<!--{data}-->"))

    def handle_decl(self, decl: str) -> None:
        self.events.append(_ParseEvent("other", "", f"<!{decl}>"))

    def handle_pi(self, data: str) -> None:
        self.events.append(_ParseEvent("other", "", f"<?{data}>"))

    def unknown_decl(self, data: str) -> None:
        closing = "]]" if data.startswith("CDATA") else "]"
        self.events.append(_ParseEvent("other", "", f"<![{data}{closing}>"))

    def _add_tag(self, kind: str, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        keep = (
            tag in self.markup_format.ignored
            or (self.markup_format.name == "html" and tag in _NOT_TRANSLATED)
            or attributes.get("translate") == "no"
            or "notranslate" in (attributes.get("class") or "").split()
        )
        self.events.append(_ParseEvent(kind, tag, self.get_starttag_text() or "", keep=keep))


def _match_tags(events: list[_ParseEvent]) -> None:
    """Match start and end tags; elements left open inside a matched pair stay unmatched."""
    stack: list[int] = []
    open_names: Counter[str] = Counter()
    for index, event in enumerate(events):
        if event.kind == "start":
            stack.append(index)
            open_names[event.name] += 1
        elif event.kind == "end" and open_names[event.name]:
            while True:
                start = stack.pop()
                open_names[events[start].name] -= 1
                if events[start].name == event.name:
                    break
            event.partner, events[start].partner = start, index
            if name := _TAG_NAME.match(events[start].raw):
                event.raw = f"</{name[1]}>"  # XML is case-sensitive; the parser lower-cases names


def _mark_boundaries(events: list[_ParseEvent], markup_format: MarkupFormat) -> None:
    """Mark block tags, unmatched tags, and inline elements that contain a boundary."""
    for event in events:
        if event.kind in ("start", "end", "void"):
            is_xml = markup_format.name == "xml"
            inline = event.name not in markup_format.splitting if is_xml else event.name in _INLINE
            event.boundary = not inline or (event.kind != "void" and event.partner is None)
    enclosing: list[tuple[_ParseEvent, _ParseEvent]] = []  # start and end tags
    for event in events:
        if event.kind == "start" and event.partner is not None:
            enclosing.append((event, events[event.partner]))
            event.boundary = event.boundary or len(enclosing) > _MAX_INLINE_DEPTH
        elif event.kind == "end" and event.partner is not None:
            enclosing.pop()
        if event.boundary:
            for outer, end in reversed(enclosing):
                if outer.boundary and outer is not event:  # already marked, as are all elements around it
                    break
                outer.boundary = end.boundary = True


class _DocumentBuilder:
    """Builds the parts of a document from its events."""

    def __init__(self, events: list[_ParseEvent]):
        self._events = events
        self._parts: list[str | TextBlock] = []
        self._block = TextBlock()
        self._enclosing: tuple[InlineElement, ...] = ()
        self._preformatted = 0  # depth of <pre>
        # Number of non-blank texts up to each event, to recognize empty elements.
        self._texts = list(accumulate(bool(event.text.strip()) for event in events))

    def build(self) -> list[str | TextBlock]:
        index = 0
        while index < len(self._events):
            index = self._add(index) + 1
        self._finish_block()
        return self._parts

    def _add(self, index: int) -> int:
        """Add an event, or a whole element that is kept or empty; return the index of the last event added."""
        event, end = self._events[index], index
        partner = event.partner if event.kind == "start" else None
        if partner is not None and (event.keep or self._texts[index] == self._texts[partner]):
            end = partner
        raw = "".join(inside.raw for inside in self._events[index : end + 1])
        if event.boundary:
            self._finish_block()
            self._parts.append(raw)
            self._preformatted += (event.name == "pre" and end == index) * (1 if event.kind == "start" else -1)
        elif event.kind == "text":
            self._add_text(event)
        elif partner is not None and end == index:
            self._enclosing = (*self._enclosing, InlineElement(raw, self._events[partner].raw, index))
        elif event.kind == "end":
            self._enclosing = self._enclosing[:-1]
        else:
            self._block.atoms.append((len(self._block.text), raw))
        return end

    def _add_text(self, event: _ParseEvent) -> None:
        if event.text.strip() or self._block.text or self._block.atoms:
            text = event.text if self._preformatted > 0 else _LINE_SPACE.sub(" ", event.text)
            self._block.append(text, self._enclosing)
        else:  # whitespace before a block
            self._parts.append(event.raw)

    def _finish_block(self) -> None:
        block, self._block = self._block, TextBlock()
        if block.text.strip():
            indent = len(block.text) - len(block.text.lstrip())
            if block.has_tags or not indent:
                self._parts.append(block)
            else:
                self._parts += [block.text[:indent], block.without_prefix(indent)]
        else:  # no text: keep the markup and its whitespace
            cuts = [0, *(position for position, _ in block.atoms), len(block.text)]
            raws = ["", *(raw for _, raw in block.atoms)]
            self._parts += [raw + block.text[cuts[i] : cuts[i + 1]] for i, raw in enumerate(raws)]
