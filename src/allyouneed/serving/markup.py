"""Text with tags: what is to be translated comes out as blocks of plain text, and goes back in with its tags.

Tags are never read anew: each stays letter by letter what it was. A block is what stands between tags that are not
inline (`<p>`, `<li>`, ...); inline tags (`<b>`, `<a>`, ...) follow their words by alignment: a word of the translation
wears the tags that its source word wears, so that tags are always closed in the order in which they were opened.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from html.parser import HTMLParser
from itertools import accumulate
from typing import NamedTuple

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
_NOT_LANGUAGE = frozenset(("script", "style", "textarea", "template"))
_DEEPEST = 64  # inline tags in each other
_NAME = re.compile(r"<\s*([^\s/>]+)")
_ID = re.compile(r"""\sid\s*=\s*("[^"]*"|'[^']*'|[^\s>]+)""", re.IGNORECASE)
_SPACE = re.compile(r"[\r\n\t]")

Span = tuple[int, int]


class Form(NamedTuple):
    """name: html or xml; in XML all tags but `splitting` are inline; what stands in `ignored` stays as it is."""

    name: str = "html"
    splitting: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()


@dataclass(eq=False)
class _Event:
    """raw: as it was written; partner: of a start its end, of an end its start; boundary: ends a block."""

    kind: str  # start, end, void, text, other
    name: str
    raw: str
    text: str = ""
    keep: bool = False  # not to be translated, with all that is in it
    partner: int | None = None
    boundary: bool = False


class _Element(NamedTuple):
    opening: str
    closing: str
    place: int  # tells two equal ones apart


@dataclass
class Block:
    """text: plain; runs: (start, end, the elements around it) one after another; atoms: (place, raw) that stand between
    words and are not translated."""

    text: str = ""
    runs: list[tuple[int, int, tuple[_Element, ...]]] = field(default_factory=list)
    atoms: list[tuple[int, str]] = field(default_factory=list)

    @property
    def has_tags(self) -> bool:
        return any(elements for _, _, elements in self.runs) or bool(self.atoms)

    def add(self, text: str, elements: tuple[_Element, ...]) -> None:
        self.runs.append((len(self.text), len(self.text) + len(text), elements))
        self.text += text

    def around(self, span: Span) -> tuple[_Element, ...]:
        """The elements around most of these characters."""
        first = bisect_right(self.runs, span[0], key=lambda run: run[1])
        last = bisect_left(self.runs, span[1], key=lambda run: run[0])
        overlap = [(min(span[1], end) - max(span[0], start), len(e), e) for start, end, e in self.runs[first:last]]
        return max(overlap, key=lambda found: found[:2], default=(0, 0, ()))[2]

    def dressed(self, text: str, homes: Sequence[tuple[Span, Span]]) -> str:
        """The translation with its tags. homes: of each word its place, and the place of its source word."""
        around = {source: self.around(source) for source in {source for _, source in homes}}
        worn = [around[source] for _, source in homes]
        self._give_lost_elements_a_word(worn)
        out: list[str] = []
        opened: set[_Element] = set()
        open_now: tuple[_Element, ...] = ()
        place = 0
        atoms = deque(sorted(self.atoms, key=lambda atom: atom[0]))
        for (span, source), elements in zip(homes, worn, strict=True):
            shared = _shared(open_now, elements)
            out += [element.closing for element in reversed(open_now[shared:])]
            here = []
            while atoms and atoms[0][0] <= source[0]:
                here.append(atoms.popleft())
            out.append(self._gap(escape(text[place : span[0]], quote=False), here))
            for element in elements[shared:]:
                out.append(_ID.sub("", element.opening) if element in opened else element.opening)
                opened.add(element)
            out.append(escape(text[slice(*span)], quote=False))
            open_now, place = elements, span[1]
        out += [element.closing for element in reversed(open_now)]
        out.append(self._gap(escape(text[place:], quote=False), atoms))
        lost = [element for element in self._elements() if element not in opened]
        return "".join([*out, *(element.opening + element.closing for element in lost)])

    def _gap(self, gap: str, atoms: Sequence[tuple[int, str]]) -> str:
        """What stands between two words: the gap, or atoms with spaces where they had them."""
        if not atoms:
            return gap
        before = ((" " if self.text[at - 1 : at] == " " else "") + raw for at, raw in atoms)
        last = atoms[-1][0]
        between = "".join(before) + (" " if self.text[last : last + 1] == " " else "")
        return between + gap if gap and " " not in (between[0], between[-1]) else between

    def _give_lost_elements_a_word(self, worn: list[tuple[_Element, ...]]) -> None:
        """An element whose words no word belongs to gets the word that stands where it stood, in proportion."""
        seen = Counter(element for wearing in worn for element in wearing)
        for start, end, elements in self.runs:
            if worn and not all(seen[element] for element in elements):
                place = min(len(worn) - 1, int((start + end) / 2 / max(1, len(self.text)) * len(worn)))
                seen.subtract(worn[place])
                seen.update(elements)
                worn[place] = elements

    def _elements(self) -> list[_Element]:
        return list(dict.fromkeys(element for _, _, elements in self.runs for element in elements))


@dataclass
class Page:
    """What stays as it is, and blocks to translate, in order."""

    parts: list[str | Block]

    @property
    def blocks(self) -> list[Block]:
        return [part for part in self.parts if isinstance(part, Block)]

    def rebuild(self, translated: Sequence[tuple[str, Sequence[tuple[Span, Span]]]]) -> str:
        """translated: of each block its text and the homes of its words."""
        rest = iter(translated)
        return "".join(part.dressed(*next(rest)) if isinstance(part, Block) else part for part in self.parts)


