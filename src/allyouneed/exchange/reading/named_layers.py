"""Parameters and settings of a `Transformer` from the tensors of a system that names its parts differently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.exchange.reading.imported_vocabulary import ImportedVocabulary
from allyouneed.exchange.reading.position_tables import find_sinusoids, reorder_units, sines_first
from allyouneed.exchange.reading.stored_weights import StoredWeights

_SIDES = ("encoder", "decoder")
_FINAL_NORMS = {(True, True): True, (False, False): False, (True, False): "encoder", (False, True): "decoder"}


class StackNames(NamedTuple):
    """Names of the encoder's or the decoder's tensors in another system.

    Attributes:
        layer: Prefix of a layer, with {} for its number.
        parts: Name of each part of a layer, by its name here.
        norm: Name of the final norm.
    """

    layer: str
    parts: Mapping[str, str]
    norm: str


def attention_names(name: str, other: str, linears: Sequence[str]) -> dict[str, str]:
    """Name the linear layers of an attention.

    Args:
        name: Name of the attention here.
        other: Its name in the other system.
        linears: The other system's names of query, key, value and output.
    """
    own = ("query", "key", "value", "output")
    return {f"{name}.{one}": f"{other}.{two}" for one, two in zip(own, linears, strict=True)}


@dataclass
class Stack:
    """The encoder or the decoder of another system's model.

    Attributes:
        parameters: Parameters of a `Transformer` by name.
        layers: Number of layers.
        final_norm: Whether there is a norm after the last layer.
    """

    parameters: dict[str, Tensor]
    layers: int
    final_norm: bool


@dataclass
class Embedded:
    """Embeddings of one side.

    Attributes:
        matrix: Rows in the order of the original vocabulary.
        positions: Position encodings [positions, d_model]; None for the paper's sinusoids.
        factor: What the embeddings are multiplied by before the positions are added.
    """

    matrix: Tensor
    positions: Tensor | None = None
    factor: float = 1.0


@dataclass
class Converted:
    """A converted model.

    Attributes:
        settings: Settings of the section `model`.
        parameters: Parameters of a `Transformer` by name.
    """

    settings: dict[str, Any]
    parameters: dict[str, Tensor] = field(default_factory=dict)


def read_stack(weights: StoredWeights, side: str, names: StackNames) -> Stack:
    """Read all layers of the encoder or the decoder.

    Args:
        weights: The model's tensors.
        side: "encoder" or "decoder".
        names: Their names.

    Raises:
        UserError: If a tensor is missing.
    """
    layers, parameters = weights.count_layers(names.layer), dict[str, Tensor]()
    for number in range(layers):
        for own, other in names.parts.items():
            parameters |= _read_part(weights, f"{side}.layers.{number}.{own}", f"{names.layer.format(number)}.{other}")
    final_norm = f"{names.norm}.weight" in weights
    parameters |= _read_part(weights, f"{side}.norm", names.norm) if final_norm else {}
    return Stack(parameters, layers, final_norm)


def _read_part(weights: StoredWeights, own: str, other: str) -> dict[str, Tensor]:
    parameters = {f"{own}.weight": weights.take(f"{other}.weight")}
    bias = weights.take_if_stored(f"{other}.bias")
    if bias is None and own.endswith("norm"):
        bias = torch.zeros(len(parameters[f"{own}.weight"]))
    return parameters if bias is None else {**parameters, f"{own}.bias": bias}


def convert(
    weights: StoredWeights,
    stacks: tuple[Stack, Stack],
    sides: tuple[Embedded, Embedded],
    output: tuple[Tensor | None, Tensor | None],
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary],
    norm: str,
) -> Converted:
    """Convert a model.

    Args:
        weights: Where the tensors come from; all have to be used.
        stacks: Encoder and decoder.
        sides: Embeddings of source and target.
        output: Weight and bias of the output projection; no weight if it is the target's embeddings.
        vocabularies: Of source and target.
        norm: "pre" or "post", the setting `model.norm`.

    Returns:
        Settings, without those that tensors do not show, such as heads and activation, and parameters.

    Raises:
        UserError: If tensors remain, or sizes do not match.
    """
    weights.check_all_used()
    d_model = sides[1].matrix.shape[-1]
    for side, vocabulary in zip(sides, vocabularies, strict=True):
        if side.matrix.dim() != 2 or len(side.matrix) != _rows(vocabulary) or side.matrix.shape[1] != d_model:
            raise UserError(
                f"{weights.path}: embeddings are {list(side.matrix.shape)}, but the vocabulary has {_rows(vocabulary)} "
                f"tokens, and the target's embeddings {d_model} columns. The files belong to different models."
            )
    converted = Converted({"d_model": d_model, "norm": norm})
    finals = stacks[0].final_norm, stacks[1].final_norm
    if finals != (norm == "pre", norm == "pre"):
        converted.settings["final_norm"] = _FINAL_NORMS[finals]
    for name, stack in zip(_SIDES, stacks, strict=True):
        converted.parameters |= stack.parameters
        converted.settings[f"{name}_layers"] = stack.layers
    _set_feed_forward(converted)
    _set_biases(converted)
    _set_embeddings(converted, sides, output, vocabularies, weights)
    return _with_positions(converted, sides)


def _rows(vocabulary: ImportedVocabulary) -> int:
    return len({row for row in vocabulary.rows if row is not None})


def _set_feed_forward(converted: Converted) -> None:
    sizes = [converted.parameters.get(f"{side}.layers.0.feed_forward.inner.weight") for side in _SIDES]
    for name, size in zip(("d_ff", "decoder_d_ff"), sizes, strict=True):
        if size is not None and len(size) != converted.settings.get("d_ff"):
            converted.settings[name] = len(size)


def _set_biases(converted: Converted) -> None:
    """Find which kinds of layers have biases, and add zeros where only some have them."""
    parameters = converted.parameters
    for setting, kind in (("attention_bias", "attention."), ("feed_forward_bias", ".feed_forward.")):
        names = [name for name in parameters if kind in name]
        converted.settings[setting] = has_bias = any(name.endswith(".bias") for name in names)
        for name in names if has_bias else ():
            if name.endswith(".weight"):
                parameters.setdefault(f"{name.removesuffix('weight')}bias", torch.zeros(len(parameters[name])))


def _set_embeddings(
    converted: Converted,
    sides: tuple[Embedded, Embedded],
    output: tuple[Tensor | None, Tensor | None],
    vocabularies: tuple[ImportedVocabulary, ImportedVocabulary],
    weights: StoredWeights,
) -> None:
    """Reorder the vocabularies, and find which matrices are shared. A factor that only the source has is applied."""
    settings, parameters = converted.settings, converted.parameters
    factors, root = [side.factor for side in sides], math.sqrt(settings["d_model"])
    settings["scale_embeddings"] = factors[1] == root
    source, target = (vocabulary.reorder(side.matrix) for vocabulary, side in zip(vocabularies, sides, strict=True))
    if factors[0] != factors[1]:
        source = source * (factors[0] / factors[1])
    weight, bias = output
    wrong_weight = weight is not None and weight.shape != sides[1].matrix.shape
    if wrong_weight or (bias is not None and len(bias) != len(sides[1].matrix)):
        raise UserError(f"{weights.path}: the output projection has another shape than the target's embeddings.")
    shared = vocabularies[0].vocabulary == vocabularies[1].vocabulary and torch.equal(source, target)
    tied = weight is None or torch.equal(weight, sides[1].matrix)
    ties = {(True, True): True, (True, False): "inputs", (False, True): "target", (False, False): False}
    settings |= {"tie_embeddings": ties[shared, tied], "output_bias": bias is not None}
    parameters["source_embedding.tokens.weight"] = source
    if not shared:
        parameters["target_embedding.tokens.weight"] = target
    if weight is not None and not tied:
        parameters["output.weight"] = vocabularies[1].reorder(weight)
    if bias is not None:
        parameters["output.bias"] = vocabularies[1].reorder(bias)


def _with_positions(converted: Converted, sides: tuple[Embedded, Embedded]) -> Converted:
    """Set sinusoids, or learned positions, and permute d_model if all sines come first."""
    settings = converted.settings
    tables = [side.positions for side in sides]
    if tables[0] is None or tables[1] is None:
        return converted
    kinds = [find_sinusoids(table) for table in tables if table is not None]
    kind = kinds[0]
    if kind is not None and kind == kinds[1]:
        settings |= {"sinusoid_frequencies": kind.frequencies, "first_position": kind.first}
        if kind.halves:
            converted.parameters = reorder_units(converted.parameters, sines_first(settings["d_model"]))
        return converted
    settings |= {"positions": "learned", "max_positions": min(len(table) for table in tables if table is not None)}
    for name, table in zip(("source", "target"), tables, strict=True):
        if table is not None:
            converted.parameters[f"{name}_embedding.positions"] = table[: settings["max_positions"]]
    return converted
