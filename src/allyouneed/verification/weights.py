"""The parameters of a Transformer by their role in the paper, and where each was found in somebody's module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from allyouneed.model.transformer import Transformer


@dataclass(frozen=True)
class Linear:
    """x Wᵀ + b.

    Attributes:
        weight: Shape [out, in].
        bias: Shape [out], or None.
    """

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class NormWeights:
    """Layer normalisation: weight and bias of shape [d_model], and ε."""

    weight: Tensor
    bias: Tensor
    eps: float = 1e-5


@dataclass(frozen=True)
class AttentionWeights:
    """W^Q, W^K, W^V of all heads in one matrix each, and W^O (None if the module has none)."""

    heads: int
    query: Linear
    key: Linear
    value: Linear
    output: Linear | None


@dataclass(frozen=True)
class FeedForwardWeights:
    """W₁, b₁ and W₂, b₂ of equation 2."""

    inner: Linear
    outer: Linear


@dataclass(frozen=True)
class LayerWeights:
    """One layer.

    Attributes:
        attention: Self-attention.
        cross: Encoder-decoder attention; only in the decoder.
        feed_forward: Equation 2.
        norms: Norm of each sub-layer, in the order of the paper; None where the module has none.
    """

    attention: AttentionWeights
    feed_forward: FeedForwardWeights
    norms: tuple[NormWeights | None, ...]
    cross: AttentionWeights | None = None


@dataclass(frozen=True)
class Weights:
    """All parameters, and where they came from.

    Attributes:
        source_embedding: Shape [source vocab, d_model].
        target_embedding: Shape [target vocab, d_model].
        output: The pre-softmax linear, weight [target vocab, d_model].
        encoder: Layers of the encoder.
        decoder: Layers of the decoder.
        encoder_norm: Norm after the encoder's last layer, or None.
        decoder_norm: Norm after the decoder's last layer, or None.
        source_positions: Learned encodings [positions, d_model], or None.
        target_positions: Learned encodings of the decoder, or None.
        tied: Names of the roles that share one matrix.
        notes: Entries of the catalogue that the parameters' shapes show.
        modules: For each step of `computation`, the path of the module whose input or output it is, see `recording`.
    """

    source_embedding: Tensor
    target_embedding: Tensor
    output: Linear
    encoder: tuple[LayerWeights, ...]
    decoder: tuple[LayerWeights, ...]
    encoder_norm: NormWeights | None = None
    decoder_norm: NormWeights | None = None
    source_positions: Tensor | None = None
    target_positions: Tensor | None = None
    tied: tuple[str, ...] = ()
    modules: tuple[Tap, ...] = field(default=())
    notes: tuple[str, ...] = ()

    @property
    def d_model(self) -> int:
        """Width of the embeddings."""
        return self.source_embedding.shape[1]

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.encoder[0].attention.heads


@dataclass(frozen=True)
class Tap:
    """A step that a module computes.

    Attributes:
        step: Name of the step, as in `computation`.
        module: Path of the module.
        side: "input" or "output".
        part: Which part of the last dimension, and of how many; (0, 1) for all of it.
    """

    step: str
    module: str
    side: str
    part: tuple[int, int] = (0, 1)


Order = Mapping[str, tuple[int, ...]]  # numbers of the layers of "encoder" and "decoder", as they run


def in_order(weights: Weights, order: Order) -> Weights:
    """Return the weights with the layers that run, in the order in which they run."""
    taps = []
    for tap in weights.modules:
        side, number, *rest = tap.step.split(".")
        if side not in order or not number.isdigit():
            taps.append(tap)
        elif int(number) in order[side]:
            taps.append(replace(tap, step=".".join([side, str(order[side].index(int(number))), *rest])))
    encoder = tuple(weights.encoder[i] for i in order.get("encoder", range(len(weights.encoder))))
    decoder = tuple(weights.decoder[i] for i in order.get("decoder", range(len(weights.decoder))))
    return replace(weights, modules=tuple(taps), encoder=encoder, decoder=decoder)


def shared_layers(weights: Weights) -> list[tuple[str, int]]:
    """List the layers that use the matrices of an earlier layer of their side."""
    shared = []
    for side, layers in (("encoder", weights.encoder), ("decoder", weights.decoder)):
        seen: set[int] = set()
        for number, layer in enumerate(layers):
            address = layer.attention.query.weight.data_ptr()
            if address in seen:
                shared.append((side, number))
            seen.add(address)
    return shared


def our_names(encoder_layers: int, decoder_layers: int, bias: bool = True) -> Iterator[str]:
    """Yield the parameter names of `allyouneed.Transformer`, the keys of the `weights` argument of `verify`."""
    yield from ("source_embedding.tokens.weight", "target_embedding.tokens.weight", "output.weight", "output.bias")
    for side, count in (("encoder", encoder_layers), ("decoder", decoder_layers)):
        kinds = ["self_attention"] + (["cross_attention"] if side == "decoder" else [])
        for index in range(count):
            linears = [f"{kind}.{part}" for kind in kinds for part in ("query", "key", "value", "output")]
            linears += ["feed_forward.inner", "feed_forward.outer"]
            linears += [f"residuals.{i}.norm" for i in range(len(kinds) + 1)]
            for linear in linears:
                yield f"{side}.layers.{index}.{linear}.weight"
                if bias:
                    yield f"{side}.layers.{index}.{linear}.bias"
        yield from (f"{side}.norm.weight", f"{side}.norm.bias")
    yield from ("source_embedding.positions", "target_embedding.positions")


def weights_of(model: Transformer) -> Weights:
    """Return the parameters of one of our models."""
    return from_names(dict(model.named_parameters(remove_duplicate=False)), model.config.num_heads)


def from_names(tensors: dict[str, Tensor], heads: int, eps: float = 1e-5, taps: tuple[Tap, ...] = ()) -> Weights:
    """Build `Weights` from tensors under the names of `allyouneed.Transformer`.

    Args:
        tensors: Tensors by our names (see `our_names`). Missing biases, norms, W^O and output matrix are allowed.
        heads: Number of heads.
        eps: ε of all norms.
        taps: Where the steps can be observed.

    Returns:
        The parameters.

    Raises:
        KeyError: If a matrix that cannot be left out is missing.
    """
    source = tensors["source_embedding.tokens.weight"]
    target = tensors.get("target_embedding.tokens.weight", source)
    output = _linear(tensors, "output") or Linear(target)
    return Weights(
        source,
        target,
        output,
        _layers(tensors, "encoder", heads, eps),
        _layers(tensors, "decoder", heads, eps),
        _norm(tensors, "encoder.norm", eps),
        _norm(tensors, "decoder.norm", eps),
        tensors.get("source_embedding.positions"),
        tensors.get("target_embedding.positions", tensors.get("source_embedding.positions")),
        _tied(source, target, output.weight),
        taps,
    )


def _tied(source: Tensor, target: Tensor, output: Tensor) -> tuple[str, ...]:
    """Name the matrices with the same values as the target embedding."""
    named = {"source embedding": source, "output": output}
    same = [name for name, x in named.items() if x.shape == target.shape and bool((x == target).all())]
    return ("target embedding", *same) if same else ()


def _linear(tensors: dict[str, Tensor], name: str) -> Linear | None:
    weight = tensors.get(f"{name}.weight")
    return None if weight is None else Linear(weight, tensors.get(f"{name}.bias"))


def _required(tensors: dict[str, Tensor], name: str) -> Linear:
    return Linear(tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))


def _norm(tensors: dict[str, Tensor], name: str, eps: float) -> NormWeights | None:
    weight = tensors.get(f"{name}.weight")
    if weight is None:
        return None
    bias = tensors.get(f"{name}.bias")
    return NormWeights(weight, weight.new_zeros(weight.shape) if bias is None else bias, eps)


def _layers(tensors: dict[str, Tensor], side: str, heads: int, eps: float) -> tuple[LayerWeights, ...]:
    layers: list[LayerWeights] = []
    while f"{side}.layers.{len(layers)}.self_attention.query.weight" in tensors:
        prefix = f"{side}.layers.{len(layers)}"
        kinds = ["self_attention"] + (["cross_attention"] if side == "decoder" else [])
        attentions = [
            AttentionWeights(
                heads,
                _required(tensors, f"{prefix}.{kind}.query"),
                _required(tensors, f"{prefix}.{kind}.key"),
                _required(tensors, f"{prefix}.{kind}.value"),
                _linear(tensors, f"{prefix}.{kind}.output"),
            )
            for kind in kinds
        ]
        ffn = (_required(tensors, f"{prefix}.feed_forward.{part}") for part in ("inner", "outer"))
        norms = tuple(_norm(tensors, f"{prefix}.residuals.{i}.norm", eps) for i in range(len(kinds) + 1))
        cross = attentions[1] if len(attentions) > 1 else None
        layers.append(LayerWeights(attentions[0], FeedForwardWeights(*ffn), norms, cross))
    if not layers:
        raise KeyError(f"{side}.layers.0.self_attention.query.weight")
    return tuple(layers)
