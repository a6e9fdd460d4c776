"""Names of tensors in Marian's own model files, for `--type transformer-new`.

This newer Transformer has a table of positions for each side, which `--type transformer` has not (its trained positions
are shared by both sides, and its decoder always uses the first of them). With such tables, embeddings are not scaled.
A matrix is [inputs, outputs], the transpose of a `Linear` here; a vector is [n]. Embeddings and output have the names
of `--type transformer`, see `names.embedding_tensors`.

Source: `layers_new/transformer.h` and `models/transformer_new.h` of marian-dev 1.12.
"""

from __future__ import annotations

from collections.abc import Iterator

from allyouneed.config import ModelConfig

NORM_EPSILON = 1e-5
_STACKS = {"encoder": "TransformerBatchEncoder->encoder", "decoder": "TransformerBatchDecoder->decoder"}
_CLASSES = {"encoder": "TransformerEncoderLayer", "decoder": "TransformerDecoderLayerWithCrossAttention"}
_ATTENTIONS = {
    "encoder": {"self_attention": "selfAttentionBlock->selfAttention"},
    "decoder": {
        "self_attention": "autoRegressiveBlock->selfAttention",
        "cross_attention": "crossAttentionBlock->crossAttention",
    },
}
_EMBEDDINGS = {"encoder": "source_embedding", "decoder": "target_embedding"}
_RELU_FILTERS = {
    "inner": "filterBlock->layers->at(0)->as<marian::nn::LinearReluDropout>()",
    "outer": "filterBlock->layers->at(1)->as<marian::nn::Linear>()",
}
_FILTERS = {  # activation and dropout are layers of their own
    "inner": "filterBlock->layers->at(0)->as<marian::nn::Linear>()",
    "outer": "filterBlock->layers->at(3)->as<marian::nn::Linear>()",
}
_LINEARS = {"query": "qProj", "key": "kProj", "value": "vProj", "output": "oProj"}


def positions_name(side: str) -> str:
    """Return the name of the table of positions of the encoder or decoder, [positions, d_model]."""
    return f"{_STACKS[side]}->positionEmbedding->embeddings"


def new_layer_tensors(config: ModelConfig) -> dict[str, str]:
    """Return Marian's name of every parameter of the layers and of the norms outside them.

    Args:
        config: Settings of the model.

    Returns:
        Marian's names by our parameter name. Matrices are transposed.
    """
    return dict(_pairs(config))


def _pairs(config: ModelConfig) -> Iterator[tuple[str, str]]:
    block_norm = "preprocessor->norm" if config.norm == "pre" else "postprocessor->norm"
    filters = _RELU_FILTERS if config.activation == "relu" else _FILTERS
    for side, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        for layer in range(count):
            ours = f"{side}.layers.{layer}"
            theirs = f"{_STACKS[side]}->layers->at({layer})->as<marian::nn::{_CLASSES[side]}>()"
            for index, (attention, name) in enumerate(_ATTENTIONS[side].items()):
                for linear, projection in _LINEARS.items():
                    yield from _parts(f"{ours}.{attention}.{linear}", f"{theirs}->{name}->{projection}")
                block = name.partition("->")[0]
                yield from _parts(f"{ours}.residuals.{index}.norm", f"{theirs}->{block}->{block_norm}")
            for linear, name in filters.items():
                yield from _parts(f"{ours}.feed_forward.{linear}", f"{theirs}->{name}")
            last = f"{ours}.residuals.{len(_ATTENTIONS[side])}.norm"
            yield from _parts(last, f"{theirs}->filterBlock->{block_norm}")
        if config.embedding_norm:
            yield from _parts(f"{_EMBEDDINGS[side]}.norm", f"{_STACKS[side]}->preprocessor->norm")
        if config.has_final_norm(side):
            yield from _parts(f"{side}.norm", f"{_STACKS[side]}->postprocessor->norm")


def _parts(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    for part in ("weight", "bias"):
        yield f"{ours}.{part}", f"{theirs}->{part}"
