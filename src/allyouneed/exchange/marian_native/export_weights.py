"""Conversion of weights to Marian's `--type transformer-new`, which holds every kind of positions.

- Embeddings are stored scaled by √d_model, since Marian does not scale them here. Where the output projection shares
  their matrix, the norm before it is divided by √d_model.
- The decoder starts from a zero embedding, so its first position includes the embedding of our start token.
- Tokens that our search never generates get a bias of -10,000, which acts as minus infinity.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    scale = model.target_embedding.scale
    if config.tie_embeddings is not False:
        for part in ("weight", "bias"):
            name = f"{_last_norm(config)}.{part}"
            parameters[name] = parameters[name] / scale
    tensors = {}
    for name, theirs in new_layer_tensors(config).items():
        tensors[theirs] = parameters[name].T if parameters[name].dim() == 2 else parameters[name]
    for side, embedding in (("encoder", model.source_embedding), ("decoder", model.target_embedding)):
        table = embedding.position_encodings(0, positions).detach().clone()
        if side == "decoder":
            table[0] += embedding.tokens.weight[BOS].detach() * scale
        tensors[positions_name(side)] = table
    for name, native in embedding_tensors(config, shared_sides=config.tie_embeddings is True).items():
        vocabulary = source if name.startswith("source") else target
        if native.kind == "table":
            factor = 1.0 if name == "output.weight" else scale
            tensors[native.name] = _in_rows(parameters[name], vocabulary) * factor
    if "output.bias" in parameters or target.excluded:
        tensors[OUTPUT_BIAS] = _output_bias(parameters, target)
    return tensors


def _last_norm(config: ModelConfig) -> str:
    """Return the norm whose result is projected to logits."""
    return "decoder.norm" if config.norm == "pre" else f"decoder.layers.{config.decoder_layers - 1}.residuals.2.norm"


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
