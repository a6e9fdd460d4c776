"""Conversion of Marian's tensors to parameters of a `Transformer`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from allyouneed.config import ModelConfig
from allyouneed.data.tokens.vocabulary import ADDED, Vocabulary
from allyouneed.errors import UserError
from allyouneed.exchange.marian_native.model_settings import NativeSettings
from allyouneed.exchange.marian_native.names import (
    UNTRANSPOSED_OUTPUT,
    NativeTensor,
    embedding_tensors,
    from_native,
    layer_tensors,
    native_units,
)
from allyouneed.exchange.marian_native.new_names import new_layer_tensors, positions_name

_IRRELEVANT = re.compile(r".*_QuantMultA")  # scales of activations, for products of integers
_DECODER_LAYER = re.compile(r"decoder_l(\d+)_")
_NEW_LAYER = re.compile(r"(TransformerBatchDecoder->decoder->layers->at\()(\d+)\)")
_OUTPUT = "output.weight"
_REMEDY = "The file is damaged, or of another architecture than its settings state."


def from_native_tensors(
    tensors: Mapping[str, np.ndarray],
    config: ModelConfig,
    settings: NativeSettings,
    sides: Sequence[Vocabulary],
    name: str,
) -> dict[str, Tensor]:
    """Convert all tensors of a model.

    Args:
        tensors: Marian's tensors by name.
        config: Settings of our model.
        settings: Settings of Marian's model.
        sides: Vocabularies of source and target.
        name: Name of the file, for messages.

    Returns:
        Parameters by name.

    Raises:
        UserError: If a tensor is missing, has another shape than the settings state, or is not known.
    """
    remaining = dict(tensors)
    units = native_units(config.d_model) if config.positions == "sinusoidal" else torch.arange(config.d_model)
    parameters: dict[str, Tensor] = {}
    for parameter, tensor in _named_layers(config, settings).items():
        native = _tied(tensor.name, settings)
        values = _omitted(parameter, config, settings) if native not in tensors else tensors[native]
        remaining.pop(native, None)
        parameters[parameter] = _converted(values, native, tensor, units, name)
    for parameter, tensor in embedding_tensors(config, settings.shared_sides).items():
        side = 0 if parameter.startswith("source") else 1
        native, values = tensor.name, tensors.get(tensor.name)
        if parameter == _OUTPUT and UNTRANSPOSED_OUTPUT in tensors:
            native, values = UNTRANSPOSED_OUTPUT, tensors[UNTRANSPOSED_OUTPUT].T
        remaining.pop(native, None)
        converted = _converted(values, native, tensor, units, name)
        if len(converted) != settings.rows[side]:
            raise UserError(f"{name}: {native} has {len(converted)} rows, dim-vocabs {settings.rows[side]}. {_REMEDY}")
        parameters[parameter] = _with_our_rows(converted, sides[side])
    _refuse_unknown(remaining, name)
    return parameters


def _named_layers(config: ModelConfig, settings: NativeSettings) -> dict[str, NativeTensor]:
    """Return Marian's tensor for every parameter besides embeddings and output projection."""
    tensors = layer_tensors(config)
    if settings.is_new:
        new = new_layer_tensors(config)
        tensors = {parameter: replace(tensor, name=new[parameter]) for parameter, tensor in tensors.items()}
    if config.positions == "learned":
        for ours, side in (("source", "encoder"), ("target", "decoder")):
            tensors[f"{ours}_embedding.positions"] = NativeTensor(positions_name(side), "table", 1)
    return tensors


def _tied(native: str, settings: NativeSettings) -> str:
    """Return the name of the tensor that a decoder layer takes from the layer it is tied to."""
    native = _NEW_LAYER.sub(lambda match: f"{match[1]}{settings.decoder_layers[int(match[2])] - 1})", native)
    return _DECODER_LAYER.sub(lambda match: f"decoder_l{settings.decoder_layers[int(match[1]) - 1]}_", native)


def _omitted(parameter: str, config: ModelConfig, settings: NativeSettings) -> np.ndarray | None:
    """Return the values of a parameter that the model's options leave out, in Marian's layout."""
    is_weight = parameter.endswith("weight")
    if not settings.has_projection and "attention.output." in parameter:
        return np.eye(config.d_model, dtype=np.float32) if is_weight else np.zeros(config.d_model, dtype=np.float32)
    if not settings.has_affine_norms and ".residuals." in parameter:
        return np.full(config.d_model, 1.0 if is_weight else 0.0, dtype=np.float32)
    return None


def _converted(values: np.ndarray | None, native: str, tensor: NativeTensor, units: Tensor, name: str) -> Tensor:
    if values is None:
        raise UserError(f"{name}: has no tensor {native}. {_REMEDY}")
    ours = torch.from_numpy(np.array(values, dtype=np.float32))
    if tensor.kind == "vector":
        fits = tensor.model_axis is None or ours.numel() == len(units)
    else:
        axis = tensor.model_axis if tensor.kind == "table" else 1 - (tensor.model_axis or 0)
        fits = ours.dim() == 2 and ours.shape[axis or 0] == len(units)
    if not fits:
        raise UserError(
            f"{name}: {native} is {list(values.shape)}, which does not fit dim-emb = {len(units)}. {_REMEDY}"
        )
    return from_native(ours, tensor, units)


def _with_our_rows(values: Tensor, vocabulary: Vocabulary) -> Tensor:
    """Reorder rows from Marian's to ours; padding and start get zeros, since Marian's decoder starts from zeros."""
    rows = torch.tensor(vocabulary.rows)
    return torch.where((rows == ADDED).view(-1, *(1,) * (values.dim() - 1)), 0.0, values[rows.clamp(min=0)])


def _refuse_unknown(remaining: Mapping[str, np.ndarray], name: str) -> None:
    unknown = sorted(native for native in remaining if not _IRRELEVANT.fullmatch(native))
    if unknown:
        listed = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise UserError(f"{name}: has tensors that are not known and could matter: {listed}. It is not imported.")
