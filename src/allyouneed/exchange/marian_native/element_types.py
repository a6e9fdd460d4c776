"""Types of the elements in Marian's `.bin` files, and their conversion to float32.

A quantised matrix is followed by its multiplier m: a weight w is stored as the integer nearest to w · m. The generic
types store the transpose of the matrix, except for embeddings, which Bergamot quantises without transposing. The types
of a processor store tiles of 8 columns by as many rows as fit into a register.

Source: `common/types.h` and `tensors/cpu/expression_graph_packable.h` of marian-dev 1.12 and of Bergamot's version.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_TILE_COLUMNS = 8
_EMBEDDING = "Wemb"


@dataclass(frozen=True)
class ElementType:
    """A type of elements.

    Attributes:
        name: Marian's name.
        dtype: Type of a stored element.
        quantised: Whether a multiplier follows the elements.
        register: Size of a processor's registers in bytes, for matrices stored in tiles; 0 if they are not.
    """

    name: str
    dtype: np.dtype
    quantised: bool = False
    register: int = 0

    def fits(self, shape: Sequence[int]) -> bool:
        """Return whether a tensor can have this shape: a quantised one is a matrix, of whole tiles if there are any."""
        if not self.quantised:
            return min(shape, default=0) >= 0
        rows, columns = math.prod(shape[:-1]), shape[-1] if shape else 0
        tiles = (self.register // self.dtype.itemsize, _TILE_COLUMNS) if self.register else (1, 1)
        return min(shape, default=0) > 0 and rows % tiles[0] == 0 and columns % tiles[1] == 0

    def bytes_for(self, shape: Sequence[int]) -> int:
        """Return the number of bytes of a tensor, without padding."""
        return math.prod(shape) * self.dtype.itemsize + (4 if self.quantised else 0)

    def values(self, data: bytes, shape: Sequence[int], name: str) -> np.ndarray:
        """Return the elements, of a quantised matrix as float32.

        Args:
            data: At least `bytes_for(shape)` bytes.
            shape: Shape of the tensor, for which `fits` is true.
            name: Name of the tensor.
        """
        count = math.prod(shape)
        stored = np.frombuffer(data, self.dtype, count)
        if not self.quantised:
            return stored.reshape(shape)
        multiplier = np.frombuffer(data, "<f4", 1, offset=count * self.dtype.itemsize)[0]
        rows, columns = math.prod(shape[:-1]), shape[-1]
        if _EMBEDDING in name:
            matrix = stored.reshape(rows, columns)
        elif self.register:
            matrix = self._untiled(stored, rows, columns)
        else:
            matrix = stored.reshape(columns, rows).T
        if not np.isfinite(multiplier) or not multiplier:  # of a matrix of zeros
            return np.zeros(shape, np.float32)
        return (matrix.astype(np.float32) / multiplier).reshape(shape)

    def _untiled(self, stored: np.ndarray, rows: int, columns: int) -> np.ndarray:
        lanes = self.register // self.dtype.itemsize
        tiles = stored.reshape(columns // _TILE_COLUMNS, rows // lanes, _TILE_COLUMNS, lanes)
        return tiles.transpose(1, 3, 0, 2).reshape(rows, columns)


def _plain(code: int, name: str, dtype: str) -> tuple[int, ElementType]:
    return code, ElementType(name, np.dtype(dtype))


def _quantised(code: int, name: str, register: int = 0) -> tuple[int, ElementType]:
    return code, ElementType(name, np.dtype("<i1" if code & 0xFF == 1 else "<i2"), True, register)


ELEMENT_TYPES = dict(
    [
        *(_plain(0x100 + size, f"int{8 * size}", f"<i{size}") for size in (1, 2, 4, 8)),
        *(_plain(0x200 + size, f"uint{8 * size}", f"<u{size}") for size in (1, 2, 4, 8)),
        *(_plain(0x400 + size, f"float{8 * size}", f"<f{size}") for size in (2, 4, 8)),
        _quantised(0x10001, "intgemm8"),
        _quantised(0x10002, "intgemm16"),
        _quantised(0x4101, "intgemm8"),  # Bergamot's version
        _quantised(0x4102, "intgemm16"),
        _quantised(0x18001, "intgemm8ssse3", 16),
        _quantised(0x11001, "intgemm8avx2", 32),
        _quantised(0x12001, "intgemm8avx512", 64),
        _quantised(0x13001, "intgemm8avx512vnni", 64),
        _quantised(0x14002, "intgemm16sse2", 16),
        _quantised(0x11002, "intgemm16avx2", 32),
        _quantised(0x12002, "intgemm16avx512", 64),
    ]
)
