"""Find the parts of a text that a translation must contain unchanged."""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from allyouneed.translation.protection.letters import has_letters
from allyouneed.translation.protection.patterns import (
    MESSAGE,
    NUMBERS,
    PATH_AFTER,
    PATTERNS,
    PLACEHOLDER,
    SIGNS,
    Pattern,
)

_BRACES = re.compile(r"'[{}]'|[{}]")  # in a message, '{' is a character
_BACKTICKS = re.compile("`+")
_LONGEST_TEMPLATE = 500  # characters of {{ ... }} and ${ ... }
_ENDS = frozenset(".,;:!?…'’)]}>*")  # characters at the end of an address that belong to the sentence
_OPENING = {")": "(", "]": "[", "}": "{"}
_TRIMMED = frozenset(("url", "path"))
_ELEMENT = re.compile(r"<(/?)([A-Za-z][\w:.-]*)")
_UNTRANSLATED = frozenset(("code", "kbd", "pre", "samp", "script", "style", "tt", "var", "xliff:g"))
_NO_TRANSLATION = re.compile(
    r"""\s(?:translate\s*=\s*["']?no\b|class\s*=\s*(?:notranslate\b|["'](?:[^"']*\s)?notranslate[\s"']))""",
    re.IGNORECASE,
)
_MOST_INSIDE, _LONGEST_INSIDE = 20, 100  # kept parts, and characters, of an element that has no letters besides them
_PREFIXES = "$#@%"


@dataclass(frozen=True)
class KeepOptions:
    """What to keep besides placeholders, tags, addresses, code and emoji.

    Attributes:
        numbers: Whether to keep numbers in their format, such as 1,234.50 or 12:30.
        patterns: Regular expressions of further text to keep, such as product names.
    """

    numbers: bool = False
    patterns: tuple[re.Pattern[str], ...] = ()


class KeptPart(NamedTuple):
    """A part of a text that stays unchanged.

    Attributes:
        start: Index of its first character.
        end: Index after its last character.
        kind: "placeholder", "message" (ICU), "entity", "tag", "element" (tags with what is between them), "url",
            "e-mail", "path", "code", "handle", "emoji", "invisible", "number" or "pattern".
    """

    start: int
    end: int
    kind: str


def find_kept(text: str, options: KeepOptions | None = None) -> tuple[tuple[int, int], ...]:
    """Find the parts of a text that its translation must contain unchanged, in order and without overlap.

    Args:
        text: The text, unescaped.
        options: What to keep additionally; None for the default.

    Returns:
        Start and end of each part, in characters.
    """
    return tuple((part.start, part.end) for part in find_parts(text, options))


def find_parts(text: str, options: KeepOptions | None = None) -> list[KeptPart]:
    """Find the parts of a text that stay unchanged, with their kinds; see `find_kept`."""
    options = options or KeepOptions()
    if not (options.numbers or options.patterns or SIGNS.search(text)):
        return []
    patterns = [*PATTERNS, *([NUMBERS] if options.numbers else []), *(Pattern("pattern", p) for p in options.patterns)]
    found = [part for pattern in patterns for part in _matches(text, pattern)]
    found += [*_in_braces(text), *_in_backticks(text)]
    parts = _without_overlap([_with_path(text, part) if part.kind == "placeholder" else part for part in found])
    return _without_overlap([*parts, *_elements(text, parts)])


def _elements(text: str, parts: Sequence[KeptPart]) -> Iterator[KeptPart]:
    """Yield elements that are code, are marked as not to be translated, or have no letters besides kept parts."""
    opened: list[tuple[int, str]] = []
    counts: dict[str, int] = defaultdict(int)
    for index, part in enumerate(parts):
        tag = _ELEMENT.match(text, part.start) if part.kind == "tag" and text[part.end - 2] != "/" else None
        if tag and not tag[1]:
            opened.append((index, tag[2].lower()))
            counts[tag[2].lower()] += 1
        elif tag and counts[tag[2].lower()]:
            first, name = opened.pop()
            while name != tag[2].lower():
                counts[name] -= 1
                first, name = opened.pop()
            counts[name] -= 1
            start = parts[first]
            is_untranslated = name in _UNTRANSLATED or _NO_TRANSLATION.search(text, start.start, start.end)
            if is_untranslated or _is_letterless(text, parts[first : min(index + 1, first + _MOST_INSIDE + 2)], part):
                yield KeptPart(start.start, part.end, "element")


