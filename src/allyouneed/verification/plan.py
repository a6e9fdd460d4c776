"""What a Transformer computes, as settings whose defaults are the paper's.

A known mistake is a change to these settings. `computation.compute` runs any plan with anyone's weights, so that a
mistake is named by the plan that reproduces a module's output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

KINDS = ("encoder", "decoder", "cross")  # the encoder's and the decoder's self-attention, encoder-decoder attention
SUBLAYERS = ("attention", "cross", "feed-forward")


@dataclass(frozen=True)
class AttentionPlan:
    """Settings of one kind of attention (section 3.2).

    Attributes:
        scale: Divisor of the scores: "sqrt d_k" (the paper), "none", "d_k", "sqrt d_model", "d_model", "times",
            "sqrt keys".
        axis: Axis over which the softmax sums to 1: "key" (the paper), "query", "head" or "batch".
        future: Keys that a decoder query may see: "causal" (the paper), "none" (all), "strict" (earlier ones only),
            "ahead" (the next one too), "reversed" (itself and later ones), "after" (later ones only), "added"
            (all, with 1 added to the scores of later ones), "everywhere" (causal also in the encoder).
        padding: Whether padded keys are masked: True, False, or "query" (padded queries are masked instead).
        masking: How the mask acts: "fill" (the paper's -∞), "inverted", "positive" (+1e9), "zero" (scores become 0),
            "multiplied" (weights are zeroed after the softmax), "added" (0 or 1 is added), "tiny" (-1e-9), "offset"
            (-1e9 is added) and "infinite" (-∞, thus NaN), which differ from "fill" only if the axis is wrong.
        split: How heads are split: "transpose", or "view" without a transpose.
        merge: How heads are merged: "transpose", or "view" without a transpose.
        order: Which projections act as query, key and value.
        projected: Whether W^O is applied.
        heads: Which heads are used: "all", or "last" alone.
    """

    scale: str = "sqrt d_k"
    axis: str = "key"
    future: str = "causal"
    padding: bool | str = True
    masking: str = "fill"
    split: str = "transpose"
    merge: str = "transpose"
    order: str = "qkv"
    projected: bool = True
    heads: str = "all"


def _kinds() -> Mapping[str, AttentionPlan]:
    return {kind: AttentionPlan() for kind in KINDS}


@dataclass(frozen=True)
class Plan:
    """Settings of the whole computation (section 3).

    Attributes:
        attention: Settings of each kind of attention.
        embedding: Factor of the embeddings: "scaled" (√d_model), "unscaled", "after" (positions are scaled as well),
            "divided" (by √d_model), "twice" (d_model).
        positions: "sinusoidal" (interleaved), "split", "tensor2tensor" (split, other frequencies), "from 1",
            "swapped" (cosines first), "doubled" (exponents twice as large), "per column" (2j/d_model for column j),
            "cosine off" (cosines have the exponent (2i+1)/d_model), "base 1000", "sines" (no cosines), "growing"
            (exponents of the wrong sign), "batch" (along the batch), "first" (that of position 0 for all), "learned",
            "none".
        target_positions: Whether the decoder's input has positions.
        combined: How embeddings and positions are combined: "added", "multiplied", "every layer" (added to the
            input of each layer), or "every layer too" (to the embeddings and to the input of each layer).
        norm: "post" (the paper: LayerNorm(x + Sublayer(x))), "pre" (x + Sublayer(LayerNorm(x))), "inside"
            (x + LayerNorm(Sublayer(x))), "normed residual" (LayerNorm(x) + Sublayer(LayerNorm(x))), "none".
        final_norm: Whether norms after the last layers are applied, if there are weights for them: "applied",
            "missing", or "first" (to the embeddings instead).
        spread: Denominator of the norm: "biased" (variance over n), "unbiased" (n - 1, ε added to the deviation),
            "variance", or "none".
        norm_axis: What a norm averages over: "features", "positions", "batch", or "sentence" (positions and features).
        norm_of: Which norm a sub-layer uses: its "own", or the one of the "first" sub-layer.
        target_table: Embedding of the target: its "own", or that of the "source".
        no_residual: Sub-layers without a residual connection.
        residual: What is added: "input" (of the sub-layer), "doubled", or "layer" (the input of the whole layer).
        cross_query: Queries of encoder-decoder attention: "sub-layer", or "layer" (the input of the whole layer).
        activation: "relu", "gelu", "gelu tanh", "gelu sigmoid", "silu", "none", "output" (ReLU after the second
            linear only), "both".
        memory: What encoder-decoder attention reads: "final" (the encoder's output), "layer" (the encoder layer of the
            same number), "first" (the first encoder layer), "embedding" (the encoder's input), "decoder" (the decoder
            itself), "decoder unmasked" (the same without the mask of the future), "unnormed" (before the encoder's
            final norm).
        cross_first: Encoder-decoder attention precedes self-attention.
        logits: "plain", "divided" (by √d_model, the other half of scaling shared embeddings), or "log over positions"
            and "over positions" (a softmax with the wrong axis).
        factors: Steps, or the last part of their names, and a factor by which each is multiplied.
        local: Changes that concern one side, layer or sub-layer, such as "encoder", "encoder.0" or "*.*.self".
    """

    attention: Mapping[str, AttentionPlan] = field(default_factory=_kinds)
    embedding: str = "scaled"
    positions: str = "sinusoidal"
    target_positions: bool = True
    combined: str = "added"
    norm: str = "post"
    final_norm: str = "applied"
    spread: str = "biased"
    norm_axis: str = "features"
    norm_of: str = "own"
    target_table: str = "own"
    no_residual: frozenset[str] = frozenset()
    residual: str = "input"
    cross_query: str = "sub-layer"
    activation: str = "relu"
    memory: str = "final"
    cross_first: bool = False
    logits: str = "plain"
    factors: tuple[tuple[str, float], ...] = ()
    local: tuple[tuple[str, Variation], ...] = ()

    def at(self, site: str) -> Plan:
        """Return the plan of a site, for example "encoder.0.self"."""
        if not self.local:
            return self
        plan, parts = self, site.split(".")
        for part, change in self.local:
            names = part.split(".")
            if len(names) <= len(parts) and all(a in ("*", b) for a, b in zip(names, parts, strict=False)):
                plan = change.apply(plan)
        return plan

    def factor(self, step: str) -> float:
        """Return the factor by which a step is multiplied."""
        return math.prod(c for name, c in self.factors if step == name or step.endswith(f".{name}"))


@dataclass(frozen=True)
class Variation:
    """A change to a plan.

    Attributes:
        name: Entry of the catalogue.
        changes: Fields of `Plan` or, with `kinds`, of `AttentionPlan`, and their values.
        kinds: Kinds of attention to change; empty for changes to `Plan` itself.
        part: The only part that is changed, see `Plan.local`; "" for all.
    """

    name: str
    changes: Mapping[str, Any]
    kinds: tuple[str, ...] = ()
    part: str = ""

    def apply(self, plan: Plan) -> Plan:
        """Return the changed plan."""
        if self.part:
            return replace(plan, local=(*plan.local, (self.part, replace(self, part=""))))
        if not self.kinds:
            return replace(plan, **self.changes)
        changed = {kind: replace(plan.attention[kind], **self.changes) for kind in self.kinds}
        return replace(plan, attention={**plan.attention, **changed})


_PLAN_CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("pre-norm", {"norm": "pre"}),
    ("learned-positions", {"positions": "learned"}),
    ("gelu", {"activation": "gelu"}),
    ("gelu", {"activation": "gelu tanh"}),
    ("gelu", {"activation": "gelu sigmoid"}),
    ("silu", {"activation": "silu"}),
    ("sinusoids-split", {"positions": "split"}),
    ("sinusoids-split", {"positions": "tensor2tensor"}),
    ("norm-unbiased", {"spread": "unbiased"}),
    ("embedding-norm", {"final_norm": "first"}),
    ("logits-divided", {"logits": "divided"}),
    ("embedding-unscaled", {"embedding": "unscaled"}),
    ("embedding-scaled-late", {"embedding": "after"}),
    ("embedding-divided", {"embedding": "divided"}),
    ("embedding-twice", {"embedding": "twice"}),
    ("positions-missing", {"positions": "none"}),
    ("target-positions-missing", {"target_positions": False}),
    ("positions-from-1", {"positions": "from 1"}),
    ("positions-exponents", {"positions": "doubled"}),
    ("positions-exponents", {"positions": "per column"}),
    ("positions-exponents", {"positions": "cosine off"}),
    ("positions-exponents", {"positions": "base 1000"}),
    ("positions-swapped", {"positions": "swapped"}),
    ("positions-sines", {"positions": "sines"}),
    ("positions-exponents", {"positions": "growing"}),
    ("positions-batch", {"positions": "batch"}),
    ("positions-constant", {"positions": "first"}),
    ("positions-multiplied", {"combined": "multiplied"}),
    ("positions-repeated", {"combined": "every layer"}),
    ("positions-repeated", {"combined": "every layer too"}),
    ("norm-axis", {"norm_axis": "positions"}),
    ("norm-axis", {"norm_axis": "batch"}),
    ("norm-axis", {"norm_axis": "sentence"}),
    ("norm-inside", {"norm": "inside"}),
    ("norm-residual", {"norm": "normed residual"}),
    ("norm-missing", {"norm": "none"}),
    ("norm-mixed", {"norm": "post"}),
    ("norm-spread", {"spread": "variance"}),
    ("norm-spread", {"spread": "none"}),
    ("final-norm-missing", {"final_norm": "missing"}),
    ("residual-missing", {"no_residual": frozenset(SUBLAYERS)}),
    ("residual-missing", {"no_residual": frozenset({"attention"})}),
    ("residual-missing", {"no_residual": frozenset({"cross"})}),
    ("residual-missing", {"no_residual": frozenset({"feed-forward"})}),
    ("norm-first", {"norm_of": "first"}),
    ("embedding-source", {"target_table": "source"}),
    ("residual-doubled", {"residual": "doubled"}),
    ("residual-other", {"residual": "layer"}),
    ("cross-query", {"cross_query": "layer"}),
    ("relu-missing", {"activation": "none"}),
    ("relu-on-output", {"activation": "output"}),
    ("relu-on-output", {"activation": "both"}),
    ("memory-decoder", {"memory": "decoder"}),
    ("memory-decoder", {"memory": "decoder unmasked"}),
    ("memory-layer", {"memory": "layer"}),
    ("memory-first", {"memory": "first"}),
    ("memory-embedding", {"memory": "embedding"}),
    ("memory-unnormed", {"memory": "unnormed"}),
    ("cross-first", {"cross_first": True}),
    ("output-axis", {"logits": "log over positions"}),
    ("output-axis", {"logits": "over positions"}),
)

_ATTENTION_CHANGES: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("scale-missing", {"scale": "none"}, KINDS),
    ("scale-d_model", {"scale": "sqrt d_model"}, KINDS),
    ("scale-squared", {"scale": "d_k"}, KINDS),
    ("scale-d_model", {"scale": "d_model"}, KINDS),
    ("scale-multiplied", {"scale": "times"}, KINDS),
    ("scale-length", {"scale": "sqrt keys"}, KINDS),
    ("softmax-axis", {"axis": "query"}, KINDS),
    ("softmax-axis", {"axis": "head"}, KINDS),
    ("softmax-axis", {"axis": "batch"}, KINDS),
    *(
        ("softmax-axis", {"axis": axis, "masking": masking}, KINDS)
        for axis in ("query", "head", "batch")
        for masking in ("offset", "infinite")
    ),
    ("future-visible", {"future": "none"}, ("decoder",)),
    ("future-one-ahead", {"future": "ahead"}, ("decoder",)),
    ("self-hidden", {"future": "strict"}, ("decoder",)),
    ("future-reversed", {"future": "reversed"}, ("decoder",)),
    ("future-reversed", {"future": "after"}, ("decoder",)),
    ("mask-added", {"future": "added"}, ("decoder",)),
    ("encoder-causal", {"future": "everywhere"}, ("encoder",)),
    ("encoder-causal", {"future": "everywhere"}, ("cross",)),
    ("padding-seen", {"padding": False}, ("encoder", "cross")),
    ("padding-queries", {"padding": "query"}, KINDS),
    ("mask-inverted", {"masking": "inverted"}, KINDS),
    ("mask-sign", {"masking": "positive"}, KINDS),
    ("mask-zero", {"masking": "zero"}, KINDS),
    ("mask-after-softmax", {"masking": "multiplied"}, KINDS),
    ("mask-added", {"masking": "added"}, KINDS),
    ("mask-tiny", {"masking": "tiny"}, KINDS),
    ("heads-view", {"split": "view", "merge": "view"}, KINDS),
    ("heads-split", {"split": "view"}, KINDS),
    ("heads-merge", {"merge": "view"}, KINDS),
    ("projections-swapped", {"order": "kqv"}, KINDS),
    ("projections-swapped", {"order": "qvk"}, KINDS),
    ("projections-swapped", {"order": "vkq"}, KINDS),
    ("projections-reused", {"order": "qqv"}, KINDS),
    ("projections-reused", {"order": "qkk"}, KINDS),
    ("projections-reused", {"order": "qkq"}, KINDS),
    ("projection-missing", {"projected": False}, KINDS),
    ("heads-last", {"heads": "last"}, KINDS),
)


def variations() -> Iterator[Variation]:
    """Yield every known variation, legitimate choices first; changes to all kinds of attention before single kinds."""
    for name, changes in _PLAN_CHANGES:
        yield Variation(name, changes)
    for name, changes, kinds in _ATTENTION_CHANGES:
        yield Variation(name, changes, kinds)
    for name, changes, kinds in _ATTENTION_CHANGES:
        if len(kinds) > 1:
            for kind in kinds:
                yield Variation(name, changes, (kind,))


def local_variations(step: str) -> Iterator[Variation]:
    """Yield the variations of the side, sub-layer or layer that contains a step, the widest first."""
    side, number, sublayer, _ = step.split(".")
    anywhere = {
        "norm",
        "spread",
        "norm_axis",
        "norm_of",
        "no_residual",
        "residual",
        "activation",
        "memory",
        "cross_query",
    }
    sides = {"embedding", "positions", "combined"} | anywhere
    for part, fields in (
        (side, sides),
        *(((f"*.*.{sublayer}", anywhere), (f"{side}.*.{sublayer}", anywhere)) if number == "0" else ()),
        (f"{side}.{number}", anywhere),
        (f"{side}.{number}.{sublayer}", anywhere),
    ):
        for each in variations():
            inside = not each.kinds and set(each.changes) <= fields
            attention = each.kinds == (side,) or (side == "decoder" and each.kinds == ("cross",))
            if inside or (attention and part == f"{side}.{number}"):
                yield replace(each, part=part)


def multiples(plan: Plan, step: str, factor: float) -> Iterator[Variation]:
    """Yield the variations that multiply a step, in all layers, in all layers of its side, or alone."""
    parts = step.split(".")
    names = [parts[-1], ".".join(parts[-2:]), step] if len(parts) == 4 else [step]
    for name in names:
        yield Variation("multiple", {"factors": (*plan.factors, (name, factor))})
