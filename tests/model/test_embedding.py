import math

import pytest
import torch
from torch import nn

from allyouneed.config import ModelConfig
from allyouneed.model.embedding import Embedding, sinusoids
from allyouneed.model.transformer import Transformer

SIZES = {"d_model": 16, "d_ff": 16, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1, "dropout": 0.0}


def config(d_model, **changes):
    return ModelConfig(**{**SIZES, "d_model": d_model, **changes})


def test_sinusoids_by_hand():
    table = sinusoids(11, 8)
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    for position, i in ((1, 0), (7, 2), (10, 3)):
        angle = position / 10000 ** (2 * i / 8)
        assert table[position, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert table[position, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_sinusoids_of_tensor2tensor_by_hand():
    table = sinusoids(3, 8, frequencies="tensor2tensor", first=2)
    for row, position in enumerate((2, 3, 4)):
        for i in range(4):
            angle = position * math.exp(-i * math.log(10000) / (4 - 1))
            assert table[row, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[row, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    assert sinusoids(2, 2, frequencies="tensor2tensor").tolist() == sinusoids(2, 2).tolist()  # one frequency: 1


def test_embeddings_are_scaled_by_the_root_of_d_model():
    embedding = Embedding(nn.Embedding(5, 16), config(16))
    ids = torch.tensor([[3, 4]])
    assert torch.allclose(embedding(ids), embedding.tokens(ids) * 4 + sinusoids(2, 16))


def test_sinusoids_have_no_limit_and_learned_positions_do():
    ids = torch.zeros(1, 600, dtype=torch.long)
    sinusoidal = Embedding(nn.Embedding(2, 8), config(8))
    assert sinusoidal.max_positions is None
    assert torch.allclose(sinusoidal(ids)[0, -1], sinusoidal.tokens.weight[0] * math.sqrt(8) + sinusoids(600, 8)[-1])
    learned = Embedding(nn.Embedding(2, 8), config(8, positions="learned", max_positions=599))
    assert learned.max_positions == 599
    with pytest.raises(ValueError, match="max_positions = 599"):
        learned(ids)


def test_double_keeps_sinusoids_in_float64():
    embedding = Embedding(nn.Embedding(5, 16), config(16))
    embedding(torch.tensor([[1, 2]]))
    table = embedding.double().position_encodings(0, 40)
    assert torch.equal(table, sinusoids(40, 16, torch.float64))


def test_sinusoids_made_in_inference_mode_serve_training():
    embedding = Embedding(nn.Embedding(5, 16), config(16))
    with torch.inference_mode():
        embedding(torch.tensor([[1, 2]]))
    assert not embedding.position_encodings(0, 2).is_inference()


@pytest.mark.parametrize("assign", [True, False])
def test_sinusoids_and_tied_weights_survive_a_start_on_the_meta_device(assign):
    config = ModelConfig(**SIZES)
    trained = Transformer(config, 20).eval()
    with torch.device("meta"):
        model = Transformer(config, 20).eval()
    model.to_empty(device="cpu")
    model.load_state_dict(trained.state_dict(), assign=assign)
    source, target = torch.tensor([[4, 5, 3]]), torch.tensor([[2, 6]])
    assert torch.equal(model(source, target), trained(source, target))
    assert model.output.weight is model.source_embedding.tokens.weight is model.target_embedding.tokens.weight
    assert model.num_parameters() == trained.num_parameters()