def parse(text: str, form: Form) -> Page:
    """Never fails: what is no proper tag is a boundary, and stays."""
    parser = _Parser(form)
    parser.feed(text)
    parser.close()
    events = parser.events
    _pair(events)
    _mark_boundaries(events, form)
    return Page(_parts(events))


class _Parser(HTMLParser):
    def __init__(self, form: Form):
        super().__init__(convert_charrefs=True)
        self.form = form
        self.events: list[_Event] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        void = self.form.name == "html" and tag in _VOID
        self._tag("void" if void else "start", tag, attributes)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._tag("void", tag, attributes)

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """`<![...`: Python's own fails where no name follows, as in `<![;`; a browser takes that for a comment."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:
            return self.parse_bogus_comment(i)

    def handle_endtag(self, tag: str) -> None:
        self.events.append(_Event("end", tag, f"</{tag}>"))

    def handle_data(self, data: str) -> None:
        self.events.append(_Event("text", "", data if self.cdata_elem else escape(data, quote=False), data))

    def handle_comment(self, data: str) -> None:
        self.events.append(_Event("other", "", f"<!--{data}-->"))

    def handle_decl(self, decl: str) -> None:
        self.events.append(_Event("other", "", f"<!{decl}>"))

    def handle_pi(self, data: str) -> None:
        self.events.append(_Event("other", "", f"<?{data}>"))

    def unknown_decl(self, data: str) -> None:
        self.events.append(_Event("other", "", f"<![{data}{']]' if data.startswith('CDATA') else ']'}>"))

    def _tag(self, kind: str, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        keep = (
            tag in self.form.ignored
            or (self.form.name == "html" and tag in _NOT_LANGUAGE)
            or given.get("translate") == "no"
            or "notranslate" in (given.get("class") or "").split()
        )
        self.events.append(_Event(kind, tag, self.get_starttag_text() or "", keep=keep))


def _pair(events: list[_Event]) -> None:
    """Starts and ends find each other; what was left open in between finds nobody."""
    stack: list[int] = []
    opened: Counter[str] = Counter()  # how many of each name are in the stack
    for place, event in enumerate(events):
        if event.kind == "start":
            stack.append(place)
            opened[event.name] += 1
        elif event.kind == "end" and opened[event.name]:
            while True:
                start = stack.pop()
                opened[events[start].name] -= 1
                if events[start].name == event.name:
                    break
            event.partner, events[start].partner = start, place
            if name := _NAME.match(events[start].raw):
                event.raw = f"</{name[1]}>"  # XML minds the case


def _mark_boundaries(events: list[_Event], form: Form) -> None:
    for event in events:
        if event.kind in ("start", "end", "void"):
            inline = event.name not in form.splitting if form.name == "xml" else event.name in _INLINE
            event.boundary = not inline or (event.kind != "void" and event.partner is None)
    around: list[tuple[_Event, _Event]] = []  # starts and their ends
    for event in events:  # what holds a boundary is one
        if event.kind == "start" and event.partner is not None:
            around.append((event, events[event.partner]))
            event.boundary = event.boundary or len(around) > _DEEPEST
        elif event.kind == "end" and event.partner is not None:
            around.pop()
        if event.boundary:
            for outer, end in reversed(around):
                if outer.boundary and outer is not event:  # and so is what holds it
                    break
                outer.boundary = end.boundary = True


def _parts(events: list[_Event]) -> list[str | Block]:
    parts: list[str | Block] = []
    block, preformatted, place = Block(), 0, 0
    around: tuple[_Element, ...] = ()
    said = list(accumulate(bool(event.text.strip()) for event in events))  # texts up to each event

    def finish() -> None:
        nonlocal block
        if block.text.strip():
            lead = block.text[: len(block.text) - len(block.text.lstrip())]
            parts.extend([block] if block.has_tags or not lead else [lead, _trimmed(block, len(lead))])
        else:  # nothing to translate: atoms and spaces as they stood
            cuts = [0, *(at for at, _ in block.atoms), len(block.text)]
            raws = ["", *(raw for _, raw in block.atoms)]
            parts.extend(raw + block.text[cuts[i] : cuts[i + 1]] for i, raw in enumerate(raws))
        block = Block()

    while place < len(events):
        event, end = events[place], place
        if event.kind == "start" and event.partner is not None and (event.keep or said[place] == said[event.partner]):
            end = event.partner  # to be kept whole, or empty
        raw = "".join(inside.raw for inside in events[place : end + 1])
        if event.boundary:
            finish()
            parts.append(raw)
            preformatted += (event.name == "pre" and end == place) * (1 if event.kind == "start" else -1)
        elif event.kind == "text" and not (event.text.strip() or block.text or block.atoms):
            parts.append(event.raw)
        elif event.kind == "text":
            block.add(event.text if preformatted > 0 else _SPACE.sub(" ", event.text), around)
        elif event.kind == "start" and end == place and event.partner is not None:
            around = (*around, _Element(raw, events[event.partner].raw, place))
        elif event.kind == "end":
            around = around[:-1]
        else:
            block.atoms.append((len(block.text), raw))
        place = end + 1
    finish()
    return parts


def _trimmed(block: Block, count: int) -> Block:
    trimmed = Block()
    for start, end, elements in block.runs:
        if end > count:
            trimmed.add(block.text[max(start, count) : end], elements)
    return trimmed


def _shared(first: Sequence[_Element], second: Sequence[_Element]) -> int:
    """How many elements, from the outermost on, both have."""
    count = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        count += 1
    return count
