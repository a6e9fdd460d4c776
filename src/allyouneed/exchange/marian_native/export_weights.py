"""Conversion of weights to Marian's `--type transformer-new`, which holds every kind of positions.

- Embeddings are stored scaled by √d_model, since Marian does not scale them here. Where the output projection shares
  their matrix, the norm before it is divided by √d_model; without such a norm, the projection gets a matrix of its own.
- The decoder starts from a zero embedding, so its first position includes the embedding of our start token.
- Tokens that our search never generates get a bias of -10,000, which acts as minus infinity.
- x · sigmoid(1.702 x) is Marian's swish of 1.702 x, divided by 1.702.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from allyouneed.bundle import Bundle, weights_of
from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.data.tokens.vocabulary import ADDED
from allyouneed.exchange.marian_native.names import OUTPUT_BIAS, embedding_tensors
from allyouneed.exchange.marian_native.new_names import new_layer_tensors, positions_name
from allyouneed.exchange.marian_native.vocabularies import NativeVocabulary
from allyouneed.exchange.marian_weights import with_marian_heads

_EXCLUDED_LOGIT = -1e4


def to_new_transformer(
    bundle: Bundle, source: NativeVocabulary, target: NativeVocabulary, positions: int
) -> dict[str, Tensor]:
    """Convert the weights of a bundle.

    Args:
        bundle: The bundle.
        source: Vocabulary of the encoder.
        target: Vocabulary of the decoder.
        positions: Number of positions of each side.

    Returns:
        Marian's tensors by name.

    Raises:
        UserError: If the heads are wider than Marian's.
    """
    model, config = bundle.model, bundle.config.model
    parameters = with_marian_heads(weights_of(model), config)
    if config.activation == "gelu_sigmoid":
        _scale(parameters, ["inner.weight", "inner.bias"], 1.702)
        _scale(parameters, ["outer.weight"], 1 / 1.702)
    scale = model.target_embedding.scale
    if shares_output(config) and (norm := _last_norm(config)):
        _scale(parameters, [f"{norm}.weight", f"{norm}.bias"], 1 / scale)
    tensors = {}
    for name, theirs in new_layer_tensors(config).items():
        tensors[theirs] = parameters[name].T if parameters[name].dim() == 2 else parameters[name]
    for side, embedding in (("encoder", model.source_embedding), ("decoder", model.target_embedding)):
        table = embedding.position_encodings(0, positions).detach().clone()
        if side == "decoder":
            table[0] += embedding.tokens.weight[BOS].detach() * scale
        tensors[positions_name(side)] = table
    parameters["output.weight"] = model.output.weight
    for name, native in embedding_tensors(marian_config(config), config.tie_embeddings in (True, "inputs")).items():
        vocabulary = source if name.startswith("source") else target
        if native.kind == "table":
            factor = 1.0 if name == "output.weight" else scale
            tensors[native.name] = _in_rows(parameters[name], vocabulary) * factor
    if "output.bias" in parameters or target.excluded:
        tensors[OUTPUT_BIAS] = _output_bias(parameters, target)
    return tensors


def shares_output(config: ModelConfig) -> bool:
    """Return whether the exported model's output projection shares the matrix of the target embedding."""
    return config.tie_embeddings in (True, "target") and _last_norm(config) is not None


def marian_config(config: ModelConfig) -> ModelConfig:
    """Return the settings with the matrices that Marian shares."""
    if shares_output(config) or config.tie_embeddings in (False, "inputs"):
        return config
    return config.model_copy(update={"tie_embeddings": "inputs" if config.tie_embeddings is True else False})


def _scale(parameters: dict[str, Tensor], endings: Sequence[str], factor: float) -> None:
    """Replace the parameters with these endings of names by their multiples."""
    for name in [name for name in parameters if name.endswith(tuple(endings))]:
        parameters[name] = parameters[name].detach() * factor


def _last_norm(config: ModelConfig) -> str | None:
    """Return the norm whose result is projected to logits, or None if it is projected without a norm."""
    if config.has_final_norm("decoder"):
        return "decoder.norm"
    return f"decoder.layers.{config.decoder_layers - 1}.residuals.2.norm" if config.norm == "post" else None


def _in_rows(tensor: Tensor, vocabulary: NativeVocabulary) -> Tensor:
    """Reorder rows from our ids to Marian's."""
    kept = [(row, i) for i, row in enumerate(vocabulary.rows) if row != ADDED]
    return tensor.detach()[[i for _, i in sorted(kept)]]


def _output_bias(parameters: Mapping[str, Tensor], target: NativeVocabulary) -> Tensor:
    """Return the bias of the logits, [1, rows]."""
    ours = parameters.get("output.bias", torch.zeros(len(target.rows)))
    bias = _in_rows(ours, target).clone()
    bias[target.excluded] = _EXCLUDED_LOGIT
    return bias[None]
