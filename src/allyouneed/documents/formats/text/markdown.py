"""Markdown: paragraphs, headings, lists and tables are translated; code, front matter and link targets are kept."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

from markdown_it.common.utils import unescapeAll
from markdown_it.token import Token

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.markup.markup_document import MarkupText
from allyouneed.documents.formats.markup.markup_structure import MarkupRules
from allyouneed.documents.formats.text.encoded_text import EncodedText, decode
from allyouneed.documents.formats.text.markdown_inline import InlineParser, Mark
from allyouneed.documents.formats.text.segmented_text import AttributeValue, Copy, SegmentedText, Span, TextBlock
from allyouneed.documents.segments import Code, CodeKind, Part, Parts, Segment

_FRONT_MATTER = re.compile(
    r"\A(?:---[ \t]*(?:\r\n|\r|\n).*?(?:\r\n|\r|\n)(?:---|\.\.\.)|\+\+\+[ \t]*(?:\r\n|\r|\n).*?(?:\r\n|\r|\n)\+\+\+)"
    r"[ \t]*(?=\r|\n|\Z)",
    re.DOTALL,
)
_LINE = re.compile(r"\r\n|\r|\n")
_EXTENSIONS = re.compile(r"\[\^[^\]\s]+\]:?|(?<=[\w)\]`*>\"])\{[:#.][^{}\n]*\}")  # footnotes, attribute lists
_ROLE = re.compile(r"\{[\w:.+-]+\}$")  # MyST: {ref}`target`
_CONTAINER = re.compile(r"(?:!!!|\?\?\?\+?|:::+|===) ?|\[![A-Za-z]+\][+-]?[ \t]*$")  # admonitions, tabs, alerts
_PREFIX = re.compile(r"\[[ xX]\][ \t]+|:[ \t]+")  # tasks, definitions
_KEPT = frozenset(f"<{name}>" for name in ("code", "kbd", "samp", "tt", "var", "script", "style", "svg", "math"))
_SPECIAL = re.compile(r"[\\`$*_\[\]<>~]|&(?=#?\w+;)")
_BLOCK_BEGIN = re.compile(
    r"(?:#{1,6}(?=\s|$)|[-+*](?=\s|$)|>|-{3}|={3}|`{3}|~{3}|!{3}|\?{3}|:(?=::|\s)|\[(?:![A-Za-z]+\]|[ xX]\]\s))"
)
_ALT_ESCAPE, _ALT_SPECIAL = re.compile(r"\\([\\\[\]])"), re.compile(r"[\[\]]|\\(?=[\\\[\]]|$)")
_TITLE_SPECIAL = {  # by the quotation mark
    quote: re.compile(rf"[{quotes}]|\\(?=[!-/:-@\[-`{{-~]|$)|&(?=#?\w+;)")
    for quote, quotes in (('"', '"'), ("'", "'"), ("(", "()"))
}
_NUMBER_BEGIN = re.compile(r"(\d{1,9})([.)])(?=\s|$)")
_HEADING_END = re.compile(r"(?<!\S)(?=#+\s*$)")  # number signs there would close the heading
_SPACES = re.compile(r"\s+")


class MarkdownText(SegmentedText):
    """Markdown that was read.

    Args:
        text: The text.
        finish: Applied to translated text when it is written.

    Attributes:
        unread: Numbers of the lines whose text could not be located, which are kept as they are.
    """

    def __init__(self, text: str, finish: Callable[[str], str]):
        super().__init__(text)
        self.finish, self.unread = finish, list[int]()
        self._parser, self._environment = InlineParser(), dict[str, Any]()
        self._in_tables: set[TextBlock] = set()
        self._cell_end = 0  # where to look for the next cell of a table
        self._begins: set[TextBlock] = set()  # blocks at whose beginning block markup could be read
        self._headings: set[TextBlock] = set()
        match = _FRONT_MATTER.match(text)
        begin = match.end() if match else 0
        self._shift = bisect_right(self._line_starts, begin) - 1
        front = self._line_starts[self._shift]
        self._shift += begin > front  # the front matter ends within a line
        tokens = self._parser.md.parse(text[self._line_start(self._shift) :], self._environment)
        for token, kind in _with_parents(tokens):
            self._read(token, kind)
        self.units.sort(key=lambda unit: unit.start)

    @cached_property
    def _references(self) -> dict[str, Any]:
        return self._environment.get("references", {})

    def _line_start(self, number: int) -> int:
        starts = self._line_starts
        return starts[number] if number < len(starts) else len(self.text)

    def _read(self, token: Token, kind: str) -> None:
        if token.map is None:
            return
        first, last = token.map[0] + self._shift, token.map[1] + self._shift
        start, end = self._line_start(first), self._line_start(last)
        if token.type == "html_block":
            if _LINE.sub("\n", self.text[start:end]).rstrip("\n") == token.content.rstrip("\n"):
                inner = MarkupText(self.text[start:end], MarkupRules(), self.finish, first + 1)
                self.units += self.embed(inner, start)
        elif token.type == "inline" and token.content.strip():
            if kind in ("th_open", "td_open"):
                self._read_cell(token.content, first)
                return
            for content, number in (
                _blocks(token.content, first) if kind == "paragraph_open" else [(token.content, first)]
            ):
                if located := self._locate(content, number):
                    block = self._add(content, located, number + 1)
                    if block:
                        (self._headings if kind == "heading_open" else self._begins).add(block)
                else:
                    self.unread.append(number + 1)

    def _read_cell(self, content: str, line: int) -> None:
        start, end = max(self._cell_end, self._line_start(line)), self._line_start(line + 1)
        if self.text.find(content, start, end) < 0:
            content = content.replace("|", r"\|")
        at = self.text.find(content, start, end)
        if at < 0:
            self.unread.append(line + 1)
            return
        self._cell_end = at + len(content)
        if block := self._add(content, [(0, at)], line + 1):
            self._in_tables.add(block)

    def _locate(self, content: str, line: int) -> list[Span]:
        """Return (position in the content, position in the text) of the beginning of each line; [] if unknown."""
        located, position = [], 0
        for number, each in enumerate(content.split("\n"), line):
            start, end = self._line_start(number), self._line_start(number + 1)
            at = self.text.rfind(each, start, end)
            if at < 0:
                return []
            located.append((position, at))
            position += len(each) + 1
        return located

    def _add(self, content: str, located: Sequence[Span], line: int) -> TextBlock | None:
        def moved(position: int) -> int:
            at = bisect_right(located, position, key=lambda pair: pair[0]) - 1
            return located[at][1] + position - located[at][0]

        marks = self._parser.marks(content, self._references)
        parts = [(part, (moved(start), moved(end))) for part, (start, end) in _parts(content, marks)]
        block = self.block(parts, f"line {line:,}")
        if block:
            tags = block.tags
            for part in block.segment.source:
                if isinstance(part, Code) and part.raw.startswith("]["):  # written with its label
                    tags.pop((part.kind, part.pair), None)
            self.units.append(block)
        for mark in marks:
            if mark.name == "image" and (alt := content[slice(*mark.alt)]).strip():
                span = moved(mark.alt[0]), moved(mark.alt[1])
                where = f"line {self.line(span[0]):,}, image"
                self.units.append(
                    AttributeValue(*span, Segment((_ALT_ESCAPE.sub(r"\1", _SPACES.sub(" ", alt)),), where))
                )
            if (title := content[slice(*mark.title)]).strip():
                start, end = moved(mark.title[0]), moved(mark.title[1])
                where = f"line {self.line(start):,}, title"
                quote = content[mark.title[0] - 1]
                self.units.append(AttributeValue(start, end, Segment((unescapeAll(title),), where), quote))
        return block

    def write_text(self, block: TextBlock, translation: Parts, copied: Copy) -> str:
        plain = self._joined(block, translation, copied, lambda text: text)
        if self._reads_as(plain, translation):
            return plain
        return self._joined(block, translation, copied, lambda text: _SPECIAL.sub(r"\\\g<0>", text))

    def write_value(self, value: AttributeValue, text: str) -> str:
        special = _TITLE_SPECIAL.get(value.quote, _ALT_SPECIAL)
        return self.finish(special.sub(r"\\\g<0>", text))

    def _joined(self, block: TextBlock, translation: Parts, copied: Copy, escape: Callable[[str], str]) -> str:
        out = []
        for part in translation:
            if isinstance(part, Code):
                span = block.tags.get((part.kind, part.pair))
                out.append(copied(*span) if span else part.raw)
            else:
                text = escape(_SPACES.sub(" ", part))
                out.append(self.finish(text.replace("|", r"\|") if block in self._in_tables else text))
        text = "".join(out)
        if block in self._begins:
            text = _NUMBER_BEGIN.sub(r"\1\\\2", text, count=1) if _NUMBER_BEGIN.match(text) else text
            text = f"\\{text}" if _BLOCK_BEGIN.match(text) else text
        return _HEADING_END.sub(r"\\", text) if block in self._headings else text

    def _reads_as(self, text: str, translation: Parts) -> bool:
        """Return whether a translation that is written as `text` is read as such."""
        content = _LINE.sub("\n", text).replace(r"\|", "|")
        parts = [part for part, _ in _parts(content, self._parser.marks(content, self._references))]
        return _outline(parts) == _outline(translation)


class MarkdownFile:
    """A Markdown file.

    Attributes:
        segments: See `Document`.
        notes: See `Document`.
    """

    suffix: str | None = None

    def __init__(self, encoded: EncodedText):
        self._encoded, self._markdown = encoded, MarkdownText(encoded.text, encoded.referring)
        self.segments: list[Segment] = self._markdown.segments
        self.notes: Sequence[str] = [
            *encoded.notes,
            *(f"line {line:,} is kept as it is" for line in self._markdown.unread),
        ]

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the file with translations in place of its segments."""
        return self._encoded.encode(self._markdown.write(translations))


