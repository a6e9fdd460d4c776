"""Memory-mapped token ids on disk, for corpora larger than memory.

A store is a folder of four raw little-endian files: for each side the concatenated ids of all sentences (int32) and
their offsets (int64, one more than sentences). `store.json` is written last and marks the store as complete.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.errors import UserError
from allyouneed.files import cannot_write, read_json, to_json, write_file

_SIDES = ("source", "target")
_COMPLETE = "store.json"


class Sentences:
    """Token ids of one side of a corpus.

    Args:
        ids: Concatenated ids of all sentences, shape [tokens].
        offsets: Start of each sentence in `ids`, and the end of the last one, shape [sentences + 1].

    Attributes:
        lengths: Tokens of each sentence, without start and end tokens, shape [sentences].
    """

    def __init__(self, ids: np.ndarray, offsets: np.ndarray):
        self.ids, self.offsets = ids, offsets
        self.lengths = np.diff(offsets)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


class PairStore:
    """Token ids of both sides of a corpus."""

    def __init__(self, source: Sentences, target: Sentences):
        self.source, self.target = source, target

    def __len__(self) -> int:
        return len(self.source)


def write_store(folder: Path, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
    """Write token ids to a store as they are produced.

    Args:
        folder: Destination.
        pairs: Source and target ids of each pair.

    Raises:
        UserError: If the store cannot be written, for example because the disk is full.
    """
    offsets = {side: array("q", [0]) for side in _SIDES}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _COMPLETE).unlink(missing_ok=True)
        with open(folder / "source.ids", "wb") as source, open(folder / "target.ids", "wb") as target:
            for pair in pairs:
                for side, file, ids in zip(_SIDES, (source, target), pair, strict=True):
                    file.write(np.asarray(ids, dtype="<i4").tobytes())
                    offsets[side].append(offsets[side][-1] + len(ids))
        for side in _SIDES:
            np.asarray(offsets[side], dtype="<i8").tofile(folder / f"{side}.offsets")
    except OSError as error:
        raise cannot_write(folder, error) from error
    ends = {side: offsets[side][-1] for side in _SIDES}
    write_file(folder / _COMPLETE, to_json({"pairs": len(offsets["source"]) - 1, "tokens": ends}))


def store_is_complete(folder: Path) -> bool:
    """Return whether `write_store` has finished writing this store."""
    return (folder / _COMPLETE).is_file()


def open_store(folder: Path) -> PairStore:
    """Map a store into memory.

    Raises:
        UserError: If the store is missing, truncated or incomplete.
    """
    remedy = f"Delete {folder} and run the same command again."
    facts = read_json(folder / _COMPLETE, remedy, _check)
    sides = []
    for side in _SIDES:
        try:
            offsets = np.memmap(folder / f"{side}.offsets", dtype="<i8", mode="r")
            ids = np.memmap(folder / f"{side}.ids", dtype="<i4", mode="r")
        except (OSError, ValueError) as error:
            raise UserError(f"{folder}: {side} cannot be read ({error}). {remedy}") from error
        if len(offsets) != facts["pairs"] + 1 or len(ids) != facts["tokens"][side]:
            raise UserError(f"{folder}: {side} is truncated. {remedy}")
        sides.append(Sentences(ids, offsets))
    return PairStore(*sides)


def _check(facts: dict[str, Any]) -> None:
    for number in (facts["pairs"], *(facts["tokens"][side] for side in _SIDES)):
        index(number)
