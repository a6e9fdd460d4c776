"""Counts of letters, digits and characters of a script for many texts at once."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np

from allyouneed.languages import is_in_several_scripts, script_of

_TABLE = 0x20000  # code points with a table entry; those above are rare ideographs
_IDEOGRAPHS_END = 0x323B0
_HAN = "㐀-鿿\uf900-\ufaff\U00020000-\U0003ffff"
_SCRIPTS = {
    "latn": "A-Za-zÀ-ɏḀ-ỿ", "grek": "Ͱ-Ͽἀ-῿", "cyrl": "Ѐ-ԯ", "armn": "԰-֏", "hebr": "֐-׿", "arab": "؀-ۿݐ-ݿﭐ-﷿ﹰ-﻿",
    "deva": "ऀ-ॿ", "beng": "ঀ-৿", "guru": "਀-੿", "gujr": "઀-૿", "orya": "଀-୿", "taml": "஀-௿", "telu": "ఀ-౿",
    "knda": "ಀ-೿", "mlym": "ഀ-ൿ", "sinh": "඀-෿", "thai": "฀-๿", "laoo": "຀-໿", "tibt": "ༀ-࿿", "mymr": "က-႟",
    "geor": "Ⴀ-ჿ", "ethi": "ሀ-፿", "khmr": "ក-៿", "mong": "᠀-᢯", "kore": "ᄀ-ᇿㄱ-ㆎ가-힣", "jpan": f"ぁ-ヿ{_HAN}",
    "hans": _HAN, "hant": _HAN, "hani": _HAN,
}  # fmt: skip
_PLACEHOLDER = re.compile(r"%\(\w+\)\w|\{[^{}]*\}|<[^<>]*>|https?://\S+")


def without_placeholders(text: str) -> str:
    """Remove placeholders, tags and addresses, which are in the same script in every language."""
    return _PLACEHOLDER.sub("", text)


def script_letters(script: str) -> str | None:
    """Return the letters of a script as ranges of a regular expression's character class; None for other scripts."""
    return _SCRIPTS.get(script)


def letters_of(language: str) -> str | None:
    """Return the letters of a language's script, see `script_letters`; None if it is written in several scripts."""
    return None if is_in_several_scripts(language) else script_letters(script_of(language))


class Characters:
    """The characters of many texts in one array.

    Args:
        texts: The texts.

    Attributes:
        lengths: Characters of each text, shape [texts].
        codes: Code points of all texts, shape [characters].
    """

    def __init__(self, texts: Sequence[str]):
        self.lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        joined = "".join(texts).encode("utf-32-le", "surrogatepass")
        self.codes = np.frombuffer(joined, dtype=np.uint32)
        self._ends = np.cumsum(self.lengths)

    def count(self, table: np.ndarray, beyond: bool = False) -> np.ndarray:
        """Count the characters of each text that a table of code points marks, shape [texts].

        Args:
            table: A boolean for each code point below `_TABLE`.
            beyond: Whether ideographs above the table count.
        """
        marked = table[np.minimum(self.codes, _TABLE - 1)]
        if beyond and (above := (self.codes >= _TABLE) & (self.codes < _IDEOGRAPHS_END)).any():
            marked = marked | above
        totals = np.concatenate([[0], np.cumsum(marked)])
        return totals[self._ends] - totals[self._ends - self.lengths]


@cache
def letter_table() -> np.ndarray:
    """Return a table of letters and combining marks, as in Hindi's vowel signs."""
    return _table(lambda character: unicodedata.category(character)[0] in "LM")


@cache
def digit_table() -> np.ndarray:
    """Return a table of decimal digits in all scripts."""
    return _table(str.isdecimal)


@cache
def space_table() -> np.ndarray:
    """Return a table of white space."""
    return _table(str.isspace)


@cache
def script_table(letters: str) -> np.ndarray:
    """Return a table of the letters of a script, see `script_letters`."""
    pattern = re.compile(f"[{letters}]")
    return _table(lambda character: pattern.match(character) is not None)


def _table(test: object) -> np.ndarray:
    assert callable(test)
    marks = np.fromiter((bool(test(chr(code))) for code in range(_TABLE)), dtype=bool, count=_TABLE)
    marks[-1] = False  # stands for all code points above
    return marks
