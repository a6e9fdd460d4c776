"""Subword regularisation: another segmentation of the same text each time that it is trained on.

With BPE, each possible merge is skipped with probability p when its turn comes (BPE-dropout, Provilkov et al. 2020). As
in SentencePiece, a skipped merge is not tried again, so that words and long runs of characters without spaces are split
equally often. With a unigram model, a segmentation is drawn from all segmentations with probabilities proportional to
P(segmentation)^α (Kudo 2018), by filtering backward and sampling forward.

A store has ids, not text. They are divided into units, the characters of their subwords, and segmented anew. Bytes,
special tokens and user-defined symbols are units that stay whole. Random numbers are a hash of a seed for each
sentence, so that they depend neither on the other sentences of a batch nor on earlier batches.
"""

from __future__ import annotations

import numpy as np

from allyouneed.config import DataConfig
from allyouneed.data.store import PairStore, Sentences
from allyouneed.data.tokens.sentencepiece_model import Piece, PieceKind, read_model
from allyouneed.data.tokens.token_ids import ranges
from allyouneed.data.tokens.vocabulary import AnyTokenizer, VocabularyTokenizer
from allyouneed.errors import UserError
from allyouneed.kernels.segmentation import NONE, ROOT, draw_segments, merge_units, run


class SubwordSampler:
    """Random segmentation of encoded sentences.

    Args:
        tokenizer: Tokenizer of the sentences.
        strength: With BPE, the probability that a merge is skipped; with a unigram model, the α of the distribution.
        max_length: Longer samples are replaced by the sentence as it is stored.

    Raises:
        UserError: If the tokenizer has no alternative segmentations, or was imported.
    """

    def __init__(self, tokenizer: AnyTokenizer, strength: float, max_length: int):
        check_can_sample(tokenizer)
        content = read_model(tokenizer.model)
        pieces, is_bpe = content.pieces, content.algorithm == "bpe"
        self.max_length = max_length
        ids = {piece.text: i for i, piece in enumerate(pieces) if piece.kind == PieceKind.NORMAL}
        units = [_units(i, piece, ids) for i, piece in enumerate(pieces)]
        self._counts = np.array([len(each) for each in units], dtype=np.int64)
        self._starts = _ends(self._counts)
        self._units = np.array([unit for each in units for unit in each], dtype=np.int64)
        self._segment = _Merging(pieces, ids, strength) if is_bpe else _Lattice(pieces, units, strength)

    def sample(self, sentences: Sentences, chosen: np.ndarray, seeds: np.ndarray) -> Sentences:
        """Segment sentences at random.

        Args:
            sentences: Encoded sentences.
            chosen: Indices of the sentences to segment, shape [chosen].
            seeds: Numbers from 0 to 2³² - 1 that determine the segmentation of each, shape [chosen].

        Returns:
            The chosen sentences in this order.
        """
        lengths = sentences.lengths_of(chosen)
        ids = sentences.ids_of(chosen).astype(np.int64)
        counts = self._counts[ids]
        units = self._units[ranges(self._starts[ids], counts)]
        ends = _ends(counts)[_ends(lengths)]
        sampled, sampled_lengths = self._segment(units, ends, seeds.astype(np.int64))
        too_long = sampled_lengths > self.max_length
        parts = [
            sentences[index] if keep else sampled[start : start + length]
            for index, keep, start, length in zip(chosen, too_long, ends, sampled_lengths, strict=False)
        ]
        sampled_lengths = np.where(too_long, lengths, sampled_lengths)
        return Sentences(np.concatenate([*parts, []]).astype(np.int32), _ends(sampled_lengths))


class PairSampler:
    """Random segmentation of the pairs of a batch.

    Args:
        tokenizer: Tokenizer of source and target.
        data: Settings: strength, sides and maximum length.
        seed: Seed of the training.
    """

    def __init__(self, tokenizer: AnyTokenizer, data: DataConfig, seed: int):
        self.seed = seed
        self._samplers = [
            SubwordSampler(side, data.subword_sampling, data.max_length)
            if data.sampled_side in ("both", name)
            else None
            for name, side in (("source", tokenizer), ("target", tokenizer.target))
        ]

    def sample(self, store: PairStore, pairs: np.ndarray, step: int) -> PairStore:
        """Return a store of these pairs only, in this order, segmented at random.

        Args:
            store: The corpus.
            pairs: Indices of the pairs, shape [pairs].
            step: The step, which determines the segmentation together with the seed and the index of each pair.
        """
        sides = []
        for number, (sampler, side) in enumerate(zip(self._samplers, (store.source, store.target), strict=True)):
            if sampler is None:
                sides.append(Sentences(side.ids_of(pairs), _ends(side.lengths_of(pairs))))
            else:
                sides.append(sampler.sample(side, pairs, sentence_seeds(self.seed, step, pairs, number)))
        return PairStore(*sides)


