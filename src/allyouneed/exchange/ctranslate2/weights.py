"""Settings and parameters of a `Transformer` from the two sides of a CTranslate2 model.

What CTranslate2 has as factors (of attention scores, of embeddings, of the decoder's output) becomes part of the
weights, and heads padded with zeros, as this package's export writes them, get their width back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2.layers import Attention, Layer, Linear, Norm, Side, read_linear
from allyouneed.exchange.ctranslate2.model_file import Variables
from allyouneed.exchange.ctranslate2.vocabulary import Side as Vocabularies
from allyouneed.exchange.reading.position_tables import Sinusoids, find_sinusoids, reorder_units, sines_first
from allyouneed.translation.search import NEVER_GENERATED

_EXCLUDED_BIAS = -5e3  # a bias of a special token below this only excludes it from translations
_OWN_SINUSOIDS = Sinusoids("tensor2tensor", 1, True)  # of CTranslate2, see layers/common.cc
_NAMES = ("query", "key", "value")


def read_output(variables: Variables, decoder: Side) -> Linear:
    """Read the projection to the logits, with the factor of the decoder's output that some models have.

    Raises:
        UserError: If it is missing or has another shape.
    """
    output = read_linear(variables, "decoder/projection", decoder.embeddings.shape[1], len(decoder.embeddings))
    scale = variables.number("decoder/scale_outputs", 1)
    return output if scale == 1 else Linear(output.weight * scale, output.bias)


def convert(
    sides: tuple[Side, Side], output: Linear, vocabularies: tuple[Vocabularies, Vocabularies], variables: Variables
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a model.

    Args:
        sides: Encoder and decoder.
        output: Projection to the logits.
        vocabularies: Vocabularies of source and target.
        variables: The model's variables, for messages.

    Returns:
        Settings of the section `model`, and parameters of the `Transformer` by name.

    Raises:
        UserError: If encoder and decoder differ in what a `Transformer` has only once.
    """
    encoder, decoder = sides
    _check_sides(encoder, decoder, variables)
    settings, d_k, d_v = _sizes(encoder, decoder, variables)
    parameters: dict[str, Tensor] = {}
    for name, side in (("encoder", encoder), ("decoder", decoder)):
        for n, layer in enumerate(side.layers):
            parameters |= _layer(f"{name}.layers.{n}", layer, d_k, d_v, settings)
        if side.final_norm:
            parameters |= _norm(f"{name}.norm", side.final_norm)
    parameters |= _embeddings(sides, output, vocabularies, settings)
    order = _positions(sides, settings, parameters)
    return settings, parameters if order is None else reorder_units(parameters, order)


def _check_sides(encoder: Side, decoder: Side, variables: Variables) -> None:
    facts: dict[str, list[object]] = {
        "d_model": [side.embeddings.shape[1] for side in (encoder, decoder)],
        "pre_norm": [side.norm == "pre" for side in (encoder, decoder)],
        "activation": [side.activation for side in (encoder, decoder)],
        "layernorm_embedding": [side.embedding_norm is not None for side in (encoder, decoder)],
    }
    for name, (one, other) in facts.items():
        if one != other:
            raise UserError(
                f"{variables.path}: {name} is {one} in the encoder and {other} in the decoder. This package's "
                "Transformer has one value for both; the model cannot be imported."
            )