def _is_letterless(text: str, parts: Sequence[KeptPart], last: KeptPart) -> bool:
    """Return whether there is something, but no letter, between the first and the last of some parts besides these."""
    if parts[-1] != last or last.start - parts[0].end > _LONGEST_INSIDE:
        return False
    gaps = [text[a.end : b.start] for a, b in pairwise(parts)]
    has_content = any(map(str.strip, gaps)) or any(part.kind != "tag" for part in parts)
    return has_content and not any(map(has_letters, gaps))


def _with_path(text: str, part: KeptPart) -> KeptPart:
    match = PATH_AFTER.match(text, part.end)
    return part._replace(end=_without_punctuation(text, part.end, match.end())) if match else part


def _matches(text: str, pattern: Pattern) -> Iterator[KeptPart]:
    for match in pattern.expression.finditer(text):
        start, end = match.span()
        if pattern.kind in _TRIMMED:
            end = _without_punctuation(text, start, end)
        if end > start:
            yield KeptPart(start, end, pattern.kind)


def _without_punctuation(text: str, start: int, end: int) -> int:
    """Return the end of an address without the punctuation of the sentence; brackets within the address stay."""
    counts = {each: text.count(each, start, end) for pair in _OPENING.items() for each in pair}
    while end > start and (last := text[end - 1]) in _ENDS:
        opening = _OPENING.get(last)
        if opening and counts[opening] >= counts[last]:
            break
        if opening:
            counts[last] -= 1
        end -= 1
    return end


def _in_braces(text: str) -> Iterator[KeptPart]:
    """Yield placeholders in braces, templates such as {{ name }}, variables such as ${name}, and ICU messages."""
    stack: list[int] = []
    for match in _BRACES.finditer(text):
        if match[0] == "{":
            stack.append(match.start())
        elif match[0] == "}" and stack:
            yield from _brace_part(text, stack.pop(), match.end())


def _brace_part(text: str, start: int, end: int) -> Iterator[KeptPart]:
    prefixed = start > 0 and text[start - 1] in _PREFIXES
    is_template = text[start + 1 : start + 2] in ("{", "%", "#", "!") and text[end - 2] in "}%#!" and end - start > 3
    if MESSAGE.match(text, start, end):
        yield KeptPart(start, end, "message")
    elif (prefixed or is_template) and end - start <= _LONGEST_TEMPLATE and "\n" not in text[start:end]:
        yield KeptPart(start - prefixed, end, "placeholder")
    elif PLACEHOLDER.fullmatch(text, start, end):
        yield KeptPart(start, end, "placeholder")


def _in_backticks(text: str) -> Iterator[KeptPart]:
    """Yield code between equally long runs of backticks; GNU's quotes, as in `word', are not code."""
    runs: dict[int, deque[tuple[int, int]]] = defaultdict(deque)
    for match in _BACKTICKS.finditer(text):
        runs[len(match[0])].append(match.span())
    position = 0
    for start, end in sorted(span for spans in runs.values() for span in spans):
        if start < position:
            continue
        closing = runs[end - start]
        while closing and closing[0][0] <= start:
            closing.popleft()
        if closing and not (text[end].isspace() or text[closing[0][0] - 1].isspace()):
            position = closing[0][1]
            yield KeptPart(start, position, "code")


def _without_overlap(parts: Sequence[KeptPart]) -> list[KeptPart]:
    """Sort parts and join those that overlap; the longer one gives the kind."""
    joined: list[KeptPart] = []
    for part in sorted(parts, key=lambda part: (part.start, -part.end)):
        if joined and part.start < joined[-1].end:
            joined[-1] = joined[-1]._replace(end=max(joined[-1].end, part.end))
        else:
            joined.append(part)
    return joined
