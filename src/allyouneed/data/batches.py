"""Batches with a token budget, of pairs of similar length (section 5.1), in an order determined by a seed.

The order of an epoch depends only on the seed and the epoch, so that two integers identify a position: resuming repeats
no batch and skips none. A global batch is divided into shares, one for each rank and micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.mixture import Mixture
from allyouneed.data.store import PairStore, Sentences, narrow
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD
from allyouneed.errors import UserError


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
        self.store, self.lengths = store, (store.source.lengths_with_end, store.target.lengths_with_end)
        self.batch_tokens, self.seed, self.mixture = batch_tokens, seed, mixture
        self._epoch = -1
        self._batches: list[np.ndarray] = []

    def next(self, position: Position) -> tuple[np.ndarray, Position]:
        """Return the batch at a position, as pair indices of shape [pairs], and the position after it.

        Raises:
            UserError: If an epoch has fewer batches.
        """
        batches = self.epoch_batches(position.epoch)
        if position.batch >= len(batches):
            raise UserError(
                f"the checkpoint is at batch {position.batch:,}, but an epoch has {len(batches):,}. Delete the "
                "checkpoint, or restore the prepared text."
            )
        is_last = position.batch + 1 >= len(batches)
        following = Position(position.epoch + 1, 0) if is_last else Position(position.epoch, position.batch + 1)
        return batches[position.batch].astype(np.int64), following

    def epoch_batches(self, epoch: int) -> list[np.ndarray]:
        """Return all batches of an epoch in order, each as pair indices of shape [pairs]."""
        if epoch != self._epoch:
            self.store.verify_again()
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
    count = len(source_lengths)
    ties = np.arange(count, dtype=np.int32 if count < 2**31 else np.int64)
    if random is not None:
        random.shuffle(ties)
    source_lengths, target_lengths = narrow(source_lengths), narrow(target_lengths)
    # Linear time for 16-bit lengths; one sort by a rank of both lengths was not faster with 10 million pairs.
    order = ties[np.lexsort((source_lengths[ties], target_lengths[ties]))]
    ends = _batch_ends(np.maximum(source_lengths, target_lengths)[order], batch_tokens)
    return [order[start:end] for start, end in pairwise([0, *ends])]


def _batch_ends(lengths: np.ndarray, batch_tokens: int) -> list[int]:
    """Return the end of each batch of consecutive pairs.

    A batch ends before the pair with which its longest pair times its number of pairs would exceed `batch_tokens`.
    Pairs of the same length are handled together, so that the time depends on the number of batches and of lengths.

    Args:
        lengths: Tokens of the longer side of each pair, shape [pairs].
        batch_tokens: Maximum number of tokens of a batch, including padding.
    """
    if not len(lengths):
        return []
    borders = [0, *(np.flatnonzero(lengths[1:] != lengths[:-1]) + 1).tolist(), len(lengths)]
    ends, start, longest = [], 0, 0
    for (begin, end), length in zip(pairwise(borders), lengths[borders[:-1]].tolist(), strict=True):
        longest = max(longest, length)
        while (cut := max(start + max(1, batch_tokens // max(1, longest)), begin)) < end:
            ends.append(cut)
            start, longest = cut, length
    return [*ends, len(lengths)]


def share(pairs: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Return share number `part` of a batch divided into `parts` shares of similar size and lengths."""
    return pairs[part::parts]


def collate(store: PairStore, pairs: Sequence[int] | np.ndarray) -> Batch:
    """Pad the pairs with these indices, shape [pairs], into a batch."""
    indices = np.asarray(pairs, dtype=np.int64)
    return Batch(_padded(store.source, indices), _padded(store.target, indices, BOS))


def _padded(side: Sentences, pairs: np.ndarray, *prefix: int) -> Tensor:
    """Pad all sentences in array operations, shape [pairs, longest]; a Python loop would delay the training step."""
    lengths, lead = side.lengths_of(pairs), len(prefix)
    columns = np.arange(lengths.max(initial=0))
    is_token = columns < lengths[:, None]
    padded = np.full((len(pairs), lead + len(columns) + 1), PAD, dtype=np.int64)
    padded[:, :lead] = prefix
    padded[:, lead:-1][is_token] = side.ids_of(pairs)
    padded[np.arange(len(pairs)), lead + lengths] = EOS
    return torch.from_numpy(padded)


def pad(sentences: Sequence[Sequence[int]]) -> Tensor:
    """Pad sentences of token ids at the end to an int64 tensor of shape [sentences, longest]."""
    padded = np.full((len(sentences), max(map(len, sentences), default=0)), PAD, dtype=np.int64)
    for row, sentence in enumerate(sentences):
        padded[row, : len(sentence)] = sentence
    return torch.from_numpy(padded)
