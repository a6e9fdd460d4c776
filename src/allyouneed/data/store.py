"""Memory-mapped token ids on disk, for corpora larger than memory.

A store is a folder of four raw little-endian files: for each side the concatenated ids of all sentences (int32) and
their offsets (int64, one more than sentences). `store.json` is written last and marks the store as complete. It holds
the CRC-32 of each block of a file, which is verified before its first use: that of offsets when a store is opened, that
of ids when a sentence is read.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, StrictInt

from allyouneed.data.stored_numbers import StoredNumbers, checksums
from allyouneed.data.tokens.token_ids import TokenIds, ranges
from allyouneed.durable import create_folder, sync
from allyouneed.errors import DamagedFile
from allyouneed.files import cannot_write, read_sealed, write_sealed

_SIDES = ("source", "target")
STORE = "store.json"
_FILES = tuple(f"{side}.{part}" for side in _SIDES for part in ("ids", "offsets"))
_PART = 1 << 20  # sentences whose lengths are computed at a time


class _Tokens(BaseModel):
    source: StrictInt = Field(ge=0)
    target: StrictInt = Field(ge=0)


class _Facts(BaseModel):
    """Content of `store.json`; earlier versions wrote no checksums."""

    pairs: StrictInt = Field(ge=0)
    tokens: _Tokens
    crc32: dict[str, Annotated[str, Field(pattern="^([0-9a-f]{8})*$")]] = {}


class Sentences:
    """Token ids of one side of a corpus.

    Args:
        ids: Concatenated ids of all sentences, shape [tokens].
        offsets: Start of each sentence in `ids`, and the end of the last one, shape [sentences + 1].
    """

    def __init__(self, ids: np.ndarray | StoredNumbers, offsets: np.ndarray):
        self.ids, self.offsets = ids, offsets

    @cached_property
    def lengths_with_end(self) -> np.ndarray:
        """Tokens of each sentence including EOS, in as few bytes as possible, shape [sentences].

        Raises:
            ValueError: If the offsets do not ascend from 0 to the number of tokens.
        """
        parts = [np.diff(self.offsets[start : start + _PART + 1]) for start in range(0, len(self), _PART)]
        if any(part.min() < 0 for part in parts):
            raise ValueError("does not ascend")
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.ids):
            raise ValueError("does not begin at 0 and end at the last token")
        return np.concatenate([narrow(part + 1) for part in parts] or [np.zeros(0, dtype=np.uint16)])

    def lengths_of(self, sentences: np.ndarray) -> np.ndarray:
        """Return the tokens of some sentences, without start and end tokens.

        Args:
            sentences: Indices of the sentences, shape [chosen].
        """
        return self.offsets[sentences + 1] - self.offsets[sentences]

    def ids_of(self, sentences: np.ndarray) -> np.ndarray:
        """Return the concatenated ids of some sentences, shape [tokens]; for indices as in `lengths_of`."""
        return self.ids[ranges(self.offsets[sentences], self.lengths_of(sentences))]

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

    def verify(self) -> None:
        """Verify all token ids that have not been read yet; raises `UserError` if a file is damaged."""
        for ids in self._stored():
            ids.verify()

    def verify_again(self) -> None:
        """Verify token ids that are not in memory again when they are read next."""
        for ids in self._stored():
            ids.verify_again()

    def _stored(self) -> list[StoredNumbers]:
        return [side.ids for side in (self.source, self.target) if isinstance(side.ids, StoredNumbers)]


def narrow(lengths: np.ndarray) -> np.ndarray:
    """Convert lengths to 16 bits if they fit, which NumPy sorts in linear time."""
    return lengths.astype(np.uint16 if lengths.max(initial=0) < 2**16 else np.int64, copy=False)


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
        sums = {name: checksums(folder / name) for name in _FILES}
        for name in _FILES:
            sync(folder / name)
        sync(folder)
    except OSError as error:
        raise cannot_write(folder, error) from error
    write_sealed(folder / STORE, {"pairs": pairs, "tokens": ends, "crc32": sums})


def longest_sentence(store: PairStore) -> int:
    """Return the tokens of the longest sentence of either side, including its end; 0 for an empty store."""
    return max(int(side.lengths_with_end.max(initial=0)) for side in (store.source, store.target))


def store_is_complete(folder: Path) -> bool:
    """Return whether `write_store` has finished writing this store."""
    return (folder / STORE).is_file()


def store_facts(folder: Path, remedy: str) -> dict[str, Any]:
    """Read the numbers of pairs and tokens of a store, and its checksums `crc32` unless an earlier version wrote it.

    Raises:
        UserError: If the file is missing, damaged or cannot be read.
    """
    return read_sealed(folder / STORE, _Facts, remedy)[0]


def open_store(folder: Path, remedy: str = "", sizes: tuple[int, int] | None = None, memory: int = 0) -> PairStore:
    """Open a store. Token ids are verified when they are read, or all by `PairStore.verify`.

    Args:
        folder: The store.
        remedy: Advice to the user if it is damaged.
        sizes: Numbers of tokens in the vocabularies of source and target, which bound the token ids: compiled code
            reads rows of embeddings by them. None for token ids that are only counted or copied.
        memory: Bytes up to which the token ids are kept in memory; larger ones are mapped.

    Raises:
        DamagedFile: If a file is missing, truncated or changed.
        UserError: If the system cannot read one of them.
    """
    remedy = remedy or f"Delete {folder} and run the same command again."
    facts = store_facts(folder, remedy)
    in_memory = 4 * sum(facts["tokens"].values()) <= memory
    sides = []
    for side, bound in zip(_SIDES, sizes or (None, None), strict=True):
        files = {part: folder / f"{side}.{part}" for part in ("ids", "offsets")}
        sums = {part: facts["crc32"].get(path.name, "") if "crc32" in facts else None for part, path in files.items()}
        offsets = StoredNumbers(files["offsets"], "<i8", facts["pairs"] + 1, sums["offsets"], remedy, in_memory=True)
        ids = StoredNumbers(files["ids"], "<i4", facts["tokens"][side], sums["ids"], remedy, bound, in_memory)
        sides.append(Sentences(ids, offsets[:]))
        try:
            _ = sides[-1].lengths_with_end
        except ValueError as error:
            raise DamagedFile(f"{files['offsets']} {error}. {remedy}") from error
    return PairStore(*sides)