def _sizes(encoder: Side, decoder: Side, variables: Variables) -> tuple[dict[str, Any], int, int]:
    """Return settings, and d_k and d_v, which are 0 if they are d_model / heads in each stack."""
    d_model = encoder.embeddings.shape[1]
    attentions = [each for side in (encoder, decoder) for layer in side.layers for each in layer.attentions]
    inner_sizes = [{len(layer.feed_forward[0].weight) for layer in side.layers} for side in (encoder, decoder)]
    d_k, d_v = _key_width(attentions), _value_width(attentions)
    is_usual = all(each.width * each.heads == d_model for each in attentions)
    if any(len(sizes) > 1 for sizes in inner_sizes) or not (is_usual or (d_k and d_v)):
        raise UserError(
            f"{variables.path}: layers have feed-forward networks or heads of different widths. This package's "
            "Transformer has one width for all; the model cannot be imported."
        )
    biased = [linear for each in attentions for linear in (*each.inner, each.output)]
    networks = [linear for side in (encoder, decoder) for layer in side.layers for linear in layer.feed_forward]
    finals = encoder.final_norm is not None, decoder.final_norm is not None
    names = {(True, True): True, (False, False): False, (True, False): "encoder", (False, True): "decoder"}
    settings: dict[str, Any] = {
        "d_model": d_model,
        "d_ff": min(inner_sizes[0]),
        "num_heads": encoder.heads,
        "encoder_layers": len(encoder.layers),
        "decoder_layers": len(decoder.layers),
        "norm": encoder.norm,
        "activation": encoder.activation,
        "attention_bias": any(linear.bias is not None for linear in biased),
        "feed_forward_bias": any(linear.bias is not None for linear in networks),
        "embedding_norm": encoder.embedding_norm is not None,
    }
    optional = {
        "decoder_d_ff": (min(inner_sizes[1]), inner_sizes[0] != inner_sizes[1]),
        "decoder_heads": (decoder.heads, decoder.heads != encoder.heads),
        "final_norm": (names[finals], set(finals) != {encoder.norm == "pre"}),
        "d_k": (d_k, d_k and any(d_k * each.heads != d_model for each in attentions)),
        "d_v": (d_v, d_v and any(d_v * each.heads != d_model for each in attentions)),
    }
    return settings | {name: value for name, (value, is_needed) in optional.items() if is_needed}, d_k, d_v


def _key_width(attentions: list[Attention]) -> int:
    """Return d_k if all heads have the same: by their rows, or by their scale 1 / √d_k with zeros in further rows."""
    widths, scales = {each.width for each in attentions}, {each.scale for each in attentions}
    if len(scales) == 1 and (scale := min(scales)) > 0:
        found = round(scale**-2)
        used = max(_used(linear, each.heads) for each in attentions for linear in each.inner[:2])
        if used <= found <= min(widths) and math.isclose(scale, found**-0.5, rel_tol=1e-6):
            return found
    return min(widths) if len(widths) == 1 else 0


def _value_width(attentions: list[Attention]) -> int:
    """Return d_v if all heads have the same, without rows that are zeros everywhere."""
    used = [_used(linear, each.heads) for each in attentions for linear in (each.inner[2], _columns(each.output))]
    return max(used) if 0 < max(used) <= min(each.width for each in attentions) else 0


def _columns(linear: Linear) -> Linear:
    return Linear(linear.weight.T, None)


def _used(linear: Linear, heads: int) -> int:
    """Return the number of rows of a head up to the last one that is not zero in all heads."""
    nonzero = (linear.weight != 0).any(1)
    if linear.bias is not None:
        nonzero = nonzero | (linear.bias != 0)
    used = nonzero.view(heads, -1).any(0).nonzero()
    return int(used.max()) + 1 if len(used) else 0


