"""Division of text into the units in which terms are searched: words, or characters in scripts without spaces.

Each unit has a key. Words with equal keys are forms of one word: the key is the stem of the word in lower case if a
stemmer for the language is installed (snowballstemmer), else the word in lower case.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache
from typing import NamedTuple

from allyouneed.languages import language_name, primary

try:
    import snowballstemmer
except ModuleNotFoundError:  # an extra
    snowballstemmer = None

_CACHED_STEMS = 50_000
_LONGEST_STEMMED = 100  # characters; no language has longer words
_SPACE, _WORD, _MARK, _HANGUL, _KATAKANA, _CHARACTER, _OTHER = "swmhkco"
_UNITS = re.compile(f"{_SPACE}+|{_WORD}[{_WORD}{_MARK}]*|{_HANGUL}[{_HANGUL}{_MARK}]*|{_KATAKANA}+|.{_MARK}*")
_WITHOUT_SPACES = (  # first and last code points of scripts that do not separate words
    (0x0E00, 0x0EFF, _CHARACTER),  # Thai, Lao
    (0x0F00, 0x0FFF, _CHARACTER),  # Tibetan
    (0x1000, 0x109F, _CHARACTER),  # Myanmar
    (0x1100, 0x11FF, _HANGUL),
    (0x1780, 0x17FF, _CHARACTER),  # Khmer
    (0x2E80, 0x303A, _CHARACTER),  # radicals, ideographic iteration marks
    (0x3041, 0x309F, _CHARACTER),  # hiragana
    (0x30A0, 0x30FF, _KATAKANA),
    (0x3130, 0x318F, _HANGUL),
    (0x31F0, 0x31FF, _KATAKANA),
    (0x3400, 0x9FFF, _CHARACTER),  # ideographs
    (0xAC00, 0xD7FF, _HANGUL),
    (0xF900, 0xFAFF, _CHARACTER),
    (0xFF66, 0xFF9F, _KATAKANA),  # half-width
    (0x20000, 0x3FFFF, _CHARACTER),
)
_SAME = str.maketrans({"’": "'", "ʼ": "'", "＇": "'", "‐": "-", "‑": "-", "\xad": "", "\u200b": ""})
# Korean particles, which follow a noun without a space; 들 is the plural.
_PARTICLES = re.compile(
    "(?:들)?(?:에게서|한테서|으로부터|로부터|에게|에서|에서는|에서도|에는|에도|으로써|으로서|으로는|으로|로써|로서|로는|로|한테|께서|께|"
    "까지|부터|보다|처럼|마다|조차|마저|밖에|만큼|대로|이라는|라는|이라고|라고|이라|입니다|이다|이며|이나|이란|"
    "은|는|이|가|을|를|과|와|의|에|도|만|뿐)?"
)
_LONGEST_WORD = 30  # syllables of a Korean word with particles


class Unit(NamedTuple):
    """A unit of text.

    Attributes:
        start: Position of its first character.
        end: Position after its last character.
        text: Its text, in Unicode NFC.
        key: Its key.
    """

    start: int
    end: int
    text: str
    key: str


class _Classes(dict[int, str]):
    """The class of each character, by code point; computed on first use."""

    def __missing__(self, point: int) -> str:
        found = _class_of(chr(point))
        self[point] = found
        return found


def _class_of(character: str) -> str:
    category = unicodedata.category(character)
    if category[0] == "M" or category == "Cf":  # combining marks; joiners and soft hyphens
        return _MARK
    if character.isspace():
        return _SPACE
    if category[0] not in "LN" and character != "_":
        return _OTHER
    point = ord(character)
    return next((name for first, last, name in _WITHOUT_SPACES if first <= point <= last), _WORD)


_CLASSES = _Classes()


def units_of(text: str, language: str) -> list[Unit]:
    """Divide a text into words, characters of scripts without spaces, spaces, and single other characters.

    Args:
        text: The text.
        language: Code of its language, which selects the stemmer.
    """
    stem = stemmer_of(language)
    classes = text.translate(_CLASSES)
    units = []
    for match in _UNITS.finditer(classes):
        start, end = match.span()
        piece, kind = unicodedata.normalize("NFC", text[start:end]), classes[start]
        if kind == _SPACE:
            key = " "
        elif kind == _WORD:
            key = stem(piece.casefold().translate(_SAME))
        else:
            key = piece.casefold().translate(_SAME)
        units.append(Unit(start, end, piece, key))
    return units


def nouns_of(unit: Unit) -> list[Unit]:
    """Return the possible nouns of a Korean word, which is the noun and a particle; [] for other words."""
    text = unit.text
    if not "가" <= text[-1] <= "힣" or len(text) > _LONGEST_WORD:
        return []
    ends = [end for end in range(len(text) - 1, 0, -1) if _PARTICLES.fullmatch(text, end)]
    is_composed = len(text) == unit.end - unit.start
    return [Unit(unit.start, unit.start + end if is_composed else unit.end, text[:end], text[:end]) for end in ends]


@cache
def stemmer_of(language: str) -> Callable[[str], str]:
    """Return the function that stems words of a language; without a stemmer, it returns words as they are."""
    name = {"nb": "norwegian", "nn": "norwegian", "no": "norwegian"}.get(primary(language))
    name = name or language_name(primary(language)).lower()
    if snowballstemmer is None or name not in snowballstemmer.algorithms():
        return _unchanged
    stemmer, lock = snowballstemmer.stemmer(name), threading.Lock()

    @lru_cache(_CACHED_STEMS)
    def stem(word: str) -> str:
        if len(word) > _LONGEST_STEMMED:
            return word
        with lock:  # a stemmer has state
            found: str = stemmer.stemWord(word)
        return found

    return stem


def _unchanged(word: str) -> str:
    return word
