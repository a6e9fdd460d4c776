"""Batches of about as many tokens, of pairs of similar length (section 5.1), in an order that a seed fixes.

The order of an epoch is a function of the seed and the epoch alone, so a position is two integers: resuming replays
nothing and skips nothing. A global batch is cut into shares, for ranks and for micro-batches alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.store import PairStore, Sentences
from allyouneed.data.tokenizer import BOS, EOS, PAD


class Batch(NamedTuple):
    """Ids padded at the end. source [pairs, source] ends with EOS; target [pairs, 1 + target] from BOS to EOS."""

    source: Tensor
    target: Tensor

    @property
    def target_input(self) -> Tensor:
        """What the decoder sees: the target shifted right (section 3.1)."""
        return self.target[:, :-1]

    @property
    def target_output(self) -> Tensor:
        """What it has to say."""
        return self.target[:, 1:]


class Position(NamedTuple):
    """The next batch: its epoch, and its place in the epoch's order."""

    epoch: int = 0
    place: int = 0


class BatchOrder:
    """The sequence of global batches of at most `batch_tokens` on either side, padding included."""

    def __init__(self, store: PairStore, batch_tokens: int, seed: int):
        self.lengths = store.source.lengths + 1, store.target.lengths + 1  # with EOS
        self.batch_tokens, self.seed = batch_tokens, seed
        self._epoch = -1
        self._batches: list[np.ndarray] = []

    def next(self, position: Position) -> tuple[np.ndarray, Position]:
        """The numbers of the pairs [pairs] that are due at a position, and the position after them."""
        batches = self.of_epoch(position.epoch)
        ended = position.place + 1 >= len(batches)
        after = Position(position.epoch + 1, 0) if ended else Position(position.epoch, position.place + 1)
        return batches[position.place], after

    def of_epoch(self, epoch: int) -> list[np.ndarray]:
        """All batches of an epoch in their order, each the numbers of its pairs."""
        if epoch != self._epoch:
            random = np.random.default_rng([self.seed, epoch])
            batches = token_batches(*self.lengths, self.batch_tokens, random)
            self._epoch, self._batches = epoch, [batches[i] for i in random.permutation(len(batches))]
        return self._batches


def token_batches(
    source_lengths: np.ndarray, target_lengths: np.ndarray, batch_tokens: int, random: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Cuts the pairs, sorted by length, into batches of at most `batch_tokens` on either side, padding included.

    source_lengths, target_lengths [pairs]: tokens, the ends included -> the numbers of each batch's pairs.
    `random` shuffles pairs of the same lengths. A pair longer than the budget is a batch of its own.
    """
    ties = np.arange(len(source_lengths)) if random is None else random.permutation(len(source_lengths))
    order = ties[np.lexsort((source_lengths[ties], target_lengths[ties]))]
    batches, start, longest = [], 0, 0
    for place, pair in enumerate(order):
        longest_with = max(longest, source_lengths[pair], target_lengths[pair])
        if place > start and longest_with * (place - start + 1) > batch_tokens:
            batches.append(order[start:place])
            start, longest_with = place, max(source_lengths[pair], target_lengths[pair])
        longest = longest_with
    if len(order):
        batches.append(order[start:])
    return batches


def share(pairs: np.ndarray, part: int, parts: int) -> np.ndarray:
    """One of `parts` shares of a batch, of similar size and lengths."""
    return pairs[part::parts]


def collate(store: PairStore, pairs: Sequence[int] | np.ndarray) -> Batch:
    """Pads the pairs of these numbers [pairs] into a batch."""
    numbers = np.asarray(pairs, dtype=np.int64)
    return Batch(_padded(store.source, numbers), _padded(store.target, numbers, BOS))


def _padded(side: Sentences, pairs: np.ndarray, *begin: int) -> Tensor:
    """All sentences at once, since a step waits for it: [pairs, longest], from `begin` to EOS."""
    lengths, starts, lead = side.lengths[pairs], side.offsets[pairs], len(begin)
    columns = np.arange(lengths.max(initial=0))
    real = columns < lengths[:, None]
    padded = np.full((len(pairs), lead + len(columns) + 1), PAD, dtype=np.int64)
    padded[:, :lead] = begin
    padded[:, lead:-1][real] = side.ids[(starts[:, None] + columns)[real]]
    padded[np.arange(len(pairs)), lead + lengths] = EOS
    return torch.from_numpy(padded)


def pad(sentences: Sequence[Sequence[int]]) -> Tensor:
    """Ids of sentences -> [sentences, longest], int64, with PAD behind the shorter ones."""
    padded = np.full((len(sentences), max(map(len, sentences), default=0)), PAD, dtype=np.int64)
    for row, sentence in enumerate(sentences):
        padded[row, : len(sentence)] = sentence
    return torch.from_numpy(padded)
