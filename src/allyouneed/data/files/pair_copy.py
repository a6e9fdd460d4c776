"""Sentence pairs in a temporary file, which is read several times faster than XML and the like."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from allyouneed.data.files.formats import RawPair, open_parts, read_pairs
from allyouneed.data.files.opening import CHUNK
from allyouneed.data.files.selection import AnyColumns
from allyouneed.data.files.tables import Counted
from allyouneed.files import cannot_write

_SEPARATOR, _END = "\x1f", "\n"
_AT_ONCE = 10_000  # pairs


class PairCopy:
    """A copy of pairs in a file without a name, of which nothing is left when the program ends, even if it is killed.

    Args:
        folder: A folder on the file system that has room for the copy.
    """

    def __init__(self, folder: Path):
        self._folder, self._names = folder, dict[str, int]()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed with the last reference)
        except OSError as error:
            raise cannot_write(folder, error) from error

    def write(self, pairs: Iterable[RawPair]) -> int:
        """Append pairs, and return how many there are.

        Raises:
            UserError: If the disk is full.
        """
        count, waiting = 0, iter(pairs)
        while some := list(islice(waiting, _AT_ONCE)):
            count += len(some)
            try:
                self._file.write("".join(map(self._row, some)).encode("utf-8", "surrogatepass"))
                self._file.flush()
            except OSError as error:
                raise cannot_write(self._folder, error) from error
        return count

    def pairs(self) -> Iterator[RawPair]:
        """Yield the pairs, in one pass."""
        names = list(self._names)
        for row in io.BufferedReader(_Reader(self._file.fileno()), CHUNK):
            text = row.decode("utf-8", "surrogatepass")
            fields = json.loads(text) if text.startswith("[") else text[:-1].split(_SEPARATOR)
            line, source, target, fault, name = fields
            yield RawPair(int(line), source, target, fault or None, names[int(name)])

    def _row(self, pair: RawPair) -> str:
        line, source, target, fault, name = pair
        number = self._names.setdefault(name, len(self._names))
        row = _SEPARATOR.join((str(line), source, target, fault or "", str(number)))
        if row.count(_SEPARATOR) > 4 or _END in row:
            row = json.dumps([line, source, target, fault, number])
        return row + _END


def copied(
    paths: Sequence[Path], columns: AnyColumns, folder: Path, counted: Counted = iter
) -> tuple[PairCopy | None, int]:
    """Copy the pairs of a corpus to a temporary file, unless all of it is plain text, and count them as `Part.count`.

    Args:
        paths: Its files.
        columns: Columns or languages of source and target.
        folder: Folder of the temporary file.
        counted: What takes long passes through it, for progress.

    Returns:
        The copy, or None; and the number of pairs.

    Raises:
        UserError: As for `read_pairs` and `Part.count`, or if the disk is full.
    """
    parts = open_parts(paths, columns)
    if all(part.is_text for part in parts):
        return None, sum(part.count(counted) for part in parts)
    for part in parts:
        if part.is_text:
            part.count()
    copy = PairCopy(folder)
    return copy, copy.write(counted(read_pairs(paths, columns)))


class _Reader(io.RawIOBase):
    """A reader of an open file with a position of its own."""

    def __init__(self, descriptor: int):
        self._descriptor, self._position = descriptor, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._descriptor, [buffer], self._position)
        self._position += count
        return count