def _layer(prefix: str, layer: Layer, d_k: int, d_v: int, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    parameters: dict[str, Tensor] = {}
    for kind, attention in zip(("self_attention", "cross_attention"), layer.attentions, strict=False):
        parameters |= _attention(f"{prefix}.{kind}", attention, (d_k, d_v), settings["attention_bias"])
    for name, linear in zip(("inner", "outer"), layer.feed_forward, strict=True):
        parameters |= _linear(f"{prefix}.feed_forward.{name}", linear, settings["feed_forward_bias"])
    for i, norm in enumerate(layer.norms):
        parameters |= _norm(f"{prefix}.residuals.{i}.norm", norm)
    return parameters


def _attention(prefix: str, attention: Attention, sizes: tuple[int, int], has_bias: bool) -> dict[str, Tensor]:
    heads, (d_k, d_v) = attention.heads, [size or attention.width for size in sizes]
    factor = attention.scale * math.sqrt(d_k)
    parameters: dict[str, Tensor] = {}
    for name, linear, width in zip(_NAMES, attention.inner, (d_k, d_k, d_v), strict=True):
        weight = _narrowed(linear.weight, heads, width)
        bias = None if linear.bias is None else _narrowed(linear.bias, heads, width)
        if name == "query" and not math.isclose(factor, 1, rel_tol=1e-6):
            weight, bias = weight * factor, None if bias is None else bias * factor
        parameters |= _linear(f"{prefix}.{name}", Linear(weight, bias), has_bias)
    output = Linear(_narrowed(attention.output.weight.T, heads, d_v).T, attention.output.bias)
    return parameters | _linear(f"{prefix}.output", output, has_bias)


def _narrowed(rows: Tensor, heads: int, width: int) -> Tensor:
    """Keep the first `width` rows of every head."""
    return rows.unflatten(0, (heads, -1))[:, :width].flatten(0, 1)


def _linear(prefix: str, linear: Linear, has_bias: bool) -> dict[str, Tensor]:
    parameters = {f"{prefix}.weight": linear.weight}
    if has_bias:
        parameters[f"{prefix}.bias"] = torch.zeros(len(linear.weight)) if linear.bias is None else linear.bias
    return parameters


def _norm(prefix: str, norm: Norm) -> dict[str, Tensor]:
    return {f"{prefix}.weight": norm.weight, f"{prefix}.bias": norm.bias}


def _embeddings(
    sides: tuple[Side, Side], output: Linear, vocabularies: tuple[Vocabularies, Vocabularies], settings: dict[str, Any]
) -> dict[str, Tensor]:
    """Convert the embeddings and the output projection, with the settings of their factor and of shared matrices."""
    root = math.sqrt(settings["d_model"])
    settings["scale_embeddings"] = any(math.isclose(side.scale, root, rel_tol=1e-6) for side in sides)
    matrices = []
    for side, vocabulary in zip(sides, vocabularies, strict=True):
        factor = side.scale / (root if settings["scale_embeddings"] else 1)
        exact = math.isclose(factor, 1, rel_tol=1e-6)
        matrices.append(vocabulary.reordered(side.embeddings if exact else side.embeddings * factor))
    source, target = matrices
    weight = vocabularies[1].reordered(output.weight)
    bias = None if output.bias is None else vocabularies[1].reordered(output.bias)
    if bias is not None:
        specials = bias[NEVER_GENERATED]
        bias[NEVER_GENERATED] = torch.where(specials < _EXCLUDED_BIAS, 0, specials)
    if not torch.equal(weight, target):  # rows of tokens that are never generated may differ: they are not used
        copied = weight.clone()
        copied[NEVER_GENERATED] = target[NEVER_GENERATED]
        weight = copied if torch.equal(copied, target) else weight
    shared = vocabularies[0].vocabulary == vocabularies[1].vocabulary and torch.equal(source, target)
    tied = torch.equal(weight, target)
    settings["tie_embeddings"] = {(True, True): True, (True, False): "inputs", (False, True): "target"}.get(
        (shared, tied), False
    )
    settings["output_bias"] = bias is not None and bool(bias.any())
    parameters = {"source_embedding.tokens.weight": source}
    parameters |= {} if shared else {"target_embedding.tokens.weight": target}
    parameters |= {} if tied else {"output.weight": weight}
    parameters |= {"output.bias": bias} if bias is not None and settings["output_bias"] else {}
    for name, side in zip(("source", "target"), sides, strict=True):
        if side.embedding_norm:
            parameters |= _norm(f"{name}_embedding.norm", side.embedding_norm)
    return parameters


def _positions(sides: tuple[Side, Side], settings: dict[str, Any], parameters: dict[str, Tensor]) -> Tensor | None:
    """Set sinusoids or learned positions; the result is a new order of units, if that is needed."""
    d_model = settings["d_model"]
    stored = [side.positions for side in sides]
    kind, other = (_OWN_SINUSOIDS if table is None else find_sinusoids(table) for table in stored)
    if kind is not None and kind == other:
        settings |= {"positions": "sinusoidal"}
        settings |= {"sinusoid_frequencies": kind.frequencies, "first_position": kind.first}
        return sines_first(d_model) if kind.halves else None
    length = min(len(table) for table in stored if table is not None)
    tables = [_OWN_SINUSOIDS.table(length, d_model) if table is None else table for table in stored]
    settings |= {"positions": "learned", "max_positions": length}
    for name, table in zip(("source", "target"), tables, strict=True):
        parameters[f"{name}_embedding.positions"] = table[:length]
    return None
