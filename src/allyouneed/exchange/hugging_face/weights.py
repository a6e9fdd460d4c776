"""Conversion of weights between this package and Marian: parameters are renamed, rows and units reordered.

- Marian's sinusoids are all sines, then all cosines; here they alternate (section 3.5). Permuting d_model wherever it
  occurs (embeddings, inputs and outputs of every sub-layer, norms) converts one model into the other, since nothing
  else depends on the order of units.
- Marian's decoder starts from the embedding of padding. Here it starts from BOS, which gets a copy of that row.
- Rows of the vocabulary are in a different order: see `Vocabulary.rows`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import BOS, PAD
from allyouneed.data.tokens.vocabulary import ADDED, Vocabulary
from allyouneed.exchange.head_padding import head_width, pad_heads
from allyouneed.model.transformer import Transformer

_SHARED = "model.shared.weight"
_SOURCE, _TARGET, _OUTPUT = "model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"
_BIAS = "final_logits_bias"
POSITIONS = ("model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight")
_LINEARS = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}


def from_marian(
    tensors: Mapping[str, Tensor], config: ModelConfig, source: Vocabulary, target: Vocabulary
) -> dict[str, Tensor]:
    """Convert Marian's tensors to parameters of a `Transformer`.

    Args:
        tensors: Marian's tensors by name.
        config: Settings of the Transformer.
        source: Vocabulary of the encoder.
        target: Vocabulary of the decoder.

    Returns:
        Parameters by name.

    Raises:
        KeyError: If a tensor is missing.
        IndexError: If an embedding matrix has fewer rows than its vocabulary.
    """
    order = _marian_units(config.d_model)
    parameters = {}
    for name, (marian_name, axis) in _layers(config).items():
        parameters[name] = _permuted(tensors[marian_name], axis, order)
    for name, marian_name, vocabulary in _embeddings(config, source, target):
        parameters[name] = _permuted(tensors[marian_name][_marian_rows(vocabulary)], 1, order)
    parameters["output.bias"] = tensors[_BIAS].flatten()[_marian_rows(target)]
    return parameters


def unread_tensors(
    tensors: Mapping[str, Tensor], config: ModelConfig, source: Vocabulary, target: Vocabulary
) -> list[str]:
    """Name the tensors that `from_marian` does not read, without copies of the embeddings and tables of positions."""
    embeddings = {name for _, name, _ in _embeddings(config, source, target)}
    read = {name for name, _ in _layers(config).values()} | embeddings | {_BIAS, *POSITIONS}
    matrices = [tensors[name] for name in embeddings]
    copies = (_SHARED, _SOURCE, _TARGET, _OUTPUT)
    unread = sorted(tensors.keys() - read)
    return [
        name for name in unread if name not in copies or not any(torch.equal(tensors[name], each) for each in matrices)
    ]


def to_marian(
    parameters: Mapping[str, Tensor], config: ModelConfig, source: Vocabulary, target: Vocabulary
) -> dict[str, Tensor]:
    """Convert parameters of a `Transformer` to Marian's tensors.

    Args:
        parameters: Parameters by name.
        config: Settings of the Transformer.
        source: Vocabulary of the encoder.
        target: Vocabulary of the decoder.

    Returns:
        Marian's tensors by name.

    Raises:
        UserError: If the heads are wider than Marian's.
    """
    order = torch.argsort(_marian_units(config.d_model))
    padded = with_marian_heads(parameters, config)
    tensors = {name: _permuted(padded[parameter], axis, order) for parameter, (name, axis) in _layers(config).items()}
    for name, marian_name, vocabulary in _embeddings(config, source, target):
        tensors[marian_name] = _permuted(_in_marian_rows(parameters[name], vocabulary), 1, order)
    bias = parameters.get("output.bias", torch.zeros(len(target.rows)))
    tensors[_BIAS] = _in_marian_rows(bias, target, copy_start=False)[None]
    return tensors


def position_tables(model: Transformer, positions: int) -> dict[str, Tensor]:
    """Return both tables of positions [positions, d_model], which transformers computes unless a folder has them."""
    order = torch.argsort(_marian_units(model.config.d_model))
    return {
        name: embedding.position_encodings(0, positions).cpu()[:, order]
        for name, embedding in zip(POSITIONS, (model.source_embedding, model.target_embedding), strict=True)
    }


def _marian_units(d_model: int) -> Tensor:
    """Return Marian's index of each unit: 0, d/2, 1, d/2 + 1, ..."""
    return torch.arange(d_model).view(2, -1).T.flatten()


def _permuted(tensor: Tensor, axis: int | None, order: Tensor) -> Tensor:
    return tensor if axis is None else tensor.index_select(axis, order)


