"""Duplicates by hashes in sorted arrays, compared with a dictionary."""

import random

import numpy as np
import pytest

from allyouneed.data.duplicates import DUPLICATE, IN_EARLIER, SeenPairs, pair_keys
from allyouneed.data.files.formats import RawPair


def expected(corpora: list[list[int]]) -> list[list[str | None]]:
    """Look up each key in a dictionary of the corpora in which it was first seen."""
    first: dict[int, int] = {}
    found = []
    for number, keys in enumerate(corpora):
        found.append([])
        for key in keys:
            is_new = key not in first
            owner = first.setdefault(key, number)
            found[-1].append(None if is_new else DUPLICATE if owner == number else IN_EARLIER)
    return found


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_duplicates_are_those_of_a_dictionary(block):
    rng = random.Random(block)
    corpora = [[rng.randrange(400) << 54 for _ in range(rng.randrange(900))] for _ in range(4)]
    seen = SeenPairs()
    for number, (keys, reasons) in enumerate(zip(corpora, expected(corpora), strict=True)):
        if number:
            seen.next_corpus()
        parts = [keys[start : start + block] for start in range(0, len(keys), block)]
        assert [each for part in parts for each in seen.duplicates(np.array(part, dtype=np.uint64))] == reasons


def test_a_block_without_pairs_has_no_duplicates():
    assert SeenPairs().duplicates(np.zeros(0, dtype=np.uint64)) == []


def test_keys_depend_on_both_sides_and_their_border():
    pairs = [("a", "b"), ("a", "c"), ("ab", ""), ("", "ab"), ("a", "b"), ("\ud800", "b")]
    keys = pair_keys([RawPair(1, *pair) for pair in pairs]).tolist()
    assert keys[0] == keys[4]
    assert len(set(keys)) == 5
