"""Files of units with a text for each language: translation memories, XLIFF files, catalogues and alignments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

from allyouneed.data.files.selection import Columns, Selection
from allyouneed.data.files.tables import Counted, RawPair
from allyouneed.errors import UserError

_BREAKS = re.compile(r"[ \t\r\n]*[\t\r\n][ \t\r\n]*")
_EXAMINED = 1000  # units whose languages are those of a file
_MOST_NAMED = 10  # languages in a message


class Unit(NamedTuple):
    """A unit of a file.

    Attributes:
        line: Line where it begins, from 1.
        texts: Its text in each language.
        fault: Reason why it cannot be used; None if it can.
    """

    line: int
    texts: Mapping[str, str]
    fault: str | None = None


class UnitFile:
    """A file of units.

    Args:
        path: The file.
        columns: Languages of source and target; numbers of columns have no meaning here.
        units: Reads the units; its argument says whether a language is needed.
    """

    is_text = False

    def __init__(self, path: Path, columns: Columns, units: Callable[[Callable[[str], bool]], Iterator[Unit]]):
        self.path, self._columns, self._units = path, columns, units

    @property
    def name(self) -> str:
        """Name of the file."""
        return str(self.path)

    def notes(self) -> list[str]:
        """Describe which languages are read, if they are not just those that were requested.

        Raises:
            UserError: As for `pairs`.
        """
        units = self._examined()
        selection = self._selection(units)
        chosen = Counter(pair for unit in units if (pair := selection.choose(unit.texts)))
        if not chosen:
            return []
        source, target = (_by_frequency(chosen, side) for side in (0, 1))
        others = sorted(code for code in {code for unit in units for code in unit.texts} if not selection.wants(code))
        also = f"; it also has {', '.join(others[:_MOST_NAMED])}{', ...' if len(others) > _MOST_NAMED else ''}"
        if (source, target) == selection.languages and not others:
            return []
        return [f"{self.path}: source is {source}, target is {target}{also if others else ''}"]

    def pairs(self) -> Iterator[RawPair]:
        """Yield the units that have both languages, in one pass.

        Raises:
            UserError: If the file is damaged, or no unit has both languages.
        """
        selection = self._selection(None)
        is_empty = True
        for line, texts, fault in self._units(selection.wants):
            chosen = selection.choose(texts)
            if chosen is not None:
                is_empty = False
                yield RawPair(line, one_line(texts[chosen[0]]), one_line(texts[chosen[1]]), fault)
        if is_empty:
            self._refuse(selection)

    def count(self, counted: Counted = iter) -> int:
        """Count the pairs, in one pass."""
        return sum(1 for _ in counted(self.pairs()))

    def _examined(self) -> list[Unit]:
        """Return the first units with all languages."""
        return list(islice(self._units(lambda _: True), _EXAMINED))

    def _selection(self, units: Sequence[Unit] | None) -> Selection:
        """Return the choice of the requested languages, or of the only two of the file."""
        if codes := self._columns.codes:
            return Selection(codes)
        found = list(dict.fromkeys(code for unit in units or self._examined() for code in unit.texts))
        if len(found) != 2:
            raise UserError(
                f"{self.path}: has the languages {', '.join(found[:_MOST_NAMED]) or 'none'}. Choose two with --from "
                "and --to, or by their codes: --set data.columns=de,en."
            )
        return Selection((found[0], found[1]))

    def _refuse(self, selection: Selection) -> NoReturn:
        found = Counter(code for unit in self._examined() for code in unit.texts)
        shown = ", ".join(code or "one without a code" for code, _ in found.most_common(_MOST_NAMED)) or "none"
        source, target = selection.languages
        raise UserError(
            f"{self.path}: no unit has texts in both {source} and {target}. The languages of the file are {shown}."
        )


def _by_frequency(chosen: Counter[tuple[str, str]], side: int) -> str:
    """Return the languages of a side, such as "en-US or en-GB", the most frequent one first."""
    found = Counter[str]()
    for pair, count in chosen.items():
        found[pair[side]] += count
    return " or ".join(code for code, _ in found.most_common(_MOST_NAMED))


def one_line(text: str) -> str:
    """Join the lines of a text by spaces, and remove surrounding spaces."""
    if "\n" in text or "\t" in text or "\r" in text:
        text = _BREAKS.sub(" ", text)
    return text.strip()
