"""Token ids on disk, memory-mapped: a corpus larger than memory trains like a small one.

A store is a folder of four raw little-endian files: for each side the ids of all sentences one after another (int32)
and where each begins (int64, one more than sentences). `store.json` is written last and marks it complete.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from allyouneed.errors import UserError
from allyouneed.files import cannot_write, read_json, to_json, write_file

_SIDES = ("source", "target")
_MARK = "store.json"


class Sentences:
    """One side: `sentences[i]` is an array of ids, `lengths` the number of ids of each."""

    def __init__(self, ids: np.ndarray, offsets: np.ndarray):
        self.ids, self.offsets = ids, offsets
        self.lengths = np.diff(offsets)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


class PairStore:
    """Both sides of a corpus, sentence by sentence."""

    def __init__(self, source: Sentences, target: Sentences):
        self.source, self.target = source, target

    def __len__(self) -> int:
        return len(self.source)


def write_store(folder: Path, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]) -> None:
    """Streams pairs of ids to disk. Errors: `UserError` when the disk is full."""
    offsets = {side: array("q", [0]) for side in _SIDES}
    try:
        (folder / _MARK).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
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
    write_file(folder / _MARK, to_json({"pairs": len(offsets["source"]) - 1, "tokens": ends}))


def store_is_complete(folder: Path) -> bool:
    return (folder / _MARK).is_file()


def open_store(folder: Path) -> PairStore:
    """Errors: `UserError` when the store is missing, truncated or not complete."""
    remedy = f"Delete {folder} and run the same command again."
    facts = read_json(folder / _MARK, remedy, lambda facts: (facts["pairs"], facts["tokens"]["source"]))
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
