"""Prepared blocks on disk, so that an interrupted preparation continues with what is finished.

A block is stored under a hash of its pairs and of all else that its result depends on: whatever has changed since is
prepared anew. Files are written whole or not at all, and have checksums: damaged ones are prepared anew, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tokenize import TokenError
from typing import Any
from zipfile import BadZipFile

import numpy as np

from allyouneed import __version__
from allyouneed.config import DataConfig
from allyouneed.data.blocks import PreparedBlock
from allyouneed.data.cleaning.block import CleaningRules, Repair
from allyouneed.data.files.formats import RawPair
from allyouneed.data.inspection.overlap import ValidationOverlap
from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.durable import create_folder, rename

_ARRAYS = ("keys", "is_text", "lengths")
_DAMAGE = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError, MemoryError, OverflowError),
)
_DAMAGE_OF_FORMAT = (BadZipFile, zlib.error, struct.error, SyntaxError, TokenError)  # the last two of numpy's headers


@dataclass(frozen=True)
class StoredBlocks:
    """A function like `prepare_block` that stores its results, and returns those that it stored before.

    Attributes:
        function: Prepares a block.
        folder: Where results are stored.
        origin: Hash of what the function depends on besides the block, see `origin_of_blocks`.
    """

    function: Callable[[list[RawPair]], PreparedBlock]
    folder: Path
    origin: bytes

    def __call__(self, pairs: list[RawPair]) -> PreparedBlock:
        """Return the result for a block, stored or prepared; what cannot be stored would only be prepared again."""
        path = self.folder / f"{_name(pairs, self.origin)}.npz"
        block = read_block(path)
        if block is None:
            block = self.function(pairs)
            with suppress(OSError):
                write_block(path, block)
        return block


def origin_of_blocks(
    data: DataConfig, tokenizer: AnyTokenizer, excluded: ValidationOverlap | None, rules: CleaningRules
) -> bytes:
    """Return a hash of the arguments of `prepare_block` besides the pairs, and of the program's version."""
    facts = __version__, data.model_dump_json(), excluded.valid if excluded else None, rules
    contents = (f"{name}\0".encode() + content for name, content in tokenizer.files().items())
    return hashlib.blake2b(repr(facts).encode("utf-8", "surrogatepass") + b"\0".join(contents), digest_size=32).digest()


def _name(pairs: Sequence[RawPair], origin: bytes) -> str:
    """Return a hash of a block; texts have no NUL characters, and each pair the same number of fields."""
    content = "\0".join(map(str, chain.from_iterable(pairs))).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16, key=origin).hexdigest()


def write_block(path: Path, block: PreparedBlock) -> None:
    """Store a block, as arrays of NumPy; raises `OSError` if it cannot be written."""
    repairs = {index: [*repair.pair, *repair.checks] for index, repair in block.repairs.items()}
    faults = {index: fault for index, fault in enumerate(block.faults) if fault}
    arrays: dict[str, Any] = {name: getattr(block, name) for name in _ARRAYS}
    arrays["texts"] = np.frombuffer(json.dumps([faults, repairs]).encode(), dtype=np.uint8)
    for name, side in (("source", block.source), ("target", block.target)):
        arrays[f"{name}_ids"], arrays[f"{name}_lengths"] = side
    if block.bands is not None:
        arrays["bands"] = block.bands
    create_folder(path.parent)
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def read_block(path: Path) -> PreparedBlock | None:
    """Read a stored block; None if there is none, or if it is damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path) as stored:
            keys, is_text, lengths = (stored[name] for name in _ARRAYS)
            found, repaired = json.loads(stored["texts"].tobytes())
            source, target = (
                TokenIds(stored[f"{each}_ids"], stored[f"{each}_lengths"]) for each in ("source", "target")
            )
            bands = stored.get("bands")
        faults: list[str | None] = [None] * len(keys)
        for index, fault in found.items():
            faults[int(index)] = fault
        repairs = {
            int(index): Repair(RawPair(*fields[: len(RawPair._fields)]), tuple(fields[len(RawPair._fields) :]))
            for index, fields in repaired.items()
        }
    except (*_DAMAGE, *_DAMAGE_OF_FORMAT):
        return None
    return PreparedBlock(faults, keys, is_text, repairs, bands, lengths, source, target)
