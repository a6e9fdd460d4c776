"""Numbers in a file, of which each block is verified before its first use.

A block is read once, compared with its checksum, and its numbers with their bound. Numbers that fit into memory stay
there: what happens to the file later does not change them. Others are mapped, and can be verified again in each epoch.
"""

from __future__ import annotations

import mmap
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from allyouneed.data.workers import usable_cores
from allyouneed.errors import DamagedFile
from allyouneed.untrusted import cannot_read, changed

BLOCK = 1 << 16  # bytes with a checksum: a batch of random sentences reads little else
_CRC32 = np.dtype("<u4")
_MANY = 64  # blocks that are verified on all cores


class StoredNumbers:
    """Numbers in a file, read like an array of one dimension. Not thread-safe.

    Args:
        path: The file.
        dtype: Type of the numbers.
        count: Number of the numbers.
        sums: Checksums of the blocks, see `checksums`; None for a file of an earlier version, which has none.
        remedy: Advice to the user if the file is damaged.
        bound: All numbers must be at least 0 and less; None for any numbers.
        in_memory: Whether to keep the numbers in memory; otherwise, the file is mapped.

    Raises:
        DamagedFile: If the file is missing or has another size. Access to the numbers raises it for damaged ones.
        UserError: If the system cannot read it.
    """

    def __init__(
        self,
        path: Path,
        dtype: str,
        count: int,
        sums: str | None,
        remedy: str,
        bound: int | None = None,
        in_memory: bool = False,
    ):
        self.path, self.remedy, self.bound, self.in_memory = path, remedy, bound, in_memory
        self._crc32 = None if sums is None else np.frombuffer(bytes.fromhex(sums), _CRC32)
        size = count * np.dtype(dtype).itemsize
        self._per_block = BLOCK // np.dtype(dtype).itemsize
        blocks = -(-size // BLOCK)
        try:
            if path.stat().st_size != size or (self._crc32 is not None and len(self._crc32) != blocks):
                raise changed(path, remedy)
            if not count:
                self._numbers = np.empty(0, dtype)  # an empty file cannot be mapped
            elif in_memory:  # in pages that take memory at their first use, unlike the large ones of `np.empty`
                self._numbers = np.frombuffer(mmap.mmap(-1, size), dtype)
            else:
                self._numbers = np.asarray(np.memmap(path, dtype, "r"))
        except OSError as error:
            raise cannot_read(path, error, remedy) from error
        self._pending = np.ones(blocks, dtype=bool)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, chosen: slice | np.ndarray) -> np.ndarray:
        if self._pending.any():
            self._verify(self._pending_blocks(chosen))
        return self._numbers[chosen]

    def verify(self) -> None:
        """Verify all blocks that have not been used yet; raises the errors of access."""
        self._verify(np.flatnonzero(self._pending))

    def verify_again(self) -> None:
        """Verify blocks of a mapped file again at their next use."""
        if not self.in_memory:
            self._pending[:] = True

    def _pending_blocks(self, chosen: slice | np.ndarray) -> np.ndarray:
        if isinstance(chosen, slice):
            start, stop, _ = chosen.indices(len(self))
            first, end = start // self._per_block, -(-stop // self._per_block)
            return first + np.flatnonzero(self._pending[first:end])
        blocks = chosen // self._per_block
        return np.unique(blocks[self._pending[blocks]])

    def _verify(self, blocks: np.ndarray) -> None:
        if len(blocks) < _MANY:
            self._read(blocks)
        else:
            with ThreadPoolExecutor(usable_cores()) as pool:
                list(pool.map(self._read, np.array_split(blocks, usable_cores())))
        self._pending[blocks] = False

    def _read(self, blocks: np.ndarray) -> None:
        """Read and verify blocks, not through a map: an error of the disk would end the process."""
        buffer = np.empty(0 if self.in_memory else self._per_block, self._numbers.dtype)
        try:
            with open(self.path, "rb") as file:
                for block in blocks.tolist():
                    start = block * self._per_block
                    part = self._numbers[start : start + self._per_block]
                    part = part if self.in_memory else buffer[: len(part)]
                    file.seek(block * BLOCK)
                    content = part.data.cast("B")
                    is_whole = file.readinto(content) == len(content)
                    if not is_whole or (self._crc32 is not None and zlib.crc32(content) != self._crc32[block]):
                        raise changed(self.path, self.remedy)
                    if self.bound is not None and (part.min() < 0 or part.max() >= self.bound):
                        raise DamagedFile(
                            f"{self.path}: has a number that is not one of the {self.bound:,} of the vocabulary. "
                            f"{self.remedy}"
                        )
        except OSError as error:
            raise cannot_read(self.path, error, self.remedy) from error


def checksums(path: Path) -> str:
    """Return the CRC-32 of each block of a file, in little-endian hexadecimal; raises `OSError`."""
    with open(path, "rb") as file:
        sums = [zlib.crc32(block) for block in iter(lambda: file.read(BLOCK), b"")]
    return np.array(sums, _CRC32).tobytes().hex()