def _marian_rows(vocabulary: Vocabulary) -> Tensor:
    """Return Marian's row for each id; an added start token uses the row of padding."""
    return torch.tensor([vocabulary.rows[PAD] if row == ADDED else row for row in vocabulary.rows])


def _in_marian_rows(tensor: Tensor, vocabulary: Vocabulary, copy_start: bool = True) -> Tensor:
    """Reorder rows by `_marian_rows`; with `copy_start`, an added start token's row replaces the row of padding."""
    result = tensor.new_empty(sum(row != ADDED for row in vocabulary.rows), *tensor.shape[1:])
    for i, row in enumerate(vocabulary.rows):
        if row != ADDED:
            result[row] = tensor[i]
    if copy_start and vocabulary.rows[BOS] == ADDED:
        result[vocabulary.rows[PAD]] = tensor[BOS]
    return result


def _embeddings(config: ModelConfig, source: Vocabulary, target: Vocabulary) -> Iterator[tuple[str, str, Vocabulary]]:
    """Yield parameter name, Marian's name and vocabulary of every distinct embedding matrix."""
    if config.tie_embeddings is True:
        yield "source_embedding.tokens.weight", _SHARED, source
        return
    yield "source_embedding.tokens.weight", _SOURCE, source
    inputs = config.tie_embeddings == "inputs"  # transformers does not separate them from the output: stored twice
    yield "source_embedding.tokens.weight" if inputs else "target_embedding.tokens.weight", _TARGET, target
    if config.tie_embeddings in (False, "inputs"):
        yield "output.weight", _OUTPUT, target


def _layers(config: ModelConfig) -> dict[str, tuple[str, int | None]]:
    """Map each parameter name to Marian's name and the axis of d_model, if there is one."""
    names: dict[str, tuple[str, int | None]] = {}
    for side, count in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        attentions = {"self_attention": "self_attn"} | (
            {"cross_attention": "encoder_attn"} if side == "decoder" else {}
        )
        for n in range(count):
            prefix, marian = f"{side}.layers.{n}", f"model.{side}.layers.{n}"
            for i, (attention, marian_attention) in enumerate(attentions.items()):
                for linear, marian_linear in _LINEARS.items():
                    is_output = linear == "output"
                    names[f"{prefix}.{attention}.{linear}.weight"] = (
                        f"{marian}.{marian_attention}.{marian_linear}.weight",
                        0 if is_output else 1,
                    )
                    names[f"{prefix}.{attention}.{linear}.bias"] = (
                        f"{marian}.{marian_attention}.{marian_linear}.bias",
                        0 if is_output else None,
                    )
                names |= _norm(f"{prefix}.residuals.{i}.norm", f"{marian}.{marian_attention}_layer_norm")
            names[f"{prefix}.feed_forward.inner.weight"] = (f"{marian}.fc1.weight", 1)
            names[f"{prefix}.feed_forward.inner.bias"] = (f"{marian}.fc1.bias", None)
            names[f"{prefix}.feed_forward.outer.weight"] = (f"{marian}.fc2.weight", 0)
            names[f"{prefix}.feed_forward.outer.bias"] = (f"{marian}.fc2.bias", 0)
            names |= _norm(f"{prefix}.residuals.{len(attentions)}.norm", f"{marian}.final_layer_norm")
    return names


def _norm(prefix: str, marian: str) -> dict[str, tuple[str, int | None]]:
    return {f"{prefix}.{part}": (f"{marian}.{part}", 0) for part in ("weight", "bias")}


def with_marian_heads(parameters: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Pad heads to d_model / num_heads, and add zero biases where there are none.

    Args:
        parameters: Parameters by name.
        config: Settings of the Transformer.

    Returns:
        All parameters, those of attention padded.

    Raises:
        UserError: If the heads are wider than Marian's.
    """
    padded = dict(parameters)
    for name in [name for name in parameters if "feed_forward." in name and name.endswith("weight")]:
        padded.setdefault(name.removesuffix("weight") + "bias", torch.zeros(len(parameters[name])))
    for name in [name for name in parameters if "attention." in name and name.endswith("weight")]:
        sizes = config.encoder if name.startswith("encoder") else config.decoder
        width, heads = head_width(config.d_model, sizes), sizes.heads
        query_scale = math.sqrt(width / sizes.d_k)  # Marian divides scores by √width, not by √d_k
        bias = name.removesuffix("weight") + "bias"
        linear = name.split(".")[-2]
        if linear == "output":
            padded[name] = pad_heads(parameters[name].T, heads, width).T
            padded[bias] = parameters.get(bias, torch.zeros(config.d_model))
        else:
            scale = query_scale if linear == "query" else 1.0
            padded[name] = pad_heads(parameters[name], heads, width) * scale
            zeros = torch.zeros(len(parameters[name]))
            padded[bias] = pad_heads(parameters.get(bias, zeros), heads, width) * scale
    return padded
