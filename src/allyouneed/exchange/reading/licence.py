"""The licence that a model's folder states, in the head of a model card or by a licence's text."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

LICENCE_FILES = ("README.md", "LICENSE", "LICENCE", "LICENSE.txt", "LICENCE.txt", "COPYING")
MOST_LICENCE = 1 << 16  # characters of a file in which a licence is looked for
_HEAD = re.compile(r"\A---\s*\n(.*?)^---", re.MULTILINE | re.DOTALL)  # of a model card
_FIELD = re.compile(r"^licen[sc]e:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)


def find_licence(model: Path) -> str | None:
    """Find the licence that a model card states, or else the first line of a licence's text.

    Args:
        model: The model's folder, or a file in it.
    """
    folder = model if model.is_dir() else model.parent
    for name in LICENCE_FILES:
        with suppress(OSError, UnicodeDecodeError), (folder / name).open(encoding="utf-8") as file:
            if licence := licence_in(name, file.read(MOST_LICENCE)):
                return licence
    return None


def licence_in(name: str, text: str) -> str | None:
    """Return the licence that a file states, one of `LICENCE_FILES` with this text."""
    if name.endswith(".md"):
        head = _HEAD.match(text)
        found = _FIELD.search(head[1]) if head else None
        return f"{found[1].strip()} ({name})" if found else None
    first = next((line.strip() for line in text.splitlines() if line.strip()), None)
    return f"{first} ({name})" if first else None