def read(data: bytes, options: ReadOptions) -> MarkdownFile:
    """Read a Markdown file."""
    return MarkdownFile(decode(data, options.name))


def _with_parents(tokens: Sequence[Token]) -> Iterator[tuple[Token, str]]:
    """Yield block tokens with the type of the token before them, which opens the block of inline content."""
    yield from ((token, before.type) for before, token in pairwise([Token("", "", 0), *tokens]))


def _blocks(content: str, line: int) -> Iterator[tuple[str, int]]:
    """Yield the texts and line numbers of a paragraph that extensions of Markdown divide, without their markup."""
    lines, begin = list[str](), line
    for number, each in enumerate(content.split("\n"), line):
        is_container, prefix = _CONTAINER.match(each), _PREFIX.match(each)
        if (is_container or prefix) and lines:
            yield "\n".join(lines), begin
            lines = []
        if not is_container:
            begin = begin if lines else number
            lines.append(each[prefix.end() :] if prefix else each)
    if lines:
        yield "\n".join(lines), begin


def _parts(content: str, marks: Sequence[Mark]) -> list[tuple[Part, Span]]:
    """Return text and codes with their positions in the content."""
    parts: list[tuple[Part, Span]] = []
    opened: dict[str, list[int]] = defaultdict(list)  # indices of parts
    position = 0
    for number, mark in enumerate(marks, 1):
        parts += _text_parts(content, position, mark.start, number)
        position = mark.end
        start, raw = mark.start, content[mark.start : mark.end]
        if mark.name in ("character", "space"):
            parts.append((mark.text, (mark.start, mark.end)))
            continue
        if mark.name == "code" and parts and isinstance(parts[-1][0], str) and (role := _ROLE.search(parts[-1][0])):
            text, (first, _) = parts.pop()
            start = mark.start - len(role[0])
            parts += [(str(text)[: role.start()], (first, start))] if role.start() else []
            raw = content[start : mark.end]
        code = Code(raw, CodeKind.ALONE, number, mark.text)
        if mark.kind is CodeKind.OPEN:
            opened[mark.name].append(len(parts))
        elif mark.kind is CodeKind.CLOSE and opened[mark.name]:
            at = opened[mark.name].pop()
            if mark.name in _KEPT:
                inside = "".join(part if isinstance(part, str) else part.text for part, _ in parts[at:])
                start = parts[at][1][0]
                del parts[at:]
                code = Code(content[start : mark.end], CodeKind.ALONE, number, inside)
            else:
                opening = parts[at][0]
                assert isinstance(opening, Code)
                parts[at] = opening._replace(kind=CodeKind.OPEN), parts[at][1]
                label = content[parts[at][1][1] : mark.start]
                raw = f"][{label}]" if mark.name == "link" and raw in ("]", "][]") else raw
                code = Code(raw, CodeKind.CLOSE, opening.pair)
        parts.append((code, (start, mark.end)))
    parts += _text_parts(content, position, len(content), len(marks) + 1)
    return parts


def _text_parts(content: str, start: int, end: int, number: int) -> Iterator[tuple[Part, Span]]:
    """Yield text, and as codes what extensions of Markdown mark up in it."""
    position = start
    for count, match in enumerate(_EXTENSIONS.finditer(content, start, end), 1):
        if position < match.start():
            yield content[position : match.start()], (position, match.start())
        yield Code(match[0], CodeKind.ALONE, -(1000 * number + count)), match.span()
        position = match.end()
    if position < end:
        yield content[position:end], (position, end)


def _outline(parts: Sequence[Part]) -> list[str]:
    """Return texts and `None` for codes, for comparison; white space is joined."""
    out: list[str] = []
    for part in parts:
        if isinstance(part, Code):
            out.append("\0")
        elif out and out[-1] != "\0":
            out[-1] += part
        else:
            out.append(part)
    return [_SPACES.sub(" ", text).strip() for text in out if text.strip()]
