"""A scanner of JSON that reports where strings are, for files that must keep their bytes.

Comments, as in configuration files, are accepted and kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from allyouneed.errors import UserError

_SPACE = re.compile(r"(?:[\s\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_STRING = re.compile(r'"[^"\\]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\]*+)*+"')
_SCALAR = re.compile(r"-?(?:\d[\d.eE+-]*|Infinity)|true|false|null|NaN")
_DEEPEST, _DEEPEST_RECORDED = 1_000, 20


Path = tuple[str | int, ...]


class JsonValue(NamedTuple):
    """An object or array.

    Attributes:
        key: Position of the opening quotation mark of its key; -1 in an array.
        start: Position of its opening bracket.
        end: Position after its closing bracket.
    """

    key: int
    start: int
    end: int


class JsonString(NamedTuple):
    """A string value.

    Attributes:
        path: Keys and indices that lead to it.
        start: Position of its opening quotation mark.
        end: Position after its closing quotation mark.
        key: Position of the opening quotation mark of its key; -1 in an array.
    """

    path: Path
    start: int
    end: int
    key: int = -1


@dataclass
class _Level:
    """An object or array that is open.

    Attributes:
        close: The character that closes it.
        step: The current key, or the index in an array.
        key: Position of the current key.
        is_empty: Whether nothing has been read in it.
        start: Position of its opening bracket.
    """

    close: str
    start: int
    step: str | int = 0
    key: int = -1
    is_empty: bool = True


@dataclass
class Scanner:
    """Finds the strings of a JSON text in linear time.

    Attributes:
        text: The text.
        name: Name of the file, for messages.
        several: Whether the text is a sequence of values (JSON lines).
        values: Receives the objects and arrays by their paths, those that are deep in others aside; None for no record.
    """

    text: str
    name: str
    several: bool = False
    values: dict[Path, JsonValue] | None = None
    _levels: list[_Level] = field(default_factory=list)
    _position: int = 0

    def strings(self) -> Iterator[JsonString]:
        """The string values, in order.

        Raises:
            UserError: If the text is not JSON.
        """
        self._skip()
        number = 0
        while self._position < len(self.text):
            if number and not self.several:
                raise self._damaged("something follows the value")
            yield from self._value((number,) if self.several else ())
            number += 1
            self._skip()
        if not number and not self.several:
            raise self._damaged("there is no value")

    def _value(self, path: Path) -> Iterator[JsonString]:
        """The strings of one value, with the objects and arrays in it."""
        expects_value = True
        while expects_value or self._levels:
            if not expects_value and self._closes(path):
                continue
            expects_value = False
            start, char = self._position, self.text[self._position : self._position + 1]
            if char in ("{", "["):
                self._open(char)
            elif char == '"':
                self._position = self._end_of_string()
                steps = (*path, *(level.step for level in self._levels))
                yield JsonString(steps, start, self._position, self._levels[-1].key if self._levels else -1)
            elif scalar := _SCALAR.match(self.text, start):
                self._position = scalar.end()
            else:
                raise self._damaged("a value is missing here")

    def _open(self, char: str) -> None:
        if len(self._levels) == _DEEPEST:
            raise self._damaged(f"more than {_DEEPEST:,} levels")
        self._levels.append(_Level("}" if char == "{" else "]", self._position))
        self._position += 1

    def _closes(self, path: Path) -> bool:
        """Read what is between two values; whether it closes a level, after which no value follows."""
        level = self._levels[-1]
        self._skip()
        if not level.is_empty and self.text.startswith(",", self._position):
            self._position += 1
            self._skip()
            if level.close == "]":
                level.step = int(level.step) + 1
        elif not level.is_empty and not self.text.startswith(level.close, self._position):
            raise self._damaged(f"a comma or {level.close} is missing here")
        if self.text.startswith(level.close, self._position):
            self._levels.pop()
            self._position += 1
            if self.values is not None and len(self._levels) <= _DEEPEST_RECORDED:
                steps = (*path, *(level.step for level in self._levels))
                key = self._levels[-1].key if self._levels else -1
                self.values[steps] = JsonValue(key, level.start, self._position)
            return True
        level.is_empty = False
        if level.close == "}":
            self._read_key(level)
        return False

    def _read_key(self, level: _Level) -> None:
        level.key, end = self._position, self._end_of_string()
        level.step = self.text[level.key + 1 : end - 1]
        self._position = end
        self._skip()
        if not self.text.startswith(":", self._position):
            raise self._damaged("a colon is missing here")
        self._position += 1
        self._skip()

    def _end_of_string(self) -> int:
        string = _STRING.match(self.text, self._position)
        if string is None:
            raise self._damaged("a string is missing here, not closed, or has an invalid escape")
        return string.end()

    def _skip(self) -> None:
        space = _SPACE.match(self.text, self._position)
        self._position = space.end() if space else self._position

    def _damaged(self, reason: str) -> UserError:
        line = self.text.count("\n", 0, self._position) + 1
        return UserError(f"{self.name}, line {line:,}: not valid JSON: {reason}. Correct the file.")