def check_can_sample(tokenizer: AnyTokenizer | str) -> None:
    """Check that text has several segmentations.

    Args:
        tokenizer: The tokenizer, or the algorithm of one that is yet to be trained.

    Raises:
        UserError: If the vocabulary was imported, or the algorithm has a single segmentation of each text.
    """
    if isinstance(tokenizer, VocabularyTokenizer):
        raise UserError(
            "data.subword_sampling: an imported vocabulary cannot be segmented at random, since its ids are not those "
            "of its SentencePiece model. Remove the setting."
        )
    algorithm = tokenizer if isinstance(tokenizer, str) else tokenizer.content.algorithm
    if algorithm not in ("bpe", "unigram"):
        raise UserError(
            f"data.subword_sampling: a tokenizer of kind {algorithm} has only one segmentation of a text. Remove the "
            "setting, or choose data.subwords=bpe or unigram."
        )


def sentence_seeds(seed: int, step: int, pairs: np.ndarray, side: int) -> np.ndarray:
    """Return a number from 0 to 2³² - 1 for each sentence, which depends on all arguments (SplitMix64's mixer).

    Args:
        seed: Seed of the training.
        step: The step.
        pairs: Indices of the pairs, shape [pairs].
        side: 0 for the source, 1 for the target.
    """
    x = pairs.astype(np.uint64)
    for number in (2 * step + side, seed):
        x = (x + np.uint64(number)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(32)).astype(np.int64)


def _units(i: int, piece: Piece, ids: dict[str, int]) -> list[int]:
    """Return the ids of a subword's characters; a subword with a character that has no id stays whole."""
    characters = [ids.get(character, -1) for character in piece.text] if piece.kind == PieceKind.NORMAL else [-1]
    return [i] if -1 in characters else characters


def _ends(lengths: np.ndarray) -> np.ndarray:
    """Return the end of each of several consecutive ranges, after a zero."""
    return np.concatenate([[0], np.cumsum(lengths)])


class _Table:
    """A hash table from pairs of small integers to integers, as arrays that compiled code reads."""

    def __init__(self, entries: dict[tuple[int, int], int], columns: int):
        size = 16
        while size < 2 * len(entries):
            size *= 2
        self.columns, self.mask = columns, size - 1
        self.keys, self.values = np.full(size, NONE, dtype=np.int64), np.full(size, NONE, dtype=np.int64)
        for (row, column), value in entries.items():
            key = row * columns + column
            slot = (key ^ key >> 15) & self.mask
            while self.keys[slot] != NONE:
                slot = (slot + 1) & self.mask
            self.keys[slot], self.values[slot] = key, value


class _Merging:
    """BPE with skipped merges."""

    def __init__(self, pieces: list[Piece], ids: dict[str, int], probability: float):
        merges = {
            (ids[text[:end]], ids[text[end:]]): i
            for text, i in ids.items()
            for end in range(1, len(text))
            if text[:end] in ids and text[end:] in ids
        }
        self._merges = _Table(merges, len(pieces))
        self._rank = np.empty(len(pieces), dtype=np.int64)
        self._rank[np.argsort([-piece.score for piece in pieces], kind="stable")] = np.arange(len(pieces))
        self._begins = np.zeros(len(pieces), dtype=np.int64)
        if "▁" in ids and not any("▁" in text[1:] for text in ids):  # no merge crosses the beginning of a word
            self._begins[ids["▁"]] = 1
        self._threshold = round(probability * 2**32)

    def __call__(self, units: np.ndarray, starts: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out, candidates, lengths = np.empty_like(units), np.empty_like(units), np.zeros_like(seeds)
        table = self._merges
        arrays = units, starts, seeds, out, candidates, lengths, self._rank, self._begins, table.keys, table.values
        run(merge_units, len(seeds), *arrays, table.mask, table.columns, self._threshold)
        return out, lengths


class _Lattice:
    """Samples from the lattice of all segmentations by a unigram model."""

    def __init__(self, pieces: list[Piece], units: list[list[int]], alpha: float):
        nodes: dict[tuple[int, int], int] = {}
        ends: dict[int, int] = {}
        for i, (piece, path) in enumerate(zip(pieces, units, strict=True)):
            if piece.kind == PieceKind.UNUSED:
                continue
            node = ROOT
            for unit in path:
                node = nodes.setdefault((node, unit), len(nodes) + 1)
            ends[node] = i
        self._trie = _Table(nodes, len(pieces))
        self._pieces = np.array([ends.get(node, NONE) for node in range(len(nodes) + 1)], dtype=np.int64)
        self._scores = alpha * np.array([piece.score for piece in pieces], dtype=np.float64)

    def __call__(self, units: np.ndarray, starts: np.ndarray, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out, lengths = np.empty_like(units), np.zeros_like(seeds)
        totals, table = np.empty(len(units) + len(seeds), dtype=np.float64), self._trie
        arrays = units, starts, seeds, out, totals, lengths, self._scores, self._pieces, table.keys, table.values
        run(draw_segments, len(seeds), *arrays, table.mask, table.columns)
        return out, lengths
