"""Conversion of weights to Marian's two kinds of Transformer.

`--type transformer` holds models as it trains them: post-norm, tensor2tensor's sinusoids from position 0, embeddings
scaled by √d_model and a decoder that starts from zeros. Its pre-norm is not used: its search does not normalise keys
and values of earlier tokens. `--type transformer-new` has a table of positions for each side and holds the others:

- Embeddings are stored scaled by √d_model, since Marian does not scale them here. Where the output projection shares
  their matrix, the norm before it is divided by √d_model; without such a norm, the projection gets a matrix of its own.
- The decoder starts from a zero embedding, so its first position includes the embedding of our start token.
- Tokens that our search never generates get a bias of -10,000, which acts as minus infinity.
- Norms add 1e-5 to the variance. For another ε, the residual stream is scaled by √(1e-5 / ε) between the norms.
- x · sigmoid(1.702 x) is Marian's swish of 1.702 x, divided by 1.702.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from allyouneed.bundle import Bundle, weights_of
from allyouneed.config import ModelConfig
from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.data.tokens.vocabulary import ADDED
from allyouneed.exchange.hugging_face.weights import with_marian_heads
from allyouneed.exchange.marian_native.names import (
    NORM_EPSILON,
    OUTPUT_BIAS,
    embedding_tensors,
    layer_tensors,
    native_units,
    to_native,
)
from allyouneed.exchange.marian_native.new_names import NORM_EPSILON as NEW_EPSILON
from allyouneed.exchange.marian_native.new_names import new_layer_tensors, positions_name
from allyouneed.exchange.marian_native.vocabularies import NativeVocabulary

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
    parameters = {**_marian_parameters(bundle), "output.weight": model.output.weight}
    stream = _with_epsilon(parameters, config)
    scale = model.target_embedding.scale * stream
    if shares_output(config) and (norm := _last_norm(config)):
        _scale(parameters, [f"{norm}.weight", f"{norm}.bias"], 1 / scale)
    tensors = {}
    for name, theirs in new_layer_tensors(config).items():
        tensors[theirs] = parameters[name].T if parameters[name].dim() == 2 else parameters[name]
    for side, embedding in (("encoder", model.source_embedding), ("decoder", model.target_embedding)):
        table = embedding.position_encodings(0, positions).detach() * stream
        if side == "decoder":
            table[0] += embedding.tokens.weight[BOS].detach() * scale
        tensors[positions_name(side)] = table
    for name, native in embedding_tensors(marian_config(config), config.tie_embeddings in (True, "inputs")).items():
        vocabulary = source if name.startswith("source") else target
        if native.kind == "table":
            factor = 1.0 if name == "output.weight" else scale
            tensors[native.name] = _in_rows(parameters[name], vocabulary) * factor
    return tensors | _output_bias(parameters, target)


def is_plain(bundle: Bundle) -> bool:
    """Return whether `--type transformer` computes the model."""
    config = bundle.config.model
    return (
        config.norm == "post"
        and (config.positions, config.sinusoid_frequencies) == ("sinusoidal", "tensor2tensor")
        and config.first_position == 0
        and config.scale_embeddings
        and config.norm_epsilon == NORM_EPSILON
        and not bundle.model.target_embedding.tokens.weight[BOS].any()
    )


def to_transformer(bundle: Bundle, source: NativeVocabulary, target: NativeVocabulary) -> dict[str, Tensor]:
    """Convert the weights of a bundle that `is_plain` to `--type transformer`.

    Args:
        bundle: The bundle.
        source: Vocabulary of the encoder.
        target: Vocabulary of the decoder.

    Returns:
        Marian's tensors by name.

    Raises:
        UserError: If the heads are wider than Marian's.
    """
    config, units = bundle.config.model, native_units(bundle.config.model.d_model)
    parameters = _marian_parameters(bundle)
    tensors = {}
    for name, native in layer_tensors(config.model_copy(update={"attention_bias": True})).items():
        tensors[native.name] = to_native(parameters[name], native, units)
    for name, native in embedding_tensors(config, config.tie_embeddings in (True, "inputs")).items():
        if native.kind == "table":
            values = _in_rows(parameters[name], source if name.startswith("source") else target)
            tensors[native.name] = to_native(values, native, units)
    return tensors | _output_bias(parameters, target)


def _marian_parameters(bundle: Bundle) -> dict[str, Tensor]:
    """Return the parameters with Marian's heads, biases and activation."""
    parameters = with_marian_heads(weights_of(bundle.model), bundle.config.model)
    if bundle.config.model.activation == "gelu_sigmoid":
        _scale(parameters, ["inner.weight", "inner.bias"], 1.702)
        _scale(parameters, ["outer.weight"], 1 / 1.702)
    return parameters


def shares_output(config: ModelConfig) -> bool:
    """Return whether the exported model's output projection shares the matrix of the target embedding."""
    return config.tie_embeddings in (True, "target") and _last_norm(config) is not None


def marian_config(config: ModelConfig) -> ModelConfig:
    """Return the settings with the matrices that Marian shares."""
    if shares_output(config) or config.tie_embeddings in (False, "inputs"):
        return config
    return config.model_copy(update={"tie_embeddings": "inputs" if config.tie_embeddings is True else False})


def _with_epsilon(parameters: dict[str, Tensor], config: ModelConfig) -> float:
    """Scale the residual stream so that Marian's ε has the effect of ours.

    A norm of s · x with ε equals that of x with ε / s². Embeddings and positions are left to the caller.

    Returns:
        The factor s.
    """
    stream, last = math.sqrt(NEW_EPSILON / config.norm_epsilon), _last_norm(config)
    if stream == 1:
        return 1.0
    written = ["attention.output", "feed_forward.outer", "embedding.norm"]
    read = []  # by products without a norm before them
    if config.norm == "post":
        written += [f"residuals.{index}.norm" for index in range(3)]
        read += [f"self_attention.{linear}" for linear in ("query", "key", "value")]
        read += ["cross_attention.query", "feed_forward.inner"]
    if not config.has_final_norm("encoder"):
        read += ["cross_attention.key", "cross_attention.value"]
    if last is None:
        parameters["output.weight"] = parameters["output.weight"].detach() / stream
    for name in list(parameters):
        owner = name.rpartition(".")[0]
        if owner.endswith(tuple(written)) and owner != last:
            parameters[name] = parameters[name].detach() * stream
        elif name.endswith(".weight") and owner.endswith(tuple(read)):
            parameters[name] = parameters[name].detach() / stream
    return stream


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


def _output_bias(parameters: Mapping[str, Tensor], target: NativeVocabulary) -> dict[str, Tensor]:
    """Return the bias of the logits, [1, rows], by name, if there is one."""
    if "output.bias" not in parameters and not target.excluded:
        return {}
    ours = parameters.get("output.bias", torch.zeros(len(target.rows)))
    bias = _in_rows(ours, target).clone()
    bias[target.excluded] = _EXCLUDED_LOGIT
    return {OUTPUT_BIAS: bias[None]}
