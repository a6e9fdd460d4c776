import random
from itertools import pairwise

import numpy as np

from allyouneed.data.cleaning.near import BANDS, band_hashes

WORDS = [
    "der",
    "Hund",
    "Katze",
    "Haus",
    "läuft",
    "springt",
    "heute",
    "morgen",
    "grün",
    "blau",
    "Straße",
    "Kind",
    "Mann",
]


def sentence(rng, length=25):
    return " ".join(rng.choice(WORDS) + str(rng.randint(0, 99)) + rng.choice("abcdefgh") for _ in range(length))


def similar(first, second):
    one, other = band_hashes([first[0], second[0]], [first[1], second[1]])
    return bool((one == other)[one != 0].any())


def test_pairs_that_differ_in_case_digits_and_punctuation_share_all_bands():
    hashes = band_hashes(
        ["Am 3. Mai kamen alle Gäste!", "am 4 mai kamen alle gäste"], ["On 3 May all guests came."] * 2
    )
    assert hashes.shape == (2, BANDS)
    assert (hashes[0] == hashes[1]).all()


def test_similar_pairs_are_found_and_others_are_not():
    rng = random.Random(1)
    pairs = [(sentence(rng), sentence(rng)) for _ in range(200)]
    assert sum(similar(pair, (f"{pair[0]} x", pair[1])) for pair in pairs) >= 190  # one letter of 300
    assert sum(similar(pair, (pair[0], other[1])) for pair, other in pairwise(pairs)) == 0
    assert not any(similar(pair, other) for pair, other in pairwise(pairs))


def test_short_pairs_have_no_bands():
    assert not band_hashes(["ja", "你好"], ["yes", "12"]).any()
    assert band_hashes([], []).shape == (0, BANDS)


def test_a_pair_has_the_same_bands_in_every_block():
    rng = random.Random(2)
    pairs = [(sentence(rng, rng.randint(1, 30)), sentence(rng, 10)) for _ in range(20)]
    together = band_hashes(*map(list, zip(*pairs, strict=True)))
    assert np.array_equal(together, np.concatenate([band_hashes([s], [t]) for s, t in pairs]))
