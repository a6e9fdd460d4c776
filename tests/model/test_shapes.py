"""Models of other shapes than the paper's, against PyTorch's own Transformer."""

import math

import pytest
import torch
from torch import nn

from allyouneed.config import Config, ModelConfig
from allyouneed.model.embedding import sinusoids
from allyouneed.model.feed_forward import ACTIVATIONS
from allyouneed.model.transformer import Transformer
from tests.model.oracles import close, randomise, torch_decoder_layer, torch_encoder_layer
from tests.model.test_transformer import config, ids

VOCAB = 50
BASE = {"attention_bias": True, "output_bias": True}
FORMULAS = {
    "relu": lambda x: x.clamp(min=0),
    "swish": lambda x: x * torch.sigmoid(x),
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "gelu_tanh": lambda x: x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "gelu_sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
}
SHAPES = {
    **{name: {"activation": name} for name in FORMULAS},
    "pre-norm without final norms": {"norm": "pre", "final_norm": False},
    "pre-norm, norm of the encoder's output": {"norm": "pre", "final_norm": "encoder"},
    "pre-norm, norm of the decoder's output": {"norm": "pre", "final_norm": "decoder"},
    "post-norm with final norms": {"final_norm": True},
    "norm of embeddings": {"embedding_norm": True, "norm_epsilon": 1e-2},
    "embeddings not scaled": {"scale_embeddings": False},
    "fairseq's sinusoids": {"sinusoid_frequencies": "tensor2tensor", "first_position": 2},
    "decoder of other sizes": {"decoder_d_ff": 24, "decoder_heads": 2, "decoder_layers": 3},
    "no biases": {"feed_forward_bias": False, "attention_bias": False, "output_bias": False},
    "inputs tied": {"tie_embeddings": "inputs"},
    "target tied": {"tie_embeddings": "target"},
    "bart": {
        **{"embedding_norm": True, "scale_embeddings": False, "positions": "learned", "max_positions": 16},
        **{"activation": "gelu", "tie_embeddings": True},
    },
}


def built(**changes) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config(**{**BASE, **changes}), VOCAB).eval()
    randomise(model)
    return model


def oracle(model: Transformer, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute the logits with PyTorch's layers, and with the embeddings and norms written out."""
    config, padding = model.config, source == 0
    memory = embedded(model.source_embedding, source, config)
    for layer in model.encoder.layers:
        memory = torch_encoder_layer(layer, config)(memory, src_key_padding_mask=padding)
    x = embedded(model.target_embedding, target, config)
    memory = final(model.encoder, memory, config, "encoder")
    future = torch.full((x.shape[1], x.shape[1]), -math.inf).triu(1)
    for layer in model.decoder.layers:
        x = torch_decoder_layer(layer, config)(x, memory, tgt_mask=future, memory_key_padding_mask=padding)
    matrix = model.output.weight
    if config.tie_embeddings in (True, "target"):
        matrix = model.target_embedding.tokens.weight
    logits = final(model.decoder, x, config, "decoder") @ matrix.T
    return logits if model.output.bias is None else logits + model.output.bias


def embedded(embedding: nn.Module, ids: torch.Tensor, config: ModelConfig) -> torch.Tensor:
    table = embedding.positions
    if table is None:
        table = sinusoids(40, config.d_model, frequencies=config.sinusoid_frequencies)[config.first_position :]
    x = embedding.tokens.weight[ids]
    x = (x * math.sqrt(config.d_model) if config.scale_embeddings else x) + table[: ids.shape[1]]
    return normed(x, embedding.norm, config) if config.embedding_norm else x


def final(stack: nn.Module, x: torch.Tensor, config: ModelConfig, name: str) -> torch.Tensor:
    wanted = {None: config.norm == "pre", True: True, False: False}.get(config.final_norm, config.final_norm == name)
    return normed(x, stack.norm, config) if wanted else x


def normed(x: torch.Tensor, norm: nn.LayerNorm, config: ModelConfig) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + config.norm_epsilon).sqrt() * norm.weight + norm.bias


@pytest.mark.parametrize("name", FORMULAS)
def test_activations_are_their_formulas(name):
    x = torch.linspace(-6, 6, 49, dtype=torch.float64)
    assert torch.allclose(ACTIVATIONS[name](x), FORMULAS[name](x), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_and_gradients_equal_pytorchs(shape):
    model, source, target = built(**SHAPES[shape]), ids(4, 9, 6), ids(5, 8, 3, seed=1)
    logits = model(source, target)
    assert close(logits, oracle(model, source, target), 2e-5)
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    inputs = [parameter for parameter in model.parameters() if parameter.requires_grad]
    ours = torch.autograd.grad((logits * weights).sum(), inputs)
    embeddings = [model.source_embedding.tokens.weight, model.target_embedding.tokens.weight]
    theirs = torch.autograd.grad((oracle(model, source, target) * weights).sum(), embeddings)
    for ours_grad, theirs_grad in zip(
        [ours[next(i for i, p in enumerate(inputs) if p is each)] for each in embeddings], theirs, strict=True
    ):
        assert torch.allclose(ours_grad, theirs_grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False, "target", "inputs"])
def test_ties_share_exactly_these_matrices(tied):
    model = built(tie_embeddings=tied)
    source, target, output = (
        each.weight for each in (model.source_embedding.tokens, model.target_embedding.tokens, model.output)
    )
    assert (source is target) == (tied in (True, "inputs"))
    assert (target is output) == (tied in (True, "target"))
    assert len({id(each) for each in (source, target, output)}) == {True: 1, False: 3}.get(tied, 2)
    if tied in (True, "inputs"):
        with pytest.raises(ValueError, match="cannot share one matrix"):
            Transformer(config(tie_embeddings=tied), VOCAB, target_vocab_size=VOCAB + 1)


@pytest.mark.parametrize("shape", ["decoder of other sizes", "inputs tied", "bart"])
def test_weights_are_counted_by_the_settings(shape):
    model = built(**SHAPES[shape])
    matrices = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() > 1)
    assert model.config.count_weights(VOCAB) == matrices


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_model": 32, "num_heads": 4, "decoder_heads": 3}, "divisible by model.decoder_heads = 3"),
        ({"positions": "learned", "first_position": 2}, "learned positions are counted from 0"),
    ],
)
def test_impossible_shapes_are_refused(settings, message):
    with pytest.raises(Exception, match=message):
        Config().replace(model=settings)
