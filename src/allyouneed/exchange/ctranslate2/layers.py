"""The encoder and decoder of a CTranslate2 model, read from the variables of its `model.bin`.

Every variable is used, known not to affect a translation (which head is returned as an alignment), or refused with the
name of what it belongs to.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.exchange.ctranslate2.model_file import REMEDY, ModelFile, Variables

_MODELS = {"": 8, "TransformerBase": 8, "TransformerBig": 16, "TransformerSpec": 8}  # name -> default number of heads
_NEWEST_REVISION = 7
_OTHER_MODELS = {
    "TransformerDecoderSpec": "a language model, which has no encoder",
    "TransformerEncoderSpec": "an encoder without a decoder",
    "WhisperSpec": "a speech recogniser",
    "Wav2Vec2Spec": "a speech recogniser",
    "Wav2Vec2BertSpec": "a speech recogniser",
}
_ACTIVATIONS = ("relu", "gelu_tanh", "swish", "gelu", "gelu_sigmoid")  # in the order of CTranslate2's ActivationType
_MOST_LAYERS = 1024
_HEADS_KV = "multi-query or grouped-query attention"
_UNSUPPORTED = {
    r".*/relative_(asymmetric_)?position_\w+|.*/relative_(left|right)_max_position": "relative positions",
    r".*/relative_attention_\w+": "relative attention biases, as in T5",
    r".*/rotary_\w+|.*/(original_)?max_position_embeddings": "rotary positions",
    r".*/[qkv]_norm/.*": "norms of queries, keys or values",
    r".*/linear_0_noact/.*": "a gated feed-forward network",
    r".*/(router|gate|experts?(_\d+)?|moe)(/.*)?": "a mixture of experts",
    r".*/project_(in|out)/.*": "projections between embeddings and layers",
    r".*/(memory_kv/.*|merged_encoder_attention)": "merged self- and cross-attention",
    r".*/(shared|input|\w+_attention|\w+_feedforward)_layer_norm/.*": "parallel residuals or norms around sublayers",
    r".*/conv\w*/.*": "convolutions",
    r".*/\w+_zero": "AWQ quantisation",
    r"encoder/embeddings_[1-9]\d*/.*": "several features per source token",
    r".*/layer_norm_use_residual": "RMS norms",
}
_NEUTRAL = {  # values of scalars that change nothing
    "alibi": (0, "attention with linear biases (ALiBi)"),
    "sliding_window": (0, "attention to a sliding window"),
    "multi_query": (0, _HEADS_KV),
    "multi_query_attention": (0, _HEADS_KV),
    "final_logit_softcapping": (0, "soft-capped logits"),
    "layer_scalar": (1, "scaled layers"),
}
_IRRELEVANT = r"(.*/)?(alibi_use_positive_positions|scale_alibi|embeddings_merge|alignment_(layer|heads))"


class Linear(NamedTuple):
    """A matrix of shape [outputs, inputs] and its bias, if it has one."""

    weight: Tensor
    bias: Tensor | None


class Norm(NamedTuple):
    """Weight and bias of a layer norm."""

    weight: Tensor
    bias: Tensor


@dataclass
class Attention:
    """Projections of an attention.

    Attributes:
        inner: Those of queries, keys and values, with weights of shape [heads · width, d_model].
        output: The output projection.
        heads: Number of heads.
        scale: Factor of the scores, usually 1 / √width.
    """

    inner: list[Linear]
    output: Linear
    heads: int
    scale: float

    @property
    def width(self) -> int:
        """Rows of a head."""
        return len(self.inner[0].weight) // self.heads


class Layer(NamedTuple):
    """A layer: its attentions, feed-forward network, and one norm for each of its sublayers in their order."""

    attentions: list[Attention]
    feed_forward: tuple[Linear, Linear]
    norms: list[Norm]


@dataclass
class Side:
    """The encoder or the decoder.

    Attributes:
        embeddings: Embedding matrix, shape [rows, d_model].
        scale: Factor of the embeddings.
        positions: Table of position encodings, or None for CTranslate2's own sinusoids.
        heads: Attention heads per layer.
        norm: "pre" or "post".
        activation: The setting `model.activation`.
        layers: The layers.
        embedding_norm: Norm of the embeddings, if there is one.
        final_norm: Norm of the last layer's output, if there is one.
    """

    embeddings: Tensor
    scale: float
    positions: Tensor | None
    heads: int
    norm: Literal["pre", "post"]
    activation: str
    layers: list[Layer]
    embedding_norm: Norm | None
    final_norm: Norm | None


def open_variables(model: ModelFile) -> Variables:
    """Check that a file has an encoder-decoder Transformer without unsupported parts, and return its variables.

    Raises:
        UserError: If it does not.
    """
    path, specification = model.path, model.specification
    if specification not in _MODELS:
        kind = _OTHER_MODELS.get(specification, "an unknown kind of model")
        raise UserError(
            f"{path}: holds {specification!r}, {kind}. Only Transformers with encoder and decoder can be imported."
        )
    if not 1 <= model.revision <= _NEWEST_REVISION:
        raise UserError(
            f"{path}: revision {model.revision} of {specification}; revisions 1 to {_NEWEST_REVISION} can be read. "
            f"{REMEDY}"
        )
    named = model.variables
    if model.revision == 1:
        named = {_current_name(name): variable for name, variable in named.items()}
    variables = Variables(model._replace(variables=named))
    for name in named:
        _refuse_unsupported(variables, name)
    return variables


def _refuse_unsupported(variables: Variables, name: str) -> None:
    scalar = name.rsplit("/", 1)[-1]
    feature = next((feature for pattern, feature in _UNSUPPORTED.items() if re.fullmatch(pattern, name)), None)
    if scalar in _NEUTRAL:
        neutral, scalar_feature = _NEUTRAL[scalar]
        feature = scalar_feature if variables.number(name, neutral) != neutral else None
    if scalar == "gamma" and not feature and name.replace("gamma", "beta") not in variables:
        feature = "RMS norms"
    if feature:
        raise UserError(
            f"{variables.path}: {name} belongs to {feature}, which this package's Transformer does not have. The model "
            "cannot be imported."
        )
    if re.fullmatch(_IRRELEVANT, name):
        variables.number(name, 0)


def _current_name(name: str) -> str:
    """Return the name of a variable of revision 1, which has names of OpenNMT-tf, in later revisions."""
    changes = [("transformer/", ""), (":0", ""), ("w_embs", "embeddings/weight"), ("kernel", "weight")]
    changes += [("LayerNorm", "layer_norm"), ("dense", "projection"), ("conv1d_", "linear_"), ("conv1d", "linear_0")]
    if "encoder" in name:
        changes += [("multi_head", "self_attention")]
    else:
        changes += [("masked_multi_head", "self_attention"), ("multi_head", "attention")]
    for old, new in changes:
        name = name.replace(old, new, 1)
    return name


def read_side(variables: Variables, model: ModelFile, side: Literal["encoder", "decoder"]) -> Side:
    """Read the encoder or the decoder.

    Args:
        variables: The model's variables.
        model: The model.
        side: "encoder" or "decoder".

    Raises:
        UserError: If variables are missing or do not fit together.
    """

    def setting(name: str, default: int) -> int:
        own = f"{side}/{name}"  # before revision 5, both sides have the same settings
        return int(variables.number(own if own in variables else name, default))

    scope = f"{side}/embeddings"
    if side == "encoder" and f"{scope}/weight" not in variables:
        scope = f"{scope}_0"
    embeddings = variables.matrix(f"{scope}/weight")
    d_model = embeddings.shape[1]
    heads = setting("num_heads", _MODELS[model.specification])
    activation = setting("activation", 0)
    if not 1 <= heads <= d_model:
        raise UserError(f"{variables.path}: {heads} attention heads of {d_model} units. {REMEDY}")
    if activation not in range(len(_ACTIVATIONS)):
        raise UserError(f"{variables.path}: activation {activation} is none of {', '.join(_ACTIVATIONS)}.")
    table = f"{side}/position_encodings/encodings"
    count = _count_layers(variables, side)
    return Side(
        embeddings,
        _embedding_scale(variables, side, scope, d_model),
        variables.matrix(table, d_model) if table in variables else None,
        heads,
        "pre" if setting("pre_norm", 1) else "post",
        _ACTIVATIONS[activation],
        [_layer(variables, f"{side}/layer_{n}", heads, d_model) for n in range(count)],
        _optional_norm(variables, f"{side}/layernorm_embedding", d_model),
        _optional_norm(variables, f"{side}/layer_norm", d_model),
    )


def _count_layers(variables: Variables, side: str) -> int:
    count = 0
    while f"{side}/layer_{count}/ffn/linear_0/weight" in variables and count < _MOST_LAYERS:
        count += 1
    if not count:
        raise UserError(f"{variables.path}: the {side} has no layers. {REMEDY}")
    return count


def _embedding_scale(variables: Variables, side: str, scope: str, d_model: int) -> float:
    """Return the factor of embeddings: a flag for √d_model, or the number itself (`build_embeddings_scale`)."""
    name = next((n for n in (f"{side}/scale_embeddings", f"{scope}/multiply_by_sqrt_depth") if n in variables), None)
    if name is None:
        return math.sqrt(d_model)
    value = variables.number(name, 1)
    if variables.type_of(name) == "int8":
        return math.sqrt(d_model) if value else 1.0
    return value


def _layer(variables: Variables, scope: str, heads: int, d_model: int) -> Layer:
    names = ["self_attention", *(["attention"] if scope.startswith("decoder") else [])]
    attentions = [_attention(variables, f"{scope}/{name}", heads, d_model) for name in names]
    inner = read_linear(variables, f"{scope}/ffn/linear_0", d_model)
    outer = read_linear(variables, f"{scope}/ffn/linear_1", len(inner.weight), d_model)
    norms = [_norm(variables, f"{scope}/{name}/layer_norm", d_model) for name in (*names, "ffn")]
    return Layer(attentions, (inner, outer), norms)


def _attention(variables: Variables, scope: str, heads: int, d_model: int) -> Attention:
    is_self = scope.endswith("/self_attention")
    joined = (3,) if is_self else (1, 2)  # of queries, keys and values in one matrix
    inner: list[Linear] = []
    for i, parts in enumerate(joined):
        linear = read_linear(variables, f"{scope}/linear_{i}", d_model)
        if len(linear.weight) % (parts * heads):
            raise UserError(
                f"{variables.path}: {scope}/linear_{i} has {len(linear.weight):,} rows, not a multiple of {parts} "
                f"times {heads} heads. {REMEDY}"
            )
        biases = [None] * parts if linear.bias is None else linear.bias.chunk(parts)
        inner += [Linear(weight, bias) for weight, bias in zip(linear.weight.chunk(parts), biases, strict=True)]
    rows = {len(linear.weight) for linear in inner}
    kv_heads = variables.number(f"{scope}/num_heads_kv", heads)
    if len(rows) > 1 or kv_heads != heads:
        raise UserError(
            f"{variables.path}: {scope} has {_HEADS_KV}, which this package's Transformer does not have. The model "
            "cannot be imported."
        )
    width = rows.pop() // heads
    if variables.number(f"{scope}/head_dim", width) != width:
        raise UserError(f"{variables.path}: {scope}/head_dim is not {width}, the rows per head. {REMEDY}")
    output = read_linear(variables, f"{scope}/linear_{len(joined)}", heads * width, d_model)
    usual = 1 / math.sqrt(width if f"{scope}/head_dim" in variables else d_model // heads)
    return Attention(inner, output, heads, variables.number(f"{scope}/queries_scale", usual))


def read_linear(variables: Variables, scope: str, columns: int, rows: int | None = None) -> Linear:
    """Read a matrix [rows, columns] and its bias.

    Raises:
        UserError: If the matrix is missing or has another shape.
    """
    weight = variables.matrix(f"{scope}/weight", columns, rows)
    return Linear(weight, variables.vector(f"{scope}/bias", len(weight)) if f"{scope}/bias" in variables else None)


def _optional_norm(variables: Variables, scope: str, d_model: int) -> Norm | None:
    return _norm(variables, scope, d_model) if f"{scope}/gamma" in variables else None


def _norm(variables: Variables, scope: str, d_model: int) -> Norm:
    return Norm(variables.vector(f"{scope}/gamma", d_model), variables.vector(f"{scope}/beta", d_model))
