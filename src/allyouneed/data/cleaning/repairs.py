"""Repairs of single texts: characters that do not belong in text, and HTML entities."""

from __future__ import annotations

import html
import re

# Control characters (C0, C1), lone surrogates, non-characters, byte-order marks and interlinear annotations. Zero-width
# spaces and joiners are text: they separate words in Khmer, and are part of words in Persian.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]+")
_BREAKS = re.compile("[\t\n\v\f\r\x85\u2028\u2029]+")  # a line break inside a sentence
_ENTITY = re.compile(r"&(?:[A-Za-z][A-Za-z0-9]{1,31}|#\d{1,7}|#[xX][0-9A-Fa-f]{1,6});")


def remove_controls(text: str) -> str:
    """Remove control characters, lone surrogates and non-characters; line breaks become spaces."""
    return _CONTROLS.sub("", _BREAKS.sub(" ", text)).strip() if has_controls(text) else text


def has_controls(text: str) -> bool:
    """Return whether a text has characters that `remove_controls` removes."""
    return not text.isprintable() and bool(_CONTROLS.search(text) or _BREAKS.search(text))


def unescape_entities(text: str) -> str:
    """Replace HTML entities such as `&quot;` or `&#39;` by their characters, also if escaped twice."""
    for _ in range(2):
        if "&" not in text:
            break
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    return text
