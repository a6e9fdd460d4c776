"""Two parallel files of plain text, one sentence per line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import Path

import numpy as np

from allyouneed.data.files.headers import side_of
from allyouneed.data.files.lines import read_lines
from allyouneed.data.files.selection import Columns
from allyouneed.data.files.tables import Counted, RawPair
from allyouneed.data.files.text_tables import decoded_pair, is_csv
from allyouneed.errors import UserError
from allyouneed.languages import primary

_SAMPLE = 1000  # lines examined to distinguish a table from plain text


class Sides:
    """Two files whose lines are translations of each other.

    Args:
        source: The file of the source.
        target: The file of the target.
        wanted: Languages of source and target, which headers must not name in reverse.
    """

    is_text = True

    def __init__(self, source: Path, target: Path, wanted: Columns):
        self.source, self.target, self._wanted = source, target, wanted

    @property
    def name(self) -> str:
        """Name of the first file."""
        return str(self.source)

    def check(self) -> None:
        """Check that the headers of the files, if there are any, do not name the languages in reverse.

        Raises:
            UserError: If they do, or as for `pairs`.
        """
        if self._wanted.languages is None:
            return
        codes = [primary(language) for language in self._wanted.languages]
        named = [primary(name) if name else None for name in self._names()]
        if named == codes[::-1] and codes[0] != codes[1]:
            raise UserError(
                f"{self.source} and {self.target}: their headers are {named[0]} and {named[1]}. Swap the files."
            )

    def notes(self) -> list[str]:
        """Describe a header; raises `UserError` as `pairs` does."""
        (source, target), is_header = self._opened()
        if not is_header:
            return []
        names = ", ".join(next(side).decode() for side in (source, target))
        return [f"{self.source} and {self.target}: the first lines are a header ({names}) and not used as a pair"]

    def pairs(self) -> Iterator[RawPair]:
        """Yield the pairs of lines.

        Raises:
            UserError: As for `read_lines`, if one of the files has both sides, or if one ends before the other (`count`
                checks this in advance).
        """
        sides, is_header = self._opened()
        for number, (left, right) in enumerate(zip_longest(*sides), start=1):
            if left is None or right is None:
                files = (self.source, self.target)
                ended, other = files if left is None else files[::-1]
                raise UserError(f"{ended} ends before line {number:,}, {other} does not: the files are not parallel.")
            if number > 1 or not is_header:
                yield decoded_pair(number, left, right)

    def count(self, counted: Counted = iter) -> int:
        """Count the pairs, in one pass.

        Raises:
            UserError: As for `pairs`, or if the number of lines differs. The message has both counts and the line from
                which the files seem to differ.
        """
        sides, is_header = self._opened()
        lines = [sum(1 for _ in side) for side in sides]
        if lines[0] == lines[1]:
            return lines[0] - is_header
        lengths = [np.fromiter(map(len, side), dtype=np.int32) for side in self._opened()[0]]
        paths = (self.source, self.target)
        counts = " and ".join(f"{path} has {len(length):,} lines" for path, length in zip(paths, lengths, strict=True))
        line = first_mismatch(*lengths)
        source, target = (
            next(islice(read_lines(path), line - 1, None), b"").decode("utf-8", "replace") for path in paths
        )
        raise UserError(
            f"{counts}: the files are not parallel. Line lengths stop correlating near line {line:,} "
            f"({source[:60]!r} / {target[:60]!r}). Look for a missing or split line there."
        )

    def _names(self) -> list[str | None]:
        """Return what the headers stand for; nothing without headers."""
        sides, is_header = self._opened()
        return [side_of(next(side).decode()) for side in sides] if is_header else []

    def _opened(self) -> tuple[tuple[Iterator[bytes], Iterator[bytes]], bool]:
        """Return the lines of both files, and whether the first line of each is a header."""
        left, right = (_checked_side(path) for path in (self.source, self.target))
        first = [list(islice(side, 1)) for side in (left, right)]
        names = [side_of(line.decode("utf-8", "replace")) for lines in first for line in lines]
        is_header = len(names) == 2 and None not in names and names[0] != names[1]
        return (chain(first[0], left), chain(first[1], right)), is_header


def have_columns(lines: Sequence[bytes]) -> bool:
    """Return whether lines are rows of tab-separated values, not sentences."""
    filled = [line.strip() for line in lines if line.strip()]
    return sum(b"\t" in line for line in filled) > 0.9 * len(filled)


def is_one_side(path: Path) -> bool:
    """Return whether a file of lines has one side of a corpus, by its first lines.

    Raises:
        UserError: As for `read_lines`.
    """
    sample = list(islice(read_lines(path), _SAMPLE))
    return not (have_columns(sample) or _is_json(sample) or is_csv(sample))


def _checked_side(path: Path) -> Iterator[bytes]:
    """Yield the lines of one side.

    Raises:
        UserError: If most lines have several columns, or are JSON objects or CSV.
    """
    lines = read_lines(path)
    sample = list(islice(lines, _SAMPLE))
    filled = [line for line in sample if line.strip()]
    if have_columns(sample):
        tabbed = sum(b"\t" in line.strip() for line in filled)
        raise UserError(
            f"{path}: a table ({tabbed:,} of the first {len(filled):,} lines have tabs), not one side of a corpus. "
            "Give it alone, each table with its own --train; or extract one side: cut -f1."
        )
    if _is_json(sample):
        raise UserError(f"{path}: JSON lines, not one side of a corpus. Give the file alone if it has both sides.")
    if is_csv(sample):
        raise UserError(f"{path}: CSV with several columns, not one side of a corpus. Give the file alone.")
    return chain(sample, lines)


def _is_json(sample: Sequence[bytes]) -> bool:
    filled = [line for line in sample if line.strip()][:10]
    return bool(filled) and all(
        line.startswith(b"{") and line.rstrip().endswith(b"}") and b'"' in line for line in filled
    )


def first_mismatch(source_lengths: np.ndarray, target_lengths: np.ndarray) -> int:
    """Estimate the line from which the lengths of both sides no longer correlate.

    The difference of log lengths is on average small where lines correspond, and larger where they do not. The estimate
    is the minimum of the cumulative sum of (difference - threshold), with a threshold midway between both averages.

    Args:
        source_lengths: Length of each source line, shape [source_lines].
        target_lengths: Length of each target line, shape [target_lines].

    Returns:
        Line number, from 1.
    """
    count = min(len(source_lengths), len(target_lengths))
    if count == 0:
        return 1
    logs = [np.log1p(lengths[:count].astype(float)) for lengths in (source_lengths, target_lengths)]
    difference = logs[0] - logs[1]
    difference = np.abs(difference - np.median(difference))
    unrelated = np.abs(logs[0] - np.roll(logs[1], max(1, count // 2)))
    window = max(1, min(20, count // 4))
    related = min(difference[start : start + window].mean() for start in range(0, max(1, count - window), window))
    threshold = (related + unrelated.mean()) / 2
    sums = np.concatenate([[0.0], np.cumsum(difference - threshold)])
    return min(int(sums.argmin()) + 1, count + 1)
