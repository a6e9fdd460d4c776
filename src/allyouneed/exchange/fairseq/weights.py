"""Weights of a fairseq Transformer, of any version of its checkpoints.

- Sinusoids have tensor2tensor's frequencies, all sines first; positions are counted from the padding index + 1 = 2.
- The decoder starts from the embedding of the end token `</s>`.
- The encoder of versions before 2 and the decoder of versions before 3 had no norm after the last layer.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.exchange.fairseq.settings import Settings
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary
from allyouneed.exchange.reading.named_layers import (
    Converted,
    Embedded,
    Stack,
    StackNames,
    attention_names,
    convert,
    read_stack,
)
from allyouneed.exchange.reading.position_tables import Sinusoids
from allyouneed.exchange.reading.stored_weights import StoredWeights

_FIRST = 2  # the position of the first token
_MOST_COMPUTED = 4096  # positions of tables that the file does not have
_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "gelu_accurate": "gelu_tanh", "gelu_fast": "gelu_tanh"}
_LINEARS = ("q_proj", "k_proj", "v_proj", "out_proj")
_SELF = attention_names("self_attention", "self_attn", _LINEARS)
_CROSS = attention_names("cross_attention", "encoder_attn", _LINEARS)
_FEED_FORWARD = {"feed_forward.inner": "fc1", "feed_forward.outer": "fc2"}
_NAMES = {
    "encoder": StackNames(
        "encoder.layers.{}",
        {
            **_SELF,
            **_FEED_FORWARD,
            "residuals.0.norm": "self_attn_layer_norm",
            "residuals.1.norm": "final_layer_norm",
        },
        "encoder.layer_norm",
    ),
    "decoder": StackNames(
        "decoder.layers.{}",
        {
            **_SELF,
            **_CROSS,
            **_FEED_FORWARD,
            "residuals.0.norm": "self_attn_layer_norm",
            "residuals.1.norm": "encoder_attn_layer_norm",
            "residuals.2.norm": "final_layer_norm",
        },
        "decoder.layer_norm",
    ),
}
_OLD_NORMS = {
    "encoder": ("self_attn_layer_norm", "final_layer_norm"),
    "decoder": ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
}
_NORMALISED_SINCE = {"encoder": 2, "decoder": 3}
# Sinusoids and flags that old versions stored; the version is read before
_WITHOUT_WEIGHTS = re.compile(r"(en|de)coder\.(version|embed_positions\.(_float_tensor|weights)|_future_mask)")


def convert_weights(
    settings: Settings,
    tensors: Mapping[str, Tensor],
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary],
) -> Converted:
    """Convert the tensors of a checkpoint.

    Args:
        settings: Its settings.
        tensors: Its tensors.
        vocabularies: Of source and target.

    Returns:
        Settings and parameters of a `Transformer`.

    Raises:
        UserError: If a setting is not supported, or tensors are missing, left over, or of another size.
    """
    upgraded = _upgraded(tensors)
    for name in _NAMES:
        upgraded = _with_kept_layers(upgraded, name, settings)
    _check_versions(settings, tensors, upgraded)
    is_shared = settings.is_set("share_all_embeddings") or settings.is_set("merge_src_tgt_embed")
    is_tied = is_shared or settings.is_set("share_decoder_input_output_embed")
    if is_tied:
        _drop_copy(settings, upgraded, "decoder.output_projection.weight", "decoder.embed_tokens.weight")
    if is_shared:
        _check_equal(settings, upgraded, "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    weights = StoredWeights(settings.path, upgraded)
    stacks = _stack(weights, settings, "encoder"), _stack(weights, settings, "decoder")
    sides = _embedded(weights, settings, "encoder"), _embedded(weights, settings, "decoder")
    output = None if is_tied else weights.take("decoder.output_projection.weight")
    norm = "pre" if settings.is_set("encoder_normalize_before") else "post"
    has_embedding_norm = settings.is_set("layernorm_embedding")
    if has_embedding_norm:
        for stack, own, other in zip(stacks, ("source", "target"), _NAMES, strict=True):
            for kind in ("weight", "bias"):
                norm_weights = weights.take(f"{other}.layernorm_embedding.{kind}")
                stack.parameters[f"{own}_embedding.norm.{kind}"] = norm_weights
    converted = convert(weights, stacks, sides, (output, None), vocabularies, norm)
    converted.settings |= _other_settings(settings, has_embedding_norm)
    return converted


def _other_settings(settings: Settings, has_embedding_norm: bool) -> dict[str, Any]:
    activation = str(settings.get("activation_fn"))[:80]
    if activation not in _ACTIVATIONS:
        raise UserError(
            f"{settings.path}: activation_fn = {activation} is not supported, only {', '.join(_ACTIVATIONS)}. It "
            "cannot be imported."
        )
    heads = [settings.integer(f"{side}_attention_heads") for side in _NAMES]
    dropout = settings.get("dropout")
    return {
        "num_heads": heads[0],
        **({"decoder_heads": heads[1]} if heads[1] != heads[0] else {}),
        "activation": _ACTIVATIONS[activation],
        "embedding_norm": has_embedding_norm,
        "dropout": float(dropout) if isinstance(dropout, float | int) and 0 <= dropout < 1 else 0.1,
    }


def _upgraded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename what older versions of fairseq named differently, and drop what has no weights."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _WITHOUT_WEIGHTS.fullmatch(name):
            continue
        if match := re.fullmatch(r"((en|de)coder\.layers\.\d+\.)layer_norms\.(\d)\.(weight|bias)", name):
            norms = _OLD_NORMS["encoder" if match[2] == "en" else "decoder"]
            number = int(match[3])
            name = f"{match[1]}{norms[number]}.{match[4]}" if number < len(norms) else name
        if match := re.fullmatch(r"(.*)in_proj_(weight|bias)", name):  # query, key and value in one matrix
            for linear, part in zip(_LINEARS[:3], tensor.chunk(3), strict=False):
                found[f"{match[1]}{linear}.{match[2]}"] = part
            continue
        found["decoder.output_projection.weight" if name == "decoder.embed_out" else name] = tensor
    return found


def _with_kept_layers(tensors: dict[str, Tensor], side: str, settings: Settings) -> dict[str, Tensor]:
    """Leave out the layers that a model with LayerDrop was pruned of, and number the others from 0."""
    kept = settings.kept_layers(side)
    if kept is None:
        return tensors
    numbers = {str(old): str(new) for new, old in enumerate(kept)}
    found = {}
    for name, tensor in tensors.items():
        match = re.match(rf"{side}\.layers\.(\d+)\.", name)
        if match is None:
            found[name] = tensor
        elif match[1] in numbers:
            found[f"{side}.layers.{numbers[match[1]]}.{name[match.end() :]}"] = tensor
    return found


def _check_versions(settings: Settings, tensors: Mapping[str, Tensor], upgraded: Mapping[str, Tensor]) -> None:
    """Check that the norms after the last layers are those of the settings and the version."""
    for side, since in _NORMALISED_SINCE.items():
        version = tensors.get(f"{side}.version")
        number = 1.0 if version is None or version.numel() != 1 else float(version.item())
        wanted = settings.is_set(f"{side}_normalize_before") and number >= since
        if side == "decoder" and settings.is_set("no_decoder_final_norm"):
            wanted = False
        if wanted != (f"{side}.layer_norm.weight" in upgraded):
            raise UserError(
                f"{settings.path}: {side}.layer_norm.weight is {'missing' if wanted else 'not expected'} with "
                f"{side}_normalize_before = {settings.get(f'{side}_normalize_before')} and version {number:g} of the "
                f"{side}. Get the file again."
            )


def _stack(weights: StoredWeights, settings: Settings, side: str) -> Stack:
    stack = read_stack(weights, side, _NAMES[side])
    kept = settings.kept_layers(side)
    wanted = settings.integer(f"{side}_layers") if kept is None else len(kept)
    if stack.layers != wanted:
        raise UserError(
            f"{weights.path}: {side}_layers = {wanted}, but the file has {stack.layers} consecutive layers. Get the "
            "file again."
        )
    return stack


def _embedded(weights: StoredWeights, settings: Settings, side: str) -> Embedded:
    """Read the embeddings of one side; without positions, they are learned ones that are zero."""
    matrix = weights.take(f"{side}.embed_tokens.weight")
    d_model = matrix.shape[-1]
    factor = 1.0 if settings.is_set("no_scale_embedding") else math.sqrt(d_model)
    length = settings.integer("max_source_positions" if side == "encoder" else "max_target_positions")
    length = min(length, _MOST_COMPUTED)
    if settings.is_set("no_token_positional_embeddings"):
        return Embedded(matrix, torch.zeros(length, d_model), factor)
    if settings.is_set(f"{side}_learned_pos"):
        return Embedded(matrix, weights.take(f"{side}.embed_positions.weight")[_FIRST:], factor)
    if d_model % 2:
        raise UserError(f"{weights.path}: {side}_embed_dim = {d_model} is odd, which sinusoids here cannot be.")
    return Embedded(matrix, Sinusoids("tensor2tensor", _FIRST, True).table(length, d_model), factor)


def _drop_copy(settings: Settings, tensors: dict[str, Tensor], copy: str, original: str) -> None:
    if copy in tensors:
        _check_equal(settings, tensors, copy, original)
        del tensors[copy]


def _check_equal(settings: Settings, tensors: Mapping[str, Tensor], one: str, other: str) -> None:
    if one in tensors and other in tensors and not torch.equal(tensors[one], tensors[other]):
        raise UserError(f"{settings.path}: {one} and {other} differ, but the settings share them. Get the file again.")
