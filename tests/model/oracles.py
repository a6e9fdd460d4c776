"""Independent implementations of the layers, for comparison, with copies of our weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel

from allyouneed.config import ModelConfig
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.embedding import sinusoids
from allyouneed.model.layers import DecoderLayer, EncoderLayer
from allyouneed.model.transformer import Transformer


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Set random weights, so that no parameter has its initial value of zero or one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in (p for p in module.parameters() if p.requires_grad):  # Marian's sinusoids are frozen
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


@torch.no_grad()
def torch_attention(ours: MultiHeadAttention, d_model: int) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(d_model, ours.num_heads, batch_first=True).eval()
    _copy_attention(ours, theirs)
    return theirs


@torch.no_grad()
def torch_encoder_layer(ours: EncoderLayer, config: ModelConfig) -> nn.TransformerEncoderLayer:
    theirs = nn.TransformerEncoderLayer(
        config.d_model,
        config.num_heads,
        config.d_ff,
        0.0,
        _activation(config.activation),
        config.norm_epsilon,
        batch_first=True,
        norm_first=config.norm == "pre",
    ).eval()
    _copy_attention(ours.self_attention, theirs.self_attn)
    _copy_rest(ours, theirs)
    return theirs


@torch.no_grad()
def torch_decoder_layer(ours: DecoderLayer, config: ModelConfig) -> nn.TransformerDecoderLayer:
    theirs = nn.TransformerDecoderLayer(
        config.d_model,
        config.decoder_heads or config.num_heads,
        config.decoder_d_ff or config.d_ff,
        0.0,
        _activation(config.activation),
        config.norm_epsilon,
        batch_first=True,
        norm_first=config.norm == "pre",
    ).eval()
    _copy_attention(ours.self_attention, theirs.self_attn)
    _copy_attention(ours.cross_attention, theirs.multihead_attn)
    _copy_rest(ours, theirs)
    return theirs


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    return {
        "relu": nn.functional.relu,
        "swish": nn.functional.silu,
        "gelu": nn.functional.gelu,
        "gelu_tanh": lambda x: nn.functional.gelu(x, approximate="tanh"),
        "gelu_sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    }[name]


def marian(config: ModelConfig, vocab_size: int, pad_id: int) -> MarianMTModel:
    torch.manual_seed(3)
    model = MarianMTModel(
        MarianConfig(
            vocab_size=vocab_size,
            d_model=config.d_model,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            encoder_attention_heads=config.num_heads,
            decoder_attention_heads=config.num_heads,
            encoder_ffn_dim=config.d_ff,
            decoder_ffn_dim=config.d_ff,
            activation_function="relu",
            scale_embedding=True,
            pad_token_id=pad_id,
            eos_token_id=3,
            decoder_start_token_id=pad_id,
            max_position_embeddings=64,
        )
    )
    randomise(model)
    return model.eval()


@torch.no_grad()
def from_marian(theirs: MarianMTModel, config: ModelConfig, vocab_size: int, pad_id: int) -> Transformer:
    """Build our model with Marian's weights and its layout of the sinusoids (all sines, then all cosines)."""
    ours = Transformer(config, vocab_size, pad_id).eval()
    ours.source_embedding.tokens.weight.copy_(theirs.model.shared.weight)
    sines_first = sinusoids(64, config.d_model).unflatten(1, (-1, 2)).mT.flatten(1)
    for embedding in (ours.source_embedding, ours.target_embedding):
        embedding.position_encodings = lambda start, end: sines_first[start:end]
    for stack, their_stack in ((ours.encoder, theirs.model.encoder), (ours.decoder, theirs.model.decoder)):
        for layer, their_layer in zip(stack.layers, their_stack.layers, strict=True):
            _load_marian_layer(layer, their_layer)
    return ours


def _load_marian_layer(ours: nn.Module, theirs: nn.Module) -> None:
    pairs = [(ours.self_attention, theirs.self_attn)]
    norms = [theirs.self_attn_layer_norm]
    if hasattr(theirs, "encoder_attn"):
        pairs.append((ours.cross_attention, theirs.encoder_attn))
        norms.append(theirs.encoder_attn_layer_norm)
    for attention, their_attention in pairs:
        names = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
        for name, their_name in names.items():
            getattr(attention, name).load_state_dict(getattr(their_attention, their_name).state_dict())
    ours.feed_forward.inner.load_state_dict(theirs.fc1.state_dict())
    ours.feed_forward.outer.load_state_dict(theirs.fc2.state_dict())
    for residual, norm in zip(ours.residuals, [*norms, theirs.final_layer_norm], strict=True):
        residual.norm.load_state_dict(norm.state_dict())


def _copy_attention(ours: MultiHeadAttention, theirs: nn.MultiheadAttention) -> None:
    three = (ours.query, ours.key, ours.value)
    theirs.in_proj_weight.copy_(torch.cat([linear.weight for linear in three]))
    theirs.in_proj_bias.copy_(torch.cat([_bias(linear) for linear in three]))
    _copy_linear(ours.output, theirs.out_proj)


def _copy_rest(ours: nn.Module, theirs: nn.Module) -> None:
    _copy_linear(ours.feed_forward.inner, theirs.linear1)
    _copy_linear(ours.feed_forward.outer, theirs.linear2)
    for number, residual in enumerate(ours.residuals, start=1):
        getattr(theirs, f"norm{number}").load_state_dict(residual.norm.state_dict())


def _copy_linear(ours: nn.Linear, theirs: nn.Linear) -> None:
    theirs.weight.copy_(ours.weight)
    theirs.bias.copy_(_bias(ours))


def _bias(linear: nn.Linear) -> Tensor:
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> bool:
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0, atol=tolerance)
