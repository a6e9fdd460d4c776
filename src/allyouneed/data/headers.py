"""Names of columns and keys: which side or language of a corpus a name stands for."""

from __future__ import annotations

import re
from functools import cache

from babel import Locale

_SOURCE = {"source", "src", "original", "input"}
_TARGET = {"target", "tgt", "trg", "translation", "output"}
_GENERIC = {"", "sentence", "sentences", "text", "string", "segment", "lang", "language", "line"}
_LONGEST = 40  # characters; longer text is not a name


def side_of(name: str) -> str | None:
    """Return "source", "target" or the code of a language if a name of a column stands for it; None otherwise.

    Example:
        >>> side_of("src"), side_of("German"), side_of("sentence_de"), side_of("A dog runs.")
        ('source', 'de', 'de', None)
    """
    name = name.strip()
    if not 2 <= len(name) <= _LONGEST:
        return None
    words = [word for word in re.split(r"[\s_.:/-]+", name.casefold()) if word not in _GENERIC]
    if len(words) == 1 and words[0] in _SOURCE:
        return "source"
    if len(words) == 1 and words[0] in _TARGET:
        return "target"
    return language_of(" ".join(words))


@cache
def _names() -> dict[str, str]:
    languages = Locale("en").languages
    return {**{code: code for code in languages}, **{name.casefold(): code for code, name in languages.items()}}


def language_of(name: str) -> str | None:
    """Return the code of a language that a name or a code stands for, or None."""
    return _names().get(name)
