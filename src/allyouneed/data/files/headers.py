"""Recognition of column names and JSON keys as a side or a language of a corpus."""

from __future__ import annotations

import re
from functools import cache

from babel import localedata

from allyouneed.errors import UserError
from allyouneed.languages import language_code, language_remark, primary

_SOURCE = {"source", "src", "original", "input"}
_TARGET = {"target", "tgt", "trg", "translation", "translated", "output"}
_GENERIC = {"", "sentence", "sentences", "text", "string", "segment", "lang", "language", "line"}
_LONGEST = 40  # characters; longer text is not a name
_CODE = re.compile(r"[a-z]{2,3}([_-][a-z]{2,4})?|[A-Z]{2,3}|[a-z]{2}[_-][A-Z]{2}|[a-z]{2,3}[_-][A-Z][a-z]{3}")


def side_of(name: str) -> str | None:
    """Return the side ("source", "target") or the language code that a column name denotes, or None.

    Example:
        >>> side_of("src"), side_of("German"), side_of("sentence_de"), side_of("A dog runs.")
        ('source', 'de', 'de', None)
    """
    name = name.strip().strip('"').strip()
    if not 2 <= len(name) <= _LONGEST or any(c in ".,!?;:" for c in name):
        return None
    words = [word for word in re.split(r"[\s_/-]+", name) if word.casefold() not in _GENERIC]
    word = words[0].casefold() if len(words) == 1 else ""
    if word in _SOURCE or word in _TARGET:
        return "source" if word in _SOURCE else "target"
    return _language(name) or (_language(words[0]) if word else None)


@cache
def _language(name: str) -> str | None:
    """Return the code of the language that a code or a capitalised name denotes, or None."""
    is_code = _CODE.fullmatch(name) is not None
    if not is_code and (len(name) < 4 if name.isascii() else len(name) < 2):
        return None
    try:
        code = language_code(name)
    except UserError:
        return None
    if is_code and len(primary(code)) == 3 and not localedata.exists(code):  # many short words are codes
        return None
    return code if language_remark(code) is None else None
