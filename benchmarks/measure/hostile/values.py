"""Changes of JSON, line by line of YAML and TOML, and of bytes."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Iterator
from typing import Any

NUMBERS = (0, -1, 1, 2, 3, 7, 255, 65_536, 2**31 - 1, 2**31, 2**63, 10**30, -(2**63), 1e999, float("nan"), 0.5, -0.0)
VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "a", "relu", "\ud800", "a" * 100_000, "../../x", "/dev/zero", [], {}, [[]], [1], {"a": 1}),
    *([None], {"kind": {}}, ["a", "a"], NUMBERS[-2], *NUMBERS),
)
PIECES = b"\xff", b"\0", b"*", b"&a ", b"{", b"[", b'"', b"'", b"\n", b": ", b"- ", b"!!python/object:os.system ", b"1"
DEEP = (b'{"a":', b"}"), (b"[", b"]"), (b"- ", b""), (b"{a: ", b"}"), (b"(", b")")
_MOST_PATHS = 3  # items of a list whose values are replaced in turn
Key = str | int


def json_of(data: bytes) -> Any:
    """Return parsed JSON, or None if it is none that is worth a change."""
    if data[:1] not in b"{[":
        return None
    try:
        return copy.deepcopy(json.loads(data)) or None  # a copy shows whether it is too deep to be changed
    except (ValueError, RecursionError):
        return None


def places(content: Any) -> Iterator[tuple[Key, ...]]:
    """Yield the path of each value inside JSON; of long lists, those of the first items."""
    items = content.items() if isinstance(content, dict) else enumerate(content[:_MOST_PATHS])
    for key, value in list(items)[:200]:
        yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *path) for path in places(value))


def replaced(content: Any, turn: int) -> bytes:
    """Replace one value of JSON by one of another type or an extreme number: each value by each in turn."""
    found = list(places(content))
    path, value = found[turn % len(found)], VALUES[turn // len(found) % len(VALUES)]
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(content).encode()


def changed_json(content: Any, chance: random.Random) -> bytes:
    """Change JSON at random: values, names, nesting, repeated names, long texts, bytes that are not UTF-8."""
    data = json.dumps(_changed(copy.deepcopy(content), chance)).encode()
    kind = chance.random()
    if kind < 0.06 and (names := [key for key in content if isinstance(key, str)]):
        name = json.dumps(chance.choice(names)).encode()
        value = json.dumps(chance.choice(VALUES)).encode()
        return data.replace(name + b":", name + b": " + value + b", " + name + b":", 1)
    if kind < 0.09:
        start = data.find(b'"', chance.randrange(len(data))) + 1
        return data[:start] + chance.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0", b"\x1b[31m")) + data[start:]
    if kind < 0.11:
        start = data.find(b'"', chance.randrange(len(data))) + 1
        return data[:start] + b"a" * chance.choice((10**6, 10**7)) + data[start:]
    if kind < 0.13:
        filler = chance.choice((b"{},", b"[],", b'{"a":0},', b"1,"))
        return b'{"a":[' + filler * (chance.choice((10**6, 10**7)) // len(filler)) + b"0]," + data[1:]
    return data


def _changed(content: Any, chance: random.Random) -> Any:
    """Replace, remove, add or nest a random part of a JSON value."""
    if isinstance(content, dict | list) and content and chance.random() < 0.93:
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = chance.choice(keys)
        kind = chance.random()
        if kind < 0.08:
            del content[key]
        elif kind < 0.12 and isinstance(content, dict):
            content[str(chance.choice(VALUES))] = content[key]
        elif kind < 0.14:
            deep: Any = content[key]
            for _ in range(chance.choice((10, 60, 900))):
                deep = [deep]
            content[key] = deep
        else:
            content[key] = _changed(content[key], chance)
        return content
    if isinstance(content, int | float) and chance.random() < 0.6:
        return chance.choice((*NUMBERS, content + 1, content * 1000, -content, str(content)))
    return chance.choice(VALUES)


def changed_lines(data: bytes, chance: random.Random) -> bytes | None:
    """Change a line of a text, such as a value of YAML or TOML; None if it is no text."""
    if b"\0" in data[:1000] or b"\n" not in data[:100_000]:
        return None
    lines = data.split(b"\n")
    row = chance.randrange(len(lines))
    name, separator, _ = lines[row].partition(b"=" if b" = " in data else b":")
    kind = chance.random()
    if kind < 0.5 and separator:
        value = chance.choice((*VALUES, "*a", "&a [*a]", "!!python/object/apply:os.system [x]", "|", ">", "? ", "~"))
        shown = value if isinstance(value, str) and separator == b":" else json.dumps(value).lower()
        lines[row] = name + separator + b" " + shown.encode("utf-8", "ignore")
    elif kind < 0.7:
        lines[row : row + 1] = chance.choice(([], [lines[row]] * 2, [lines[row], lines[0]]))
    elif kind < 0.8:
        opening, closing = chance.choice(DEEP)
        lines[row] = name + separator + b" " + opening * 5000 + b"1" + closing * 5000
    elif kind < 0.85:
        lines[row] = b"a" + b".a" * chance.choice((100, 20_000, 500_000)) + b" = 1"
    else:
        return changed_bytes(data, chance)
    return b"\n".join(lines)


def changed_json_lines(data: bytes, chance: random.Random) -> bytes | None:
    """Change one of several lines of JSON; None if there are not several."""
    lines = data.split(b"\n")
    rows = [row for row, line in enumerate(lines) if json_of(line) is not None]
    if len(rows) < 2:
        return None
    row = chance.choice(rows)
    content = json_of(lines[row])
    lines[row] = changed_json(content, chance) if chance.random() < 0.5 else replaced(content, chance.randrange(10**6))
    return b"\n".join(lines)


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Cut, lengthen or overwrite data, or flip bits."""
    kind = chance.randrange(7)
    start = chance.randrange(len(data) + 1) if chance.random() < 0.5 else chance.randrange(min(len(data), 400) + 1)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data + data[: chance.choice((1, 100, len(data)))]
    if kind == 2:
        opening, closing = chance.choice(DEEP)
        count = chance.choice((2000, 200_000))
        return chance.choice((b"", data[:start])) + opening * count + closing * count
    if kind == 3:
        number = struct.pack("<Q", chance.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63, 2**64 - 1)))
        number = number[: chance.choice((4, 8))]
        return data[:start] + number + data[start + len(number) :]
    if kind == 4:
        return data[:start] + chance.choice(PIECES) + data[start:]
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)
