import math

import pytest
import torch
from torch import nn

from allyouneed.model.embedding import Embedding, sinusoids


def test_sinusoids_by_hand():
    table = sinusoids(11, 8)
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    for position, i in ((1, 0), (7, 2), (10, 3)):
        angle = position / 10000 ** (2 * i / 8)
        assert table[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_tokens_are_scaled_by_the_root_of_d_model():
    embedding = Embedding(nn.Embedding(5, 16), "sinusoidal", 1, 0.0)
    ids = torch.tensor([[3, 4]])
    assert torch.allclose(embedding(ids), embedding.tokens(ids) * 4 + sinusoids(2, 16))


def test_sinusoids_have_no_end_and_learned_positions_do():
    ids = torch.zeros(1, 600, dtype=torch.long)
    sinusoidal = Embedding(nn.Embedding(2, 8), "sinusoidal", 1, 0.0)
    assert torch.allclose(sinusoidal(ids)[0, -1], sinusoidal.tokens.weight[0] * math.sqrt(8) + sinusoids(600, 8)[-1])
    learned = Embedding(nn.Embedding(2, 8), "learned", 599, 0.0)
    with pytest.raises(ValueError, match="max_positions = 599"):
        learned(ids)
