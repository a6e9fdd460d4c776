"""Memory-mapped token ids on disk, for corpora larger than memory.

A store is a folder of four raw little-endian files: for each side the concatenated ids of all sentences (int32) and
their offsets (int64, one more than sentences). `store.json` is written last and marks the store as complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.errors import UserError
from allyouneed.files import cannot_write, read_json, to_json, write_file

_SIDES = ("source", "target")
_COMPLETE = "store.json"
_PART = 1 << 20  # sentences whose lengths are computed at a time


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
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _COMPLETE).unlink(missing_ok=True)
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
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_file(folder / _COMPLETE, to_json({"pairs": pairs, "tokens": ends}))


def longest_sentence(store: PairStore) -> int:
    """Return the tokens of the longest sentence of either side, including its end; 0 for an empty store."""
    longest = 0
    for side in (store.source, store.target):
        for start in range(0, len(side), _PART):
            longest = max(longest, 1 + int(np.diff(side.offsets[start : start + _PART + 1]).max()))
    return longest


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
