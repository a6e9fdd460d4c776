"""State of the compiled decoder between steps."""

from __future__ import annotations

import numpy as np
from torch import Tensor

_POSITIONS = 32  # initial capacity


class EngineCache:
    """Keys and values of the sources and of previous positions, and each row's addresses of its own keys and values.

    Args:
        memory: 32-bit words [layers, tokens, position_words]: keys and values of the sources, without padding.
        starts: int64 [sentences + 1], first token of each sentence.

    Attributes:
        max_source: Length of the longest source.
        sources: int64 [rows]: address of the keys and values of each row's first source token in the first layer.
        source_lengths: int64 [rows].
        source_stride: Bytes from a source's keys and values in a layer to those in the next layer.
        seen: int64 [rows, positions or more]: addresses of the keys and values of each row's positions in the first
            layer.
        strides: int64 [positions or more]: bytes from a position's keys and values in a layer to those in the next.
        length: Number of positions.
    """

    def __init__(self, memory: Tensor, starts: np.ndarray):
        lengths = np.diff(starts)
        self.max_source = int(lengths.max(initial=0))
        self.sources = memory.data_ptr() + memory.element_size() * memory.stride(1) * starts[:-1]
        self.source_lengths, self.source_stride = lengths, memory.element_size() * memory.stride(0)
        self.seen = np.empty((len(lengths), _POSITIONS), dtype=np.int64)
        self.strides = np.empty(_POSITIONS, dtype=np.int64)
        self.length = 0
        self._referenced: list[object] = [memory]  # keeps the memory behind the addresses alive

    def select(self, rows: Tensor | np.ndarray) -> None:
        """Keep these rows, in this order; a row may occur several times."""
        order = np.asarray(rows)
        self.seen, self.sources, self.source_lengths = self.seen[order], self.sources[order], self.source_lengths[order]

    def keep_sentences(self, sentences: Tensor) -> None:
        """Do nothing: every row has the addresses of its own source."""

    def allocate_beams(self, beam: int) -> None:
        """Make `seen` hold `beam` rows for each sentence, before the first step."""
        self.seen = np.empty((beam * len(self.sources), self.seen.shape[1]), dtype=np.int64)

    def select_sentences(self, sentences: np.ndarray, beam: int) -> None:
        """Keep these sentences: `beam` rows of `seen` and one row of the other arrays for each."""
        stride = self.seen.shape[1]
        self.seen = self.seen.reshape(-1, beam, stride)[sentences].reshape(-1, stride)
        self.sources, self.source_lengths = self.sources[sentences], self.source_lengths[sentences]

    def append(self, positions: int, shape: tuple[int, ...]) -> np.ndarray:
        """Append positions, and allocate words for their keys and values [parts, layers, rows, positions, words]."""
        missing = self.length + positions - self.seen.shape[1]
        if missing > 0:
            more = np.empty((len(self.seen), max(missing, self.seen.shape[1])), dtype=np.int64)
            self.seen = np.concatenate([self.seen, more], axis=1)
            self.strides = np.concatenate([self.strides, np.empty(more.shape[1], dtype=np.int64)])
        key_values = np.empty(shape, dtype=np.float32)
        self._referenced.append(key_values)
        self.strides[self.length : self.length + positions] = key_values.strides[1]
        self.length += positions
        return key_values
