"""Test sets: parallel text in which no line may be dropped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import RawPair, read_pairs
from allyouneed.errors import UserError


def read_test_set(files: Sequence[str | Path], columns: tuple[int, int]) -> list[RawPair]:
    """Read all pairs of two parallel text files, or of one TSV.

    Args:
        files: Paths of the files.
        columns: Columns of source and target in a TSV, counted from 1.

    Raises:
        UserError: If a file cannot be read, the files are empty or differ in length, or a line is broken.
    """
    paths = [Path(file) for file in files]
    count_pairs(paths)
    pairs = list(read_pairs(paths, columns))
    if not pairs:
        raise UserError(f"{paths[0]}: the file is empty.")
    for pair in pairs:
        if pair.fault:
            raise UserError(f"{paths[0]}:{pair.line}: {pair.fault}. Fix the line, or remove it from both sides.")
    return pairs
