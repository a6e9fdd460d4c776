"""Selection of source and target among columns or languages, by number, by name or by language."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from allyouneed.languages import canonical_code, primary, same_language, stored_language_code

Name: TypeAlias = int | str
_MOST_KNOWN = 1000  # combinations of languages


class Columns(NamedTuple):
    """Which parts of a file are the source and the target.

    Attributes:
        source: Number of the source's column, from 1, or its name or language.
        target: Number of the target's column, or its name or language.
        languages: Languages of source and target, by which files with several languages are read; None if unknown.
    """

    source: Name = 1
    target: Name = 2
    languages: tuple[str, str] | None = None

    @property
    def is_default(self) -> bool:
        """Whether no columns were chosen, so that names and languages decide."""
        return (self.source, self.target) == (1, 2)

    @property
    def names(self) -> frozenset[str]:
        """Names of columns that were chosen by name."""
        return frozenset(name for name in (self.source, self.target) if isinstance(name, str))

    @property
    def codes(self) -> tuple[str, str] | None:
        """Languages of source and target: those chosen by name, else `languages`; None if neither is known."""
        if isinstance(self.source, str) and isinstance(self.target, str):
            return self.source, self.target
        return self.languages


DEFAULT = Columns()
AnyColumns: TypeAlias = Columns | tuple[Name, Name]


@lru_cache(4096)
def closeness(wanted: str, found: str) -> int | None:
    """Return how well a language fits a requested one, from 0 (equal); None if it is another language or script.

    Of `pt-BR`, `pt` and `pt-PT`, a request for `pt` finds them in the order `pt`, `pt-BR` or `pt-PT`; one for `pt-BR`
    finds `pt-BR`, then `pt`, then `pt-PT`.
    """
    if canonical_code(found.strip()) is None:
        return 0 if wanted.strip().casefold() == found.strip().casefold() else None
    wanted, found = (stored_language_code(code.strip()) for code in (wanted, found))
    if wanted == found:
        return 0
    if primary(wanted) != primary(found) or not same_language(wanted, found):
        return None
    return 1 if found == primary(found) else 2


class Selection:
    """Choice of the source and the target among the languages of each unit of a file.

    Args:
        languages: Languages of source and target.
    """

    def __init__(self, languages: tuple[str, str]):
        self.languages = languages
        self._known: dict[tuple[str, ...], tuple[str, str] | None] = {}

    def wants(self, code: str) -> bool:
        """Return whether a language can be the source or the target."""
        return any(closeness(wanted, code) is not None for wanted in self.languages)

    def choose(self, codes: Iterable[str]) -> tuple[str, str] | None:
        """Return the languages of source and target among those of a unit; None if there is no such pair."""
        key = tuple(codes)
        if key not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[key] = self._chosen(key)
        return self._known[key]

    def _chosen(self, codes: Sequence[str]) -> tuple[str, str] | None:
        source, target = self.languages
        fits = [
            (first + second, one, other)
            for one, code in enumerate(codes)
            if (first := closeness(source, code)) is not None
            for other, second_code in enumerate(codes)
            if other != one and (second := closeness(target, second_code)) is not None
        ]
        if not fits:
            return None
        _, one, other = min(fits)
        return codes[one], codes[other]


def other_language(languages: tuple[str, str] | None, known: str) -> str:
    """Return the language that a file does not name, given the one that it names: the other of those requested.

    Args:
        languages: Languages of source and target; None if unknown.
        known: The language that the file names; "" if it names none, so that the source's is returned.
    """
    if languages is None:
        return "und"
    source, target = languages
    return target if closeness(source, known) is not None else source
