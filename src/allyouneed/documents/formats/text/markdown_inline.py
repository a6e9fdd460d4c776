"""Inline Markdown with positions: text, and the codes of emphasis, links, images, code and HTML.

markdown-it-py decides what is markup; its rules are wrapped to record where, since its inline tokens have no positions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markdown_it import MarkdownIt
from markdown_it.helpers import parseLinkDestination, parseLinkLabel, parseLinkTitle
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

from allyouneed.documents.segments import CodeKind
from allyouneed.translation.stopping import check_needed

Span = tuple[int, int]
InlineRule = Callable[[StateInline, bool], bool]

_MATH = re.compile(r"\$\$[^$]+\$\$|\$(?=\S)[^$\n]*[^$\s\\]\$(?!\d)")  # Pandoc's rules, so that prices are text
_TARGET_BEGIN = re.compile(r"\]\(\s*")
_MOST_SKIPPED = 10  # times the length of a text: tokens that may be skipped in search of the ends of links
_TAG = re.compile(r"<(/?)([A-Za-z][\w:-]*)[^>]*?(/?)>", re.DOTALL)


class Mark(NamedTuple):
    """Markup that was found.

    Attributes:
        start: Position in the text.
        end: Position in the text.
        kind: Whether it opens an element, closes it, or stands alone.
        name: What it is: "em", "strong", "s", "link", "image", "code", "html", "break", "space" or "character".
        text: Text that readers see.
        alt: In an image, the position of the alternative text.
        title: In a link or an image, the position of the title, without its quotation marks.
    """

    start: int
    end: int
    kind: CodeKind
    name: str
    text: str = ""
    alt: Span = (0, 0)
    title: Span = (0, 0)


class _Call(NamedTuple):
    """A successful call of an inline rule: its range, the tokens so far, and the end of the label of a link."""

    rule: str
    start: int
    end: int
    tokens: list[Token]
    label_end: int


class _CountingParser(ParserInline):
    """Counts the tokens that are skipped in search of the ends of links."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0

    def skipToken(self, state: StateInline) -> None:
        self.skipped += 1
        super().skipToken(state)


class InlineParser:
    """Parses Markdown; its block structure has no inline tokens, which `marks` finds with positions."""

    def __init__(self) -> None:
        self.md = MarkdownIt()
        self.md.inline = self._inline = _CountingParser()
        self.md.configure("commonmark", {"maxNesting": 100}).enable(["table", "strikethrough"])
        self.md.disable(["inline", "text_join"])
        self.md.inline.ruler.before("escape", "math", _math)
        self._calls: list[_Call] = []
        self._text = ""
        for name in self.md.inline.ruler.get_active_rules():
            rules = self.md.inline.ruler
            rules.at(name, self._recording(name, rules.__rules__[rules.__find__(name)].fn))

    def marks(self, text: str, references: Mapping[str, Any]) -> list[Mark]:
        """Return the markup of a text in order, without overlap.

        Args:
            text: The content of a paragraph, heading or table cell.
            references: Link references of the document.
        """
        self._calls, self._text, self._inline.skipped = [], text, 0
        self.md.inline.parse(text, self.md, {"references": dict(references)}, [])
        found = sorted((mark for call in self._calls for mark in _marks_of(text, call)), key=lambda mark: mark[:2])
        out, position = [], 0
        for mark in found:
            if mark.start >= position:
                out.append(mark)
                position = mark.end
        return out

    def _recording(self, name: str, rule: InlineRule) -> InlineRule:
        def record(state: StateInline, silent: bool) -> bool:
            check_needed()
            if name in ("link", "image") and self._inline.skipped > _MOST_SKIPPED * len(state.src):
                return False  # too many brackets that are not closed: each would be searched for up to the end
            if silent or state.src is not self._text or name == "text":
                return rule(state, silent)
            start, matched = state.pos, rule(state, silent)
            if matched:
                count = state.pos - start if name in ("emphasis", "strikethrough") else 1
                label_end = parseLinkLabel(state, start, True) if name == "link" else -1
                self._calls.append(_Call(name, start, state.pos, state.tokens[-count:], label_end))
            return matched

        return record


def _math(state: StateInline, silent: bool) -> bool:
    """Read a formula, which is kept like code."""
    match = _MATH.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("code_inline", "code", 0).content = match[0]
    state.pos = match.end()
    return True


def _marks_of(text: str, call: _Call) -> Iterator[Mark]:
    rule, start, end, tokens, label_end = call
    last = tokens[-1] if tokens else Token("text", "", 0)
    if rule in ("emphasis", "strikethrough"):
        yield from _delimiters(start, end, tokens)
    elif rule == "link":
        yield Mark(start, start + 1, CodeKind.OPEN, "link")
        yield Mark(label_end, end, CodeKind.CLOSE, "link", title=_title(text, label_end, end))
    elif rule == "image":
        alt = start + 2, start + 2 + len(last.content)
        yield Mark(start, end, CodeKind.ALONE, "image", alt=alt, title=_title(text, alt[1], end))
    elif rule == "autolink":
        yield Mark(start, end, CodeKind.ALONE, "code", text[start + 1 : end - 1])
    elif rule == "html_inline":
        match = _TAG.match(text, start)
        kind = CodeKind.ALONE if match is None or match[3] else CodeKind.CLOSE if match[1] else CodeKind.OPEN
        yield Mark(start, end, kind, f"<{match[2].lower()}>" if match else "html")
    elif last.type == "code_inline":
        yield Mark(start, end, CodeKind.ALONE, "code", last.content)
    elif last.type in ("softbreak", "hardbreak"):
        before = start - len(text[:start]) + len(text[:start].rstrip(" ")) if rule == "newline" else start
        yield Mark(before, end, CodeKind.ALONE, "space" if last.type == "softbreak" else "break", " ")
    elif last.type == "text_special":
        yield Mark(start, end, CodeKind.ALONE, "character", last.content)


def _title(text: str, label_end: int, end: int) -> Span:
    """Return the position of the title of `](target "title")`; an empty one if there is none, or over several lines."""
    begin = _TARGET_BEGIN.match(text, label_end, end)
    target = parseLinkDestination(text, begin.end(), end - 1) if begin else None
    if target is None or not target.ok:
        return 0, 0
    start = target.pos + len(text[target.pos : end]) - len(text[target.pos : end].lstrip())
    title = parseLinkTitle(text, start, end - 1) if start > target.pos else None
    if title is None or not title.ok or "\n" in text[start : title.pos]:
        return 0, 0
    return start + 1, title.pos - 1


def _delimiters(start: int, end: int, tokens: Sequence[Token]) -> Iterator[Mark]:
    """Yield the delimiters of a run such as `***`, one token for each character, or for two tildes."""
    size = 2 if any(token.content == "~~" or token.type.startswith("s_") for token in tokens) else 1
    position = end
    for token in reversed(tokens[-((end - start + size - 1) // size) :]):
        first = max(start, position - size)
        name, _, side = token.type.partition("_")
        if side in ("open", "close"):
            kind = CodeKind.OPEN if side == "open" else CodeKind.CLOSE
            is_double = name == "strong"
            yield Mark(first - (is_double and side == "open"), position + (is_double and side == "close"), kind, name)
        position = first
