"""Tables of any kind: rows of cells, of which two columns are the source and the target of sentence pairs.

A subclass reads one kind of file: tab-separated values, CSV and JSON lines in `text_tables.py`, others in `readers`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from allyouneed.data.files.headers import side_of
from allyouneed.data.files.rows import Row
from allyouneed.data.files.selection import Columns, Name, closeness
from allyouneed.errors import UserError

Counted: TypeAlias = Callable[[Iterable[Any]], Iterator[Any]]
_MOST_SAMPLED = 100  # rows in which a column of numbers is recognised
_MOST_NAMED = 20  # columns in a message
_TEXT = {"text", "value", "sentence", "content", "translation", "target", "source", "message", "string"}


class RawPair(NamedTuple):
    """A sentence pair as read from a file.

    Attributes:
        line: Line number, or number of the row or record in a binary file, from 1.
        source: Source sentence without surrounding whitespace.
        target: Target sentence without surrounding whitespace.
        fault: Reason why the pair cannot be used; None if it can.
        file: Its file, for a corpus of several; "" for one.
    """

    line: int
    source: str
    target: str
    fault: str | None = None
    file: str = ""


def position(pair: RawPair) -> int | str:
    """Return the line of a pair, with its file if it is one of several."""
    return f"{pair.file}:{pair.line}" if pair.file else pair.line


def shown_position(line: int | str) -> str:
    """Return a position for a message."""
    return f"{line:,}" if isinstance(line, int) else line


class Table(ABC):
    """A file with rows of cells.

    Attributes:
        path: The file.
        form: Its form, such as "TSV", "CSV" or "Parquet".
        width: Usual number of columns.
        names: Names of the columns; empty if it has none.
        wanted: The columns that were chosen.
        is_text: Whether it is plain text, see `Part`.
    """

    is_text = False
    path: Path
    form: str
    width: int
    names: tuple[str, ...]
    wanted: Columns

    @property
    def name(self) -> str:
        """Name of the file."""
        return str(self.path)

    @abstractmethod
    def sample(self) -> Iterator[Row]:
        """Yield the first rows, below a header."""

    @abstractmethod
    def pairs(self) -> Iterator[RawPair]:
        """Yield the sentence pairs of the chosen columns, in one pass.

        Raises:
            UserError: As for `select`, or if the file is damaged.
        """

    @abstractmethod
    def count(self, counted: Counted = iter) -> int:
        """Count the rows below the header, in one pass; those that take long pass through `counted`, for progress.

        Raises:
            UserError: If the file is damaged, or many rows have another number of columns than the others.
        """

    def select(self) -> tuple[int, int]:
        """Return the indices of source and target, from 0.

        Columns are chosen by number, from 1, or by name. By default, they are those named after the languages, those
        that a header names as source and target or after two languages, or the first two.

        Raises:
            UserError: If there is no such column, or a selected one of several has only numbers.
        """
        wanted = self.wanted
        if wanted.is_default and (named := self._of_languages() or named_columns(self.names)):
            return named
        source, target = (self._index(column) for column in (wanted.source, wanted.target))
        if self.width > 2 and not self.names:
            self._check_text(source, target)
        return source, target

    def notes(self) -> list[str]:
        """Describe how the file is read, where users may not expect it.

        Raises:
            UserError: As for `select`.
        """
        chosen = self.select()
        if self.names:
            source, target = (self.names[column] for column in chosen)
            return [f"{self.path}: source is {source!r}, target is {target!r}; others: --set data.columns=2,1"]
        if self.width > 2:
            return [
                f"{self.path}: {self.width} columns; source and target are columns {chosen[0] + 1} and "
                f"{chosen[1] + 1}. Choose others with --set data.columns=..."
            ]
        return []

    def _of_languages(self) -> tuple[int, int] | None:
        """Return the columns named after the languages of source and target; None unless there is one of each."""
        if self.wanted.languages is None or self.wanted.languages[0] == self.wanted.languages[1]:
            return None
        found = [closest(language, self.names) for language in self.wanted.languages]
        if len(found[0]) != 1 or len(found[1]) != 1 or found[0] == found[1]:
            return None
        return found[0][0], found[1][0]

    def _index(self, column: Name) -> int:
        if isinstance(column, int):
            if column > self.width:
                raise UserError(
                    f"{self.path}: {self.width} columns, so there is no column {column}. "
                    "Train with others, for example --set data.columns=1,2 on the command line."
                )
            return column - 1
        equal = [index for index, name in enumerate(self.names) if name.strip() == column.strip()]
        found = equal or [index for index, name in enumerate(self.names) if leaf(name) == column.strip()]
        found = found or closest(column, self.names)
        if len(found) != 1:
            names = f"{', '.join(self.names[:_MOST_NAMED])}{', ...' if len(self.names) > _MOST_NAMED else ''}"
            number = "no column" if not found else f"{len(found)} columns"
            raise UserError(
                f"{self.path}: {number} named {column!r}; the columns are {names or 'not named'}. Choose them by name "
                "or by number, for example --set data.columns=1,2."
            )
        return found[0]

    def _check_text(self, *chosen: int) -> None:
        rows = [row for row, _ in zip(self.sample(), range(_MOST_SAMPLED), strict=False) if not row.fault]
        numeric = [all(row.cells[index].strip().isdecimal() for row in rows) for index in range(self.width)]
        text = [str(column) for column, is_numeric in enumerate(numeric, 1) if not is_numeric]
        columns = ",".join(text[:2]) if len(text) >= 2 else "2,3"
        for index in chosen:
            if rows and numeric[index]:
                raise UserError(
                    f"{self.path}: column {index + 1} of {self.width} has only numbers. Choose the columns of "
                    f"source and target: in training --set data.columns={columns} or the like, otherwise "
                    f"cut -f{columns}."
                )


class RowTable(Table):
    """A table whose rows a reader yields.

    Args:
        path: The file.
        form: Its form.
        names: Names of its columns; empty if it has none.
        width: Number of its columns.
        rows: Yields the rows with the cells of some columns, given by their indices.
        wanted: The columns that were chosen.
    """

    def __init__(
        self,
        path: Path,
        form: str,
        names: Sequence[str],
        width: int,
        rows: Callable[[tuple[int, ...]], Iterator[Row]],
        wanted: Columns,
    ):
        self.path, self.form, self.names, self.width = path, form, tuple(names), width
        self.wanted, self._rows = wanted, rows

    def sample(self) -> Iterator[Row]:
        """Yield the rows."""
        return self._rows(tuple(range(self.width)))

    def pairs(self) -> Iterator[RawPair]:
        """Yield the sentence pairs of the chosen columns, in one pass; raises `UserError` as `select` does."""
        for line, (source, target), fault in self._rows(self.select()):
            yield RawPair(line, source.strip(), target.strip(), fault)

    def count(self, counted: Counted = iter) -> int:
        """Count the rows, in one pass."""
        return sum(1 for _ in counted(self._rows(self.select())))


def leaf(name: str) -> str:
    """Return the last part of the name of a nested field: "de" for "translation.de"."""
    return name.rpartition(".")[2].strip()


def closest(language: str, names: Sequence[str]) -> list[int]:
    """Return the indices of the names that denote a language, or its closest variety."""
    sides = {index: side for index, name in enumerate(names) if (side := side_of(leaf(name)))}
    return _fitting(language, sides) or _fitting(language, _sides_of_parents(names))


def _fitting(language: str, sides: Mapping[int, str]) -> list[int]:
    fits = [(fit, index) for index, side in sides.items() if (fit := closeness(language, side)) is not None]
    return [index for fit, index in fits if fit == min(fits)[0]]


def _sides_of_parents(names: Sequence[str]) -> dict[int, str]:
    """Return the sides of nested fields by the fields that they are in, as in "de.text"; of several, those of texts."""
    sides = {}
    for index, name in enumerate(names):
        parents = name.split(".")[:-1]
        if side := next((side for parent in parents if (side := side_of(parent))), None):
            sides[index] = side
    texts = {index: side for index, side in sides.items() if leaf(names[index]).casefold() in _TEXT}
    return {index: side for index, side in sides.items() if index in texts or side not in texts.values()}


def named_columns(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the columns that are named source and target, or after two languages; None if there are none."""
    sides = {index: side for index, name in enumerate(names) if (side := side_of(leaf(name)))}
    return _two_columns(sides) or _two_columns(_sides_of_parents(names))


def _two_columns(sides: Mapping[int, str]) -> tuple[int, int] | None:
    columns = {side: index for index, side in sides.items()}
    if "source" in columns and "target" in columns:
        return columns["source"], columns["target"]
    if len(columns) > 2:
        columns.pop("id", None)  # an identifier more often than Indonesian
    if len(columns) != 2 or len(sides) > 3:
        return None
    first, second = sorted(columns.values())
    return first, second
