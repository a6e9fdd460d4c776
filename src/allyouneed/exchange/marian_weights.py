"""Tensors of a Marian model in Hugging Face's form, and ours: other names, another order, the same numbers.

- Marian's sinusoids are all sines, then all cosines; ours alternate. Permuting d_model wherever it appears (embeddings,
  the inputs and outputs of every sub-layer, norms) turns one model into the other: nothing else sees that order.
- Its decoder starts from the row of the padding, which is zero. Ours starts from BOS, which gets a copy of that row.
- Rows of the vocabulary stand where each system wants its padding, unknown and end: see `Vocabulary.rows`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from allyouneed.config import ModelConfig
from allyouneed.data.tokenizer import BOS, PAD
from allyouneed.data.vocabulary import ADDED, Vocabulary
from allyouneed.exchange.head_padding import filled, head_width

_SHARED = "model.shared.weight"
_SOURCE, _TARGET, _OUTPUT = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"
_BIAS = "final_logits_bias"
_LINEARS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}


def from_marian(
    tensors: Mapping[str, Tensor], config: ModelConfig, source: Vocabulary, target: Vocabulary
) -> dict[str, Tensor]:
    """Our parameters, by name. start: see `to_marian`. Errors: `KeyError` for a tensor that is missing."""
    ours = {}
    for name, (theirs, axis) in _layers(config).items():
        ours[name] = _moved(tensors[theirs], axis, _order(config.d_model))
    for name, theirs, vocabulary in _embeddings(config, source, target):
        ours[name] = _moved(tensors[theirs][_rows(vocabulary)], 1, _order(config.d_model))
    ours["output.bias"] = tensors[_BIAS].flatten()[_rows(target)]
    return ours


def to_marian(
    tensors: Mapping[str, Tensor], config: ModelConfig, source: Vocabulary, target: Vocabulary
) -> dict[str, Tensor]:
    """Marian's tensors, by name, from our parameters. Errors: `UserError` for heads that it cannot hold."""
    back = torch.argsort(_order(config.d_model))
    full = _filled_heads(tensors, config)
    theirs = {name: _moved(full[ours], axis, back) for ours, (name, axis) in _layers(config).items()}
    for name, their_name, vocabulary in _embeddings(config, source, target):
        theirs[their_name] = _moved(_their_rows(tensors[name], vocabulary), 1, back)
    bias = tensors.get("output.bias", torch.zeros(len(target.rows)))
    theirs[_BIAS] = _their_rows(bias, target, starting=False)[None]
    return theirs


def _order(d_model: int) -> Tensor:
    """Where each of our units stands in Marian: 0, d/2, 1, d/2 + 1, ..."""
    return torch.arange(d_model).view(2, -1).T.flatten()


def _moved(tensor: Tensor, axis: int | None, order: Tensor) -> Tensor:
    return tensor if axis is None else tensor.index_select(axis, order)


def _rows(vocabulary: Vocabulary) -> Tensor:
    """Their row for each of our ids; an added start is a copy of the padding."""
    return torch.tensor([vocabulary.rows[PAD] if row == ADDED else row for row in vocabulary.rows])


def _their_rows(tensor: Tensor, vocabulary: Vocabulary, starting: bool = True) -> Tensor:
    """The inverse of `_rows`. Where the start was added, their padding is what ours starts from (if `starting`)."""
    theirs = tensor.new_empty(sum(row != ADDED for row in vocabulary.rows), *tensor.shape[1:])
    for i, row in enumerate(vocabulary.rows):
        if row != ADDED:
            theirs[row] = tensor[i]
    if starting and vocabulary.rows[BOS] == ADDED:
        theirs[vocabulary.rows[PAD]] = tensor[BOS]
    return theirs


def _embeddings(config: ModelConfig, source: Vocabulary, target: Vocabulary) -> Iterator[tuple[str, str, Vocabulary]]:
    """(our name, theirs, the vocabulary of its rows) of every matrix that is not another one's twin."""
    if config.tie_embeddings is True:
        yield "source_embedding.tokens.weight", _SHARED, source
        return
    yield "source_embedding.tokens.weight", _SOURCE, source
    yield "target_embedding.tokens.weight", _TARGET, target
    if config.tie_embeddings is False:
        yield "output.weight", _OUTPUT, target


def _layers(config: ModelConfig) -> dict[str, tuple[str, int | None]]:
    """Our name -> theirs, and the axis that is d_model, if one is."""
    names: dict[str, tuple[str, int | None]] = {}
    for side, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        attentions = {"self_attention": "self_attn"} | (
            {"cross_attention": "encoder_attn"} if side == "decoder" else {}
        )
        for n in range(count):
            ours, theirs = f"{side}.layers.{n}", f"model.{side}.layers.{n}"
            for i, (attention, their_attention) in enumerate(attentions.items()):
                for linear, their_linear in _LINEARS.items():
                    outward = linear == "output"
                    names[f"{ours}.{attention}.{linear}.weight"] = (
                        f"{theirs}.{their_attention}.{their_linear}.weight",
                        0 if outward else 1,
                    )
                    names[f"{ours}.{attention}.{linear}.bias"] = (
                        f"{theirs}.{their_attention}.{their_linear}.bias",
                        0 if outward else None,
                    )
                _add_norm(names, f"{ours}.residuals.{i}.norm", f"{theirs}.{their_attention}_layer_norm")
            names[f"{ours}.feed_forward.inner.weight"] = (f"{theirs}.fc1.weight", 1)
            names[f"{ours}.feed_forward.inner.bias"] = (f"{theirs}.fc1.bias", None)
            names[f"{ours}.feed_forward.outer.weight"] = (f"{theirs}.fc2.weight", 0)
            names[f"{ours}.feed_forward.outer.bias"] = (f"{theirs}.fc2.bias", 0)
            _add_norm(names, f"{ours}.residuals.{len(attentions)}.norm", f"{theirs}.final_layer_norm")
    return names


def _add_norm(names: dict[str, tuple[str, int | None]], ours: str, theirs: str) -> None:
    names |= {f"{ours}.{part}": (f"{theirs}.{part}", 0) for part in ("weight", "bias")}


def _filled_heads(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Attention as Marian has it: heads of d_model / num_heads, and biases, which are zero where ours has none."""
    width, heads, full = head_width(config), config.num_heads, dict(tensors)
    narrower = math.sqrt(width / config.key_size)  # it divides scores by the root of its own width
    for name in [name for name in tensors if "attention." in name and name.endswith("weight")]:
        bias = name.removesuffix("weight") + "bias"
        linear = name.split(".")[-2]
        if linear == "output":
            full[name] = filled(tensors[name].T, heads, width).T
            full[bias] = tensors.get(bias, torch.zeros(config.d_model))
        else:
            scale = narrower if linear == "query" else 1.0
            full[name] = filled(tensors[name], heads, width) * scale
            zeros = torch.zeros(len(tensors[name]))
            full[bias] = filled(tensors.get(bias, zeros), heads, width) * scale
    return full
