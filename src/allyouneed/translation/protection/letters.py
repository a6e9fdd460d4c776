"""Decide whether a text has anything to translate."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable


def has_letters(text: str) -> bool:
    """Return whether a text has a letter of any script; modifier letters alone, such as ˈ, do not count."""
    return any(unicodedata.category(character) in ("Lu", "Ll", "Lt", "Lo") for character in text)


def without_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return a text without the parts at some positions, which are in order and do not overlap."""
    rest, position = "", 0
    for start, end in spans:
        rest += text[position:start]
        position = end
    return rest + text[position:]


def has_digits(text: str) -> bool:
    """Return whether a text has a digit or another number, such as ½ or Ⅷ."""
    return any(unicodedata.category(character)[0] == "N" for character in text)
