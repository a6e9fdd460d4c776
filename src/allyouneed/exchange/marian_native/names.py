"""Names and layouts of tensors in Marian's own model files, for `--type transformer`.

- A matrix is [inputs, outputs], the transpose of a `Linear` here; a vector is [1, n].
- Marian's sinusoids are all sines, then all cosines; here they alternate. Permuting d_model wherever it occurs converts
  one layout into the other, since nothing else depends on the order of units. Trained positions need no permutation.
- Rows of the vocabulary keep Marian's order, which differs from ours: see `Vocabulary.rows`.
- The decoder starts from a zero embedding instead of a start token.

Source: `models/transformer.h`, `layers/embedding.cpp` and `layers/output.cpp` of marian-dev 1.12.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from allyouneed.config import ModelConfig

MODEL_SETTINGS = "special:model.yml"  # an int8 array with the training options as YAML, ended by zeros
POSITIONS = "Wpos"  # one table of trained positions for encoder and decoder
OUTPUT_BIAS = "decoder_ff_logit_out_b"
UNTRANSPOSED_OUTPUT = "decoder_ff_logit_out_W"  # [d_model, vocabulary], in models of old versions
NORM_EPSILON = 1e-6
SIDES: tuple[Literal["encoder"], Literal["decoder"]] = ("encoder", "decoder")
_SHARED, _SOURCE, _TARGET = "Wemb", "encoder_Wemb", "decoder_Wemb"
_OUTPUT = "decoder_ff_logit_out_Wt"
_LINEARS = {"query": "q", "key": "k", "value": "v", "output": "o"}


@dataclass(frozen=True)
class NativeTensor:
    """Marian's tensor for one of our parameters.

    Attributes:
        name: Marian's name.
        kind: "matrix", which is transposed; "vector", which is a row [1, n]; or "table", stored as here.
        model_axis: Axis of our parameter along which d_model is permuted; None if it has no such axis.
    """

    name: str
    kind: Literal["matrix", "vector", "table"]
    model_axis: int | None


def layer_tensors(config: ModelConfig) -> dict[str, NativeTensor]:
    """Return Marian's tensor for every parameter of the layers and of the norms outside them.

    Args:
        config: Settings of the model.

    Returns:
        Marian's tensors by our parameter name; embeddings and output projection are in `embedding_tensors`.
    """
    tensors: dict[str, NativeTensor] = {}
    for side in SIDES:
        attentions = {"self_attention": "self"} | ({"cross_attention": "context"} if side == "decoder" else {})
        for index in range(config.encoder_layers if side == "encoder" else config.decoder_layers):
            ours, marian = f"{side}.layers.{index}", f"{side}_l{index + 1}"
            for i, (attention, block) in enumerate(attentions.items()):
                tensors |= _attention(f"{ours}.{attention}", f"{marian}_{block}", config.attention_bias)
                tensors |= _norm(f"{ours}.residuals.{i}.norm", f"{marian}_{block}_Wo", config.norm)
            tensors |= _linear(f"{ours}.feed_forward.inner", f"{marian}_ffn", "1", 1, config.feed_forward_bias)
            tensors |= _linear(f"{ours}.feed_forward.outer", f"{marian}_ffn", "2", 0, config.feed_forward_bias)
            tensors |= _norm(f"{ours}.residuals.{len(attentions)}.norm", f"{marian}_ffn_ffn", config.norm)
        if config.embedding_norm:
            tensors |= _norm(f"{'source' if side == 'encoder' else 'target'}_embedding.norm", f"{side}_emb", "pre")
        if config.has_final_norm(side):
            tensors |= _norm(f"{side}.norm", f"{side}_top", "post")
    return tensors


def embedding_tensors(config: ModelConfig, shared_sides: bool) -> dict[str, NativeTensor]:
    """Return Marian's tensor for every distinct embedding matrix and for the output projection.

    Args:
        config: Settings of the model.
        shared_sides: Whether source and target embedding are one matrix in Marian (`tied-embeddings-all`, or
            `tied-embeddings-src`), whatever `config.tie_embeddings` is.
    """
    source, target = (_SHARED, _SHARED) if shared_sides else (_SOURCE, _TARGET)
    tensors = {"source_embedding.tokens.weight": NativeTensor(source, "table", 1)}
    if config.tie_embeddings in ("target", False):
        tensors["target_embedding.tokens.weight"] = NativeTensor(target, "table", 1)
    if config.tie_embeddings in ("inputs", False):
        tensors["output.weight"] = NativeTensor(_OUTPUT, "table", 1)
    if config.output_bias:
        tensors["output.bias"] = NativeTensor(OUTPUT_BIAS, "vector", None)
    return tensors


def native_units(d_model: int) -> Tensor:
    """Return Marian's index of each of our units: 0, d/2, 1, d/2 + 1, ... Its `argsort` is the inverse."""
    return torch.arange(d_model).view(2, -1).T.flatten()


def from_native(values: Tensor, tensor: NativeTensor, units: Tensor | None) -> Tensor:
    """Convert Marian's tensor to our parameter; rows of vocabularies keep their order.

    Args:
        values: Marian's tensor.
        tensor: Its layout.
        units: `native_units`; None keeps the order of units.
    """
    ours = values.T if tensor.kind == "matrix" else values.flatten() if tensor.kind == "vector" else values
    return _reordered(ours, tensor, units)


def to_native(parameter: Tensor, tensor: NativeTensor, units: Tensor | None) -> Tensor:
    """Convert our parameter to Marian's tensor, the inverse of `from_native`; rows keep their order."""
    ours = _reordered(parameter, tensor, None if units is None else units.argsort())
    return ours.T.contiguous() if tensor.kind == "matrix" else ours[None] if tensor.kind == "vector" else ours


def _reordered(parameter: Tensor, tensor: NativeTensor, units: Tensor | None) -> Tensor:
    if units is None or tensor.model_axis is None:
        return parameter
    return parameter.index_select(tensor.model_axis, units)


def _attention(ours: str, marian: str, bias: bool) -> dict[str, NativeTensor]:
    pairs = (
        _linear(f"{ours}.{linear}", marian, letter, axis=0 if linear == "output" else 1, bias=bias)
        for linear, letter in _LINEARS.items()
    )
    return {name: tensor for pair in pairs for name, tensor in pair.items()}


def _linear(ours: str, marian: str, suffix: str, axis: int, bias: bool = True) -> dict[str, NativeTensor]:
    """Return weight and bias of a linear layer; d_model is its input (axis 1) or its output (axis 0)."""
    tensors = {f"{ours}.weight": NativeTensor(f"{marian}_W{suffix}", "matrix", axis)}
    if bias:
        tensors[f"{ours}.bias"] = NativeTensor(f"{marian}_b{suffix}", "vector", 0 if axis == 0 else None)
    return tensors


def _norm(ours: str, marian: str, norm: str) -> dict[str, NativeTensor]:
    return dict(_norm_parts(ours, marian, "_pre" if norm == "pre" else ""))


def _norm_parts(ours: str, marian: str, suffix: str) -> Iterator[tuple[str, NativeTensor]]:
    for part, name in (("weight", "scale"), ("bias", "bias")):
        yield f"{ours}.{part}", NativeTensor(f"{marian}_ln_{name}{suffix}", "vector", 0)
