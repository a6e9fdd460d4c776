"""Batches with a token budget, of pairs of similar length (section 5.1), in an order determined by a seed.

The order of an epoch depends only on the seed and the epoch, so that two integers identify a position: resuming repeats
no batch and skips none. A global batch is divided into shares, one for each rank and micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.mixture import Mixture
from allyouneed.data.store import PairStore, Sentences
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD


class Batch(NamedTuple):
    """Token ids of sentence pairs, padded at the end.

    Attributes:
        source: Source ids including EOS, shape [pairs, source].
        target: Target ids from BOS to EOS, shape [pairs, 1 + target].
    """

    source: Tensor
    target: Tensor

    @property
    def target_input(self) -> Tensor:
        """Return the decoder input: the target shifted right (section 3.1), shape [pairs, target]."""
        return self.target[:, :-1]

    @property
    def target_output(self) -> Tensor:
        """Return the tokens to predict, shape [pairs, target]."""
        return self.target[:, 1:]


class Position(NamedTuple):
    """Position of the next batch: the epoch, and the index of the batch within the epoch."""

    epoch: int = 0
    batch: int = 0


class BatchOrder:
    """The sequence of global batches.

    Args:
        store: The corpus.
        batch_tokens: Maximum number of tokens of a batch on each side, including padding.
        seed: Seed of the order.
        mixture: Weights of the corpora in the store; None if an epoch contains each pair once.
    """

    def __init__(self, store: PairStore, batch_tokens: int, seed: int, mixture: Mixture | None = None):
        self.lengths = store.source.lengths + 1, store.target.lengths + 1  # with EOS
        self.batch_tokens, self.seed, self.mixture = batch_tokens, seed, mixture
        self._epoch = -1
        self._batches: list[np.ndarray] = []

    def next(self, position: Position) -> tuple[np.ndarray, Position]:
        """Return the batch at a position, as pair indices of shape [pairs], and the position after it."""
        batches = self.epoch_batches(position.epoch)
        is_last = position.batch + 1 >= len(batches)
        following = Position(position.epoch + 1, 0) if is_last else Position(position.epoch, position.batch + 1)
        return batches[position.batch], following

    def epoch_batches(self, epoch: int) -> list[np.ndarray]:
        """Return all batches of an epoch in order, each as pair indices of shape [pairs]."""
        if epoch != self._epoch:
            random = np.random.default_rng([self.seed, epoch])
            if self.mixture is None:
                batches = token_batches(*self.lengths, self.batch_tokens, random)
            else:
                batches = [batch for drawn in self.mixture.rounds(random) for batch in self._batches_of(drawn, random)]
            self._epoch, self._batches = epoch, [batches[i] for i in random.permutation(len(batches))]
        return self._batches

    def _batches_of(self, pairs: np.ndarray, random: np.random.Generator) -> Iterator[np.ndarray]:
        """Divide the pairs with these indices into batches."""
        source_lengths, target_lengths = self.lengths
        for batch in token_batches(source_lengths[pairs], target_lengths[pairs], self.batch_tokens, random):
            yield pairs[batch]


def token_batches(
    source_lengths: np.ndarray, target_lengths: np.ndarray, batch_tokens: int, random: np.random.Generator | None = None
) -> list[np.ndarray]:
    """Divide pairs, sorted by length, into batches.

    Args:
        source_lengths: Source tokens of each pair, including EOS, shape [pairs].
        target_lengths: Target tokens of each pair, including EOS, shape [pairs].
        batch_tokens: Maximum number of tokens of a batch on each side, including padding. A longer pair becomes a
            separate batch.
        random: Shuffles pairs of equal lengths.

    Returns:
        The pair indices of each batch.
    """
    ties = np.arange(len(source_lengths)) if random is None else random.permutation(len(source_lengths))
    order = ties[np.lexsort((source_lengths[ties], target_lengths[ties]))]
    batches, start, longest = [], 0, 0
    for index, pair in enumerate(order):
        new_longest = max(longest, source_lengths[pair], target_lengths[pair])
        if index > start and new_longest * (index - start + 1) > batch_tokens:
            batches.append(order[start:index])
            start, new_longest = index, max(source_lengths[pair], target_lengths[pair])
        longest = new_longest
    if len(order):
        batches.append(order[start:])
    return batches


def share(pairs: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Return share number `part` of a batch divided into `parts` shares of similar size and lengths."""
    return pairs[part::parts]


def collate(store: PairStore, pairs: Sequence[int] | np.ndarray) -> Batch:
    """Pad the pairs with these indices, shape [pairs], into a batch."""
    indices = np.asarray(pairs, dtype=np.int64)
    return Batch(_padded(store.source, indices), _padded(store.target, indices, BOS))


def _padded(side: Sentences, pairs: np.ndarray, *prefix: int) -> Tensor:
    """Pad all sentences in array operations, shape [pairs, longest]; a Python loop would delay the training step."""
    lengths, starts, lead = side.lengths[pairs], side.offsets[pairs], len(prefix)
    columns = np.arange(lengths.max(initial=0))
    is_token = columns < lengths[:, None]
    padded = np.full((len(pairs), lead + len(columns) + 1), PAD, dtype=np.int64)
    padded[:, :lead] = prefix
    padded[:, lead:-1][is_token] = side.ids[(starts[:, None] + columns)[is_token]]
    padded[np.arange(len(pairs)), lead + lengths] = EOS
    return torch.from_numpy(padded)


def pad(sentences: Sequence[Sequence[int]]) -> Tensor:
    """Pad sentences of token ids at the end to an int64 tensor of shape [sentences, longest]."""
    padded = np.full((len(sentences), max(map(len, sentences), default=0)), PAD, dtype=np.int64)
    for row, sentence in enumerate(sentences):
        padded[row, : len(sentence)] = sentence
    return torch.from_numpy(padded)
