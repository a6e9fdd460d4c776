"""DeepL's `preserve_formatting`: sentences keep the case of their first letter and their final punctuation."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from allyouneed.languages import primary
from allyouneed.serving.pipeline.text_pipeline import CharSpan

_FINAL = re.compile(r"[.,:;!?…。、：；！？؟،؛۔।॥։]*$")
_ELLIPSES = ("...", "…")
_FULL_WIDTH = str.maketrans(".,:;!?", "。、：；！？")
_FULL_WIDTH_LANGUAGES = ("ja", "zh", "yue")
_CAPITALISED = ("de", "lb")  # a capital at the beginning may be that of a noun
_PRONOUNS = {"I", "I'm", "I've", "I'll", "I'd"}


class SentencePair(NamedTuple):
    """Positions of a sentence in its text and of its translation in the translated text."""

    source: CharSpan
    target: CharSpan


def preserve_formatting(source: str, translation: str, pairs: Iterable[SentencePair], language: str) -> str:
    """Give each sentence of a translation the initial case and the final punctuation of its source.

    Args:
        source: Source text.
        translation: Translated text.
        pairs: Positions of the sentences, in order.
        language: Target language.
    """
    parts, end = [], 0
    for (first, last), (start, stop) in pairs:
        parts += [translation[end:start], format_sentence(source[first:last], translation[start:stop], language)]
        end = stop
    return "".join([*parts, translation[end:]])


def format_sentence(source: str, translation: str, language: str) -> str:
    """Give a translated sentence the initial case and the final punctuation of its source."""
    if not source or not translation:
        return translation
    wanted, found = _final(source), _final(translation)
    if primary(language) in _FULL_WIDTH_LANGUAGES:
        wanted = wanted.translate(_FULL_WIDTH)
    if bool(wanted) != bool(found) or (wanted in _ELLIPSES and found == "."):
        translation = translation[: len(translation) - len(found)] + wanted
    return _with_case_of(source, translation, language)


def _final(text: str) -> str:
    """Return the punctuation at the end of a text."""
    match = _FINAL.search(text)
    return match[0] if match else ""


def _with_case_of(source: str, translation: str, language: str) -> str:
    first, word = translation[:1], translation.split(maxsplit=1)[0] if translation.strip() else ""
    if source[:1].isupper() and first.islower():
        return first.upper() + translation[1:]
    is_name = word in _PRONOUNS or word[1:] != word[1:].lower() or primary(language) in _CAPITALISED
    if source[:1].islower() and first.isupper() and not is_name:
        return first.lower() + translation[1:]
    return translation
