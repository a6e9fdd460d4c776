"""Checks of what callers of a translator give, and values given once for several texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TypeVar

from allyouneed.errors import UserError
from allyouneed.translation.splitting import TextPart

Item = TypeVar("Item")


def check_inter_threads(number: object) -> None:
    """Raise `TypeError` unless the number is an integer or None, and `UserError` if it is less than 1."""
    if number is None:
        return
    if not isinstance(number, Integral) or isinstance(number, bool):
        raise TypeError(f"inter_threads is not an integer: {number!r}")
    if number < 1:
        raise UserError(f"inter_threads = {number}: choose at least 1, or None for one per core.")


def check_strings(name: str, values: Iterable[object]) -> None:
    """Raise `TypeError` unless all values are strings, and `UserError` if one is not valid Unicode."""
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{name}: expected strings, not {type(value).__name__}")
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise UserError(f"{name}: a text contains an unpaired surrogate, which is not valid Unicode.") from None


def for_each(value: Item, texts: int) -> list[Item]:
    """Repeat a value for each text; return an empty list if the value is empty."""
    return [value] * texts if value else []


def for_each_part(values: Sequence[Item], parts: list[list[TextPart]]) -> Sequence[Item]:
    """Repeat each text's value for each of its parts; return an empty sequence if all values are empty."""
    return [values[i] for i, split in enumerate(parts) for _ in split] if any(values) else ()
