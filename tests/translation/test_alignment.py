"""Word alignment from attention weights."""

import numpy as np

from allyouneed.translation.alignment import Attention, align


def test_each_target_word_is_linked_to_the_word_with_most_attention():
    source = ["▁the", "▁do", "g", "</s>"]
    target = ["▁d", "er", "▁hund", "</s>"]
    cross = np.zeros((2, 1, 4, 4), dtype=np.float32)
    cross[0, 0] = [[0.9, 0, 0, 0.1], [0.6, 0.2, 0.2, 0], [0.4, 0.3, 0.3, 0], [0, 0, 0, 1]]
    square = np.zeros((2, 1, 4, 4), dtype=np.float32)
    assert align(Attention(square, square, cross, source, ["<s>", *target[:-1]], target)) == [(0, 0), (1, 1)]
