"""Strings of gettext catalogues: escapes, quotation and the breaking of lines, as gettext's own tools do them."""

from __future__ import annotations

import re
from unicodedata import east_asian_width

LINE_END = re.compile(r"\r\n|\r|\n")
_WIDTH = 79  # columns of a line, the default of gettext
_ESCAPE = re.compile(r"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", re.DOTALL)
_UNESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', **{char: f"\\{letter}" for letter, char in _UNESCAPED.items()}})
_UNIT = re.compile(r"\\n|[^ \u1100-\U0010ffff]+ *|[\u1100-\U0010ffff] *| +")  # where lines may be broken after


def unquoted(raw: str) -> str:
    """Return the text of an escaped string."""
    return _ESCAPE.sub(_character, raw) if "\\" in raw else raw


def _character(escape: re.Match[str]) -> str:
    code = escape[1]
    if code[0] in "01234567":
        return chr(int(code, 8))
    if code[0] == "x" and len(code) > 1:
        return chr(int(code[1:], 16))
    return _UNESCAPED.get(code, code)


def is_wrapped(text: str) -> bool:
    """Return whether the strings of a catalogue are broken at gettext's width, rather than only at line feeds."""
    long = (line for line in LINE_END.split(text) if len(line) > _WIDTH + 3 and line.startswith(('"', "msg")))
    return not any(" " in line[20:_WIDTH] for line in long)


def quoted(keyword: str, text: str, wraps: bool, line_end: str) -> str:
    """Write a field as gettext's tools do: on one line if it fits, else broken after line feeds and between words.

    Args:
        keyword: The keyword, such as "msgstr[0]".
        text: The text.
        wraps: Whether long lines are broken.
        line_end: The line end of the file.
    """
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)
    escaped = [line.translate(_ESCAPED) for line in lines]
    if len(lines) <= 1 and (not wraps or _columns(f'{keyword} "{"".join(escaped)}"') <= _WIDTH):
        return f'{keyword} "{"".join(escaped)}"'
    if wraps:
        escaped = [piece for line in escaped for piece in _broken(line)]
    return line_end.join((f'{keyword} ""', *(f'"{line}"' for line in escaped)))


def _broken(line: str) -> list[str]:
    """Break an escaped line between words, and between wide characters."""
    pieces, columns = [""], 0
    for unit in _UNIT.findall(line):
        width = _columns(unit)
        if pieces[-1] and columns + width > _WIDTH - 2 and unit != "\\n":
            pieces.append("")
            columns = 0
        pieces[-1] += unit
        columns += width
    return pieces


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(1 + (east_asian_width(char) in "WF") for char in text)
