"""What a model has learned to translate of text that is otherwise kept: numbers, and escaped characters as words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from allyouneed.translation.protection.finding import find_parts
from allyouneed.translation.protection.letters import has_digits, has_letters

if TYPE_CHECKING:
    from allyouneed.translation.translator import Translator

ENTITY = "entity"
_NUMBERS = 0.02  # of the sources; a corpus of sentences may contain some numbers too
_ENTITIES = 0.005  # of the sources; Moses' tokenizer writes ' as &apos;, which 6 % of Multi30k's English sentences have


def numbers_share(sources: Iterable[str]) -> float:
    """Return the share of texts with digits but without letters."""
    return _share(sources, lambda source: has_digits(source) and not has_letters(source))


def entities_share(sources: Iterable[str]) -> float:
    """Return the share of texts with an escaped character, such as &apos;."""
    return _share(sources, lambda source: "&" in source and any(part.kind == ENTITY for part in find_parts(source)))


def translates_numbers(translator: Translator) -> bool:
    """Return whether a model was trained on sources of digits without letters, such as dates."""
    return _known(translator, translator.bundle.numbers_share, numbers_share) >= _NUMBERS


def translates_entities(translator: Translator) -> bool:
    """Return whether a model was trained on text with escaped characters, as Moses' tokenizer writes them."""
    return _known(translator, translator.bundle.entities_share, entities_share) >= _ENTITIES


def _known(translator: Translator, stored: float | None, share: Callable[[Iterable[str]], float]) -> float:
    """Return the share that a bundle states; that of its reference outputs if it is of an earlier version."""
    if stored is not None:
        return stored
    return share(translator.tokenizer.split_code(each["source"])[1] for each in translator.bundle.samples)


def _share(sources: Iterable[str], has: Callable[[str], bool]) -> float:
    found = [has(source) for source in sources]
    return sum(found) / max(1, len(found))
