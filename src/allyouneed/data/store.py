"""Memory-mapped token ids on disk, for corpora larger than memory.

A store is a folder of four raw little-endian files: for each side the concatenated ids of all sentences (int32) and
their offsets (int64, one more than sentences). `store.json` is written last and marks the store as complete. It holds
the CRC-32 of each block of a file: they are verified, on all cores, whenever a store is opened.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, StrictInt

from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.data.workers import usable_cores
from allyouneed.durable import create_folder, sync
from allyouneed.files import cannot_write, read_sealed, write_sealed
from allyouneed.untrusted import cannot_read, changed

_SIDES = ("source", "target")
STORE = "store.json"
_FILES = tuple(f"{side}.{part}" for side in _SIDES for part in ("ids", "offsets"))
_BLOCK = 1 << 22  # bytes with a checksum
_PART = 1 << 20  # sentences whose lengths are computed at a time


class _Tokens(BaseModel):
    source: StrictInt = Field(ge=0)
    target: StrictInt = Field(ge=0)


class _Facts(BaseModel):
    """Content of `store.json`; earlier versions wrote no checksums."""

    pairs: StrictInt = Field(ge=0)
    tokens: _Tokens
    crc32: dict[str, list[StrictInt]] = {}


class Sentences:
    """Token ids of one side of a corpus.

    Args:
        ids: Concatenated ids of all sentences, shape [tokens].
        offsets: Start of each sentence in `ids`, and the end of the last one, shape [sentences + 1].
    """

    def __init__(self, ids: np.ndarray, offsets: np.ndarray):
        self.ids, self.offsets = ids, offsets

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each sentence, without start and end tokens, shape [sentences]; computed at the first access."""
        return np.diff(self.offsets)

    def lengths_of(self, sentences: np.ndarray) -> np.ndarray:
        """Return the tokens of some sentences, without start and end tokens.

        Args:
            sentences: Indices of the sentences, shape [chosen].
        """
        return self.offsets[sentences + 1] - self.offsets[sentences]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.ids[self.offsets[index] : self.offsets[index + 1]]


class PairStore:
    """Token ids of both sides of a corpus."""

    def __init__(self, source: Sentences, target: Sentences):
        self.source, self.target = source, target

    def __len__(self) -> int:
        return len(self.source)


def write_store(folder: Path, blocks: Iterable[tuple[TokenIds, TokenIds]]) -> None:
    """Write token ids to a store as they are produced, in constant memory.

    Args:
        folder: Destination.
        blocks: Source and target ids of the pairs, block by block.

    Raises:
        UserError: If the store cannot be written, for example because the disk is full.
    """
    pairs, ends = 0, dict.fromkeys(_SIDES, 0)
    try:
        create_folder(folder)
        (folder / STORE).unlink(missing_ok=True)
        with ExitStack() as stack:
            ids, offsets = (
                [stack.enter_context(open(folder / f"{side}.{part}", "wb")) for side in _SIDES]
                for part in ("ids", "offsets")
            )
            for file in offsets:
                file.write(np.zeros(1, dtype="<i8").tobytes())
            for block in blocks:
                pairs += len(block[0].lengths)
                for side, part, ids_file, offsets_file in zip(_SIDES, block, ids, offsets, strict=True):
                    ids_file.write(np.asarray(part.ids, dtype="<i4").tobytes())
                    offsets_file.write((ends[side] + np.cumsum(part.lengths, dtype="<i8")).tobytes())
                    ends[side] += len(part.ids)
        sums = {name: _checksums(folder / name) for name in _FILES}
        for name in _FILES:
            sync(folder / name)
        sync(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_sealed(folder / STORE, {"pairs": pairs, "tokens": ends, "crc32": sums})


def longest_sentence(store: PairStore) -> int:
    """Return the tokens of the longest sentence of either side, including its end; 0 for an empty store."""
    longest = 0
    for side in (store.source, store.target):
        for start in range(0, len(side), _PART):
            longest = max(longest, 1 + int(np.diff(side.offsets[start : start + _PART + 1]).max()))
    return longest


def store_is_complete(folder: Path) -> bool:
    """Return whether `write_store` has finished writing this store."""
    return (folder / STORE).is_file()


def store_facts(folder: Path, remedy: str) -> dict[str, Any]:
    """Read the numbers of pairs and tokens of a store, and its checksums `crc32` unless an earlier version wrote it.

    Raises:
        UserError: If the file is missing, damaged or cannot be read.
    """
    return read_sealed(folder / STORE, _Facts, remedy)[0]


def open_store(folder: Path, remedy: str = "") -> PairStore:
    """Map a store into memory, after its checksums are verified.

    Args:
        folder: The store.
        remedy: Advice to the user if it is damaged.

    Raises:
        DamagedFile: If a file is missing, truncated or changed.
        UserError: If the system cannot read one of them.
    """
    remedy = remedy or f"Delete {folder} and run the same command again."
    facts = store_facts(folder, remedy)
    _verify(folder, facts, remedy)
    sides = []
    for side in _SIDES:
        path = folder / f"{side}.offsets"
        try:
            offsets = np.memmap(path, dtype="<i8", mode="r")
            ids: np.ndarray = np.zeros(0, dtype="<i4")  # an empty file cannot be mapped
            if facts["tokens"][side]:
                path = folder / f"{side}.ids"
                ids = np.memmap(path, dtype="<i4", mode="r")
        except OSError as error:
            raise cannot_read(path, error, remedy) from error
        sides.append(Sentences(ids, offsets))
    return PairStore(*sides)


def _verify(folder: Path, facts: Mapping[str, Any], remedy: str) -> None:
    """Compare the sizes and the checksums of the files with `store.json`."""
    for name in _FILES:
        path, (side, _, part) = folder / name, name.partition(".")
        size = 4 * facts["tokens"][side] if part == "ids" else 8 * (facts["pairs"] + 1)
        try:
            is_intact = path.stat().st_size == size
            if is_intact and "crc32" in facts:
                is_intact = _checksums(path) == facts["crc32"].get(name)
        except OSError as error:
            raise cannot_read(path, error, remedy) from error
        if not is_intact:
            raise changed(path, remedy)


def _checksums(path: Path) -> list[int]:
    """Return the CRC-32 of each block of a file."""

    def of_block(start: int) -> int:
        with open(path, "rb") as file:  # not through a map: an error of the disk would end the process
            file.seek(start)
            return zlib.crc32(file.read(_BLOCK))

    starts = range(0, path.stat().st_size, _BLOCK)
    if len(starts) <= 1:
        return [*map(of_block, starts)]
    with ThreadPoolExecutor(usable_cores()) as pool:
        return [*pool.map(of_block, starts)]
