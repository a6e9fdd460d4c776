"""Training options inside a Marian model, as settings of our model; what has no equivalent is refused.

Marian has two implementations. `--type transformer` ignores the options for trained positions, biases and norms without
parameters, and `--type transformer-new` the one for output projections of attention.
Source: `models/encoder_decoder.cpp` (the options that a model contains), `models/transformer.h` and
`layers_new/transformer.h` of marian-dev 1.12.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from allyouneed.errors import UserError
from allyouneed.exchange.marian_native import names, new_names

_TRANSFORMER, _NEW = "transformer", "transformer-new"
_POSITIONS = "transformer-train-position-embeddings"
_ACTIVATIONS = {"relu": "relu", "swish": "swish", "gelu": "gelu"}
_VERSION = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_EXACT_GELU = (1, 12, 3)  # first version that computes GELU by erf; earlier ones compute x · sigmoid(1.702 x)
_PRE_NORM_KEYS = (1, 11, 0)  # first version that normalises keys and values of self-attention before a sublayer
_OFF = ("false", "0", "", "none", "default", "null", "~", "[]")
_KINDS = {
    "rnn": "a recurrent decoder (SSRU, as in Firefox's models), which is not the Transformer's",
    "average-attention": "an average attention network, which is not the Transformer's decoder",
}
_IRRELEVANT = {  # options of other architectures, of training, or of parts that other options switch on
    *("bert-train-type-embeddings", "bert-type-vocab-size", "dim-rnn", "skip", "layer-normalization"),
    *("enc-cell", "enc-cell-depth", "enc-type", "dec-cell", "dec-cell-base-depth", "dec-cell-high-depth"),
    *("char-stride", "char-highway", "char-conv-filters-num", "char-conv-filters-widths", "separator-symbol"),
    *("transformer-aan-activation", "transformer-aan-depth", "transformer-aan-nogate", "transformer-dim-aan"),
    *("transformer-rnn-projection", "transformer-guided-alignment-layer", "transformer-depth-scaling"),
    *("transformer-alibi-shift", "transformer-alibi-trainable", "factors-combine", "ulr-trainable-transformation"),
}
_USED = {
    *("version", "type", "dim-emb", "dim-vocabs", "enc-depth", "dec-depth", "transformer-heads", "transformer-dim-ffn"),
    *("transformer-decoder-dim-ffn", "transformer-ffn-depth", "transformer-decoder-ffn-depth"),
    *("transformer-ffn-activation", "transformer-decoder-autoreg", "transformer-no-projection", "output-omit-bias"),
    *("transformer-preprocess", "transformer-postprocess", "transformer-postprocess-emb"),
    *("transformer-postprocess-top", "transformer-tied-layers", "input-types"),
    *("tied-embeddings", "tied-embeddings-src", "tied-embeddings-all"),
    *(_POSITIONS, "transformer-no-bias", "transformer-no-affine"),
}


@dataclass(frozen=True)
class NativeSettings:
    """Settings of a Marian model.

    Attributes:
        model: Settings of our model by name, for a shared vocabulary.
        rows: Rows of the source and target embeddings.
        decoder_layers: Marian's number, from 1, of the layer that each decoder layer has its parameters from.
        shared_sides: Whether both sides have one embedding matrix.
        has_projection: Whether attention has an output projection.
        has_affine_norms: Whether layer norms have parameters.
        is_new: Whether the model is of `--type transformer-new`.
    """

    model: dict[str, Any]
    rows: tuple[int, int]
    decoder_layers: tuple[int, ...]
    shared_sides: bool
    has_projection: bool
    has_affine_norms: bool
    is_new: bool


def native_settings(options: Mapping[str, Any], name: str) -> NativeSettings:
    """Convert a model's options.

    Args:
        options: The options, as text, by name.
        name: Name of the file, for messages.

    Raises:
        UserError: If an option is missing, invalid or has no equivalent.
    """
    read = _Options(options, name)
    _refuse_unsupported(read)
    rows = read.integers("dim-vocabs")
    if len(rows) != 2:
        raise UserError(
            f"{name}: dim-vocabs has {len(rows)} vocabularies; models with one source and one target are read."
        )
    decoder_layers = read.integer("dec-depth")
    tied = tuple(read.integers("transformer-tied-layers")) or tuple(range(1, decoder_layers + 1))
    if len(tied) != decoder_layers or min(tied) < 1:
        raise UserError(
            f"{name}: transformer-tied-layers does not give one layer for each of dec-depth = {decoder_layers}."
        )
    every, source, target = (read.flag(f"tied-embeddings{suffix}") for suffix in ("-all", "-src", ""))
    ties = {(True, True): True, (True, False): "inputs", (False, True): "target", (False, False): False}
    is_new = read.text("type") == _NEW
    has_bias = not (is_new and read.flag("transformer-no-bias"))
    d_ff = read.integer("transformer-dim-ffn")
    decoder_d_ff = read.integer("transformer-decoder-dim-ffn", 0) or d_ff
    model = {
        "d_model": read.integer("dim-emb"),
        "d_ff": d_ff,
        **({} if decoder_d_ff == d_ff else {"decoder_d_ff": decoder_d_ff}),
        "num_heads": read.integer("transformer-heads"),
        "encoder_layers": read.integer("enc-depth"),
        "decoder_layers": decoder_layers,
        **_norms(read),
        "norm_epsilon": new_names.NORM_EPSILON if is_new else names.NORM_EPSILON,
        **_positions(is_new and read.flag(_POSITIONS)),
        "tie_embeddings": ties[every or source, every or target],
        "attention_bias": has_bias,
        "feed_forward_bias": has_bias,
        "output_bias": not read.flag("output-omit-bias"),
        "activation": _activation(read),
    }
    has_projection = is_new or not read.flag("transformer-no-projection")
    has_affine_norms = not (is_new and read.flag("transformer-no-affine"))
    return NativeSettings(model, (rows[0], rows[1]), tied, every or source, has_projection, has_affine_norms, is_new)


def _positions(is_trained: bool) -> dict[str, Any]:
    """Return settings of positions; embeddings are scaled only with sinusoids."""
    if is_trained:
        return {"positions": "learned", "scale_embeddings": False}
    return {"sinusoid_frequencies": "tensor2tensor"}


def _activation(read: _Options) -> str:
    name: str = read.choice("transformer-ffn-activation", _ACTIVATIONS, "swish")
    return "gelu_sigmoid" if name == "gelu" and read.version() < _EXACT_GELU else name


def _norms(read: _Options) -> dict[str, Any]:
    """Read where norms are: n is a layer norm, a adds the input, d is dropout."""
    before, after = read.operations("transformer-preprocess", ""), read.operations("transformer-postprocess", "dan")
    if (before, after) not in (("", "an"), ("n", "a")):
        raise UserError(
            f"{read.name}: transformer-preprocess = {before!r} with transformer-postprocess = {after!r} (without d) is "
            "not supported: the norm is after the sum of a sublayer and its input (an), or before the sublayer (n, a)."
        )
    if before and read.version() < _PRE_NORM_KEYS:
        raise UserError(
            f"{read.name}: transformer-preprocess = n with version {read.text('version')}: before 1.11, keys and "
            "values of self-attention were not normalised, which is not supported."
        )
    top, embedding = (read.operations(f"transformer-postprocess-{place}", "") for place in ("top", "emb"))
    for place, operations in (("top", top), ("emb", embedding)):
        if operations not in ("", "n"):
            raise UserError(
                f"{read.name}: transformer-postprocess-{place} = {operations!r} is not supported; a layer norm (n) is."
            )
    return {"norm": "pre" if before else "post", "final_norm": bool(top), "embedding_norm": bool(embedding)}


def _refuse_unsupported(read: _Options) -> None:
    kind = read.text("transformer-decoder-autoreg", "self-attention")
    if kind != "self-attention":
        raise UserError(
            f"{read.name}: transformer-decoder-autoreg = {kind}: the model has {_KINDS.get(kind, 'another decoder')}. "
            "Only models with self-attention are imported."
        )
    if read.text("type", "") not in (_TRANSFORMER, _NEW):
        raise UserError(f"{read.name}: type = {read.text('type', '')}: only models of type transformer are imported.")
    for option in ("transformer-ffn-depth", "transformer-decoder-ffn-depth"):
        if read.integer(option, 2) not in (2, 0 if "decoder" in option else 2):
            raise UserError(
                f"{read.name}: {option} = {read.integer(option)}: feed-forward networks have 2 layers here."
            )
    for option, value in read.options.items():
        listed = value if isinstance(value, list) else [value]
        if option == "input-types":
            listed = [each for each in listed if each != "sequence"]
        if option not in (_USED - {"input-types"}) | _IRRELEVANT and any(str(each) not in _OFF for each in listed):
            raise UserError(f"{read.name}: {option} = {value} is not supported.")


class _Options:
    """Typed access to options, whose values are text."""

    def __init__(self, options: Mapping[str, Any], name: str):
        self.options, self.name = options, name

    def text(self, option: str, default: str | None = None) -> str:
        value = self.options.get(option, default)
        if not isinstance(value, str):
            raise UserError(
                f"{self.name}: {option} is missing or no single value. The file is damaged or no translator."
            )
        return value

    def integer(self, option: str, default: int | None = None) -> int:
        return self._converted(option, self.text(option, None if default is None else str(default)), int)

    def integers(self, option: str) -> list[int]:
        values = self.options.get(option, [])
        return [self._converted(option, value, int) for value in (values if isinstance(values, list) else [values])]

    def flag(self, option: str) -> bool:
        return self.choice(option, {"true": True, "false": False}, "false")

    def choice(self, option: str, values: Mapping[str, Any], default: str) -> Any:
        chosen = self.text(option, default)
        if chosen not in values:
            raise UserError(f"{self.name}: {option} = {chosen} is not supported; {', '.join(values)} are.")
        return values[chosen]

    def version(self) -> tuple[int, ...]:
        """Return the version of Marian that trained the model; without one, the newest."""
        match = _VERSION.match(self.text("version", ""))
        return tuple(map(int, match.groups())) if match else (99, 0, 0)

    def operations(self, option: str, default: str) -> str:
        """Return a string of operations without dropout, which translation has none of."""
        return self.text(option, default).replace("d", "")

    def _converted(self, option: str, value: object, kind: Callable[[Any], int]) -> int:
        try:
            return kind(value)
        except (TypeError, ValueError):
            raise UserError(f"{self.name}: {option} = {value} is not a whole number.") from None
