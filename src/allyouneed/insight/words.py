"""Sub-words and words: where a word begins, what it says, which characters it is."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from allyouneed.data.tokenizer import EOS, Tokenizer

_UNSPACED = {"ja", "km", "lo", "my", "th", "zh"}  # written without spaces: subwords stand for words


class Sentence(NamedTuple):
    """ids with EOS; starts: the place in ids of each word's first subword; words end with `</s>`."""

    ids: list[int]
    starts: list[int]
    words: list[str]


def split_sentence(tokenizer: Tokenizer, text: str, language: str) -> Sentence:
    """A word begins at a space; punctuation at its end is a word of its own, as in tokenised text."""
    ids = [*tokenizer.encode(text), EOS]
    pieces = tokenizer.pieces(ids)
    starts, end = [len(ids) - 1], len(ids) - 1  # from the last to the first; end: the first subword after the word
    for place in reversed(range(len(ids) - 1)):
        begins = place == 0 or pieces[place].startswith("▁") or language in _UNSPACED
        if begins or not has_letters("".join(pieces[place:end])):
            starts.append(place)
        if begins:
            end = place
    starts.reverse()
    words = [tokenizer.decode(ids[start:end]).strip() for start, end in pairwise(starts)]
    return Sentence(ids, starts, [*map(html.unescape, words), "</s>"])  # Moses's tokeniser writes 's as &apos;s


def join_subwords(weights: np.ndarray, starts: Sequence[int], key_starts: Sequence[int] | None = None) -> np.ndarray:
    """[..., query, key] of subwords -> of words: the sum over a key's subwords, the mean over a query's.

    key_starts: of the keys' words, where keys are not the queries.
    """
    sizes = np.diff([*starts, weights.shape[-2]])
    keys = starts if key_starts is None else key_starts
    return np.add.reduceat(np.add.reduceat(weights, keys, -1), starts, -2) / sizes[:, None]


def has_letters(text: str) -> bool:
    return any(character.isalnum() for character in text)
