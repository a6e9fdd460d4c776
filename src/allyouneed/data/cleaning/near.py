"""Near duplicates by MinHash (Broder 1997) with locality-sensitive hashing.

Texts are compared as sets of character n-grams, without case, punctuation and digits, so that pages that differ in a
date or a price are near duplicates. Pairs whose sets are equal to about nine tenths share a band of their signatures.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from rensa import RMinHash

from allyouneed.data.cleaning.characters import Characters, letter_table

BANDS = 6
_ROWS = 14
_NGRAM = 4  # characters
_SEED = 1
_FEWEST_LETTERS = 20  # of a pair; shorter ones are near duplicates only if they are equal
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def band_hashes(sources: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Compute the bands of each pair's signature; near duplicates are likely to have one in common.

    Returns:
        Hashes, shape [pairs, BANDS].
    """
    texts = [unicodedata.normalize("NFKC", f"{s} \t {t}").casefold() for s, t in zip(sources, targets, strict=True)]
    characters = Characters(texts)
    table = letter_table()
    owner = np.repeat(np.arange(len(texts)), characters.lengths)
    is_letter = table[np.minimum(characters.codes, len(table) - 1)] | (characters.codes >= len(table))
    codes, owner = characters.codes[is_letter].astype(np.uint64), owner[is_letter]
    counts = np.bincount(owner, minlength=len(texts))
    grams = np.zeros(max(0, len(codes) - _NGRAM + 1), dtype=np.uint64)
    for offset in range(_NGRAM):
        grams = (grams + codes[offset : offset + len(grams)]) * _MULTIPLIER
        grams ^= grams >> np.uint64(29)
    inside = owner[: len(grams)] == owner[_NGRAM - 1 :] if len(grams) else np.zeros(0, dtype=bool)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner[: len(grams)][inside], minlength=len(texts)))])
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(
        np.ascontiguousarray(grams[inside]), offsets.astype(np.uint64), BANDS * _ROWS, _SEED
    )
    rows = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(texts), BANDS, _ROWS)
    hashes = np.tile(np.arange(BANDS, dtype=np.uint64), (len(texts), 1))
    for row in range(_ROWS):
        hashes = (hashes ^ rows[:, :, row]) * _MULTIPLIER
        hashes ^= hashes >> np.uint64(32)
    short = counts < _FEWEST_LETTERS
    hashes[short] = 0
    return hashes
