"""What a Transformer computes, as settings whose defaults are the paper's.

A known mistake is a change to these settings. `computation.compute` runs any plan with anyone's weights, so that a
mistake is named by the plan that reproduces a module's output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

KINDS = ("encoder", "decoder", "cross")  # the encoder's and the decoder's self-attention, encoder-decoder attention
SUBLAYERS = ("attention", "cross", "feed-forward")


@dataclass(frozen=True)
class AttentionPlan:
    """Settings of one kind of attention (section 3.2).

    Attributes:
        scale: Divisor of the scores: "sqrt d_k" (the paper), "none", "d_k", "sqrt d_model", "d_model", "times".
        axis: Axis over which the softmax sums to 1: "key" (the paper), "query", "head" or "batch".
        future: Keys that a decoder query may see: "causal" (the paper), "none" (all), "strict" (earlier ones only),
            "ahead" (the next one too), "reversed" (itself and later ones).
        padding: Whether padded keys are masked.
        masking: How the mask acts: "fill" (the paper's -∞), "inverted", "positive" (+1e9), "zero" (scores become 0),
            "multiplied" (weights are zeroed after the softmax), "added" (0 or 1 is added), "tiny" (-1e-9).
        split: How heads are split: "transpose", or "view" without a transpose.
        merge: How heads are merged: "transpose", or "view" without a transpose.
        order: Which projections act as query, key and value.
        projected: Whether W^O is applied.
    """

    scale: str = "sqrt d_k"
    axis: str = "key"
    future: str = "causal"
    padding: bool = True
    masking: str = "fill"
    split: str = "transpose"
    merge: str = "transpose"
    order: str = "qkv"
    projected: bool = True


def _kinds() -> Mapping[str, AttentionPlan]:
    return {kind: AttentionPlan() for kind in KINDS}


@dataclass(frozen=True)
class Plan:
    """Settings of the whole computation (section 3).

    Attributes:
        attention: Settings of each kind of attention.
        embedding: Factor of the embeddings: "scaled" (√d_model), "unscaled", "after" (positions are scaled as well),
            "divided" (by √d_model).
        positions: "sinusoidal" (interleaved), "split", "tensor2tensor" (split, other frequencies), "from 1",
            "swapped" (cosines first), "doubled" (exponents twice as large), "per column" (2j/d_model for column j),
            "cosine off" (cosines have the exponent (2i+1)/d_model), "base 1000", "batch" (along the batch), "learned",
            "none".
        target_positions: Whether the decoder's input has positions.
        norm: "post" (the paper: LayerNorm(x + Sublayer(x))), "pre" (x + Sublayer(LayerNorm(x))), "inside"
            (x + LayerNorm(Sublayer(x))), "normed residual" (LayerNorm(x) + Sublayer(LayerNorm(x))), "none".
        final_norm: Whether norms after the last layers are applied, if there are weights for them: "applied",
            "missing", or "first" (to the embeddings instead).
        spread: Denominator of the norm: "biased" (variance over n), "unbiased" (n - 1, ε added to the deviation).
        no_residual: Sub-layers without a residual connection.
        activation: "relu", "gelu", "gelu tanh", "silu", "none", "output" (ReLU after the second linear only), "both".
        memory: What encoder-decoder attention reads: "final" (the encoder's output), "layer" (the encoder layer of the
            same number), "embedding" (the encoder's input), "decoder" (the decoder itself), "decoder unmasked"
            (the same without the mask of the future), "unnormed" (before the encoder's final norm).
        cross_first: Encoder-decoder attention precedes self-attention.
        logits: "plain", or "divided" (by √d_model, the other half of scaling shared embeddings).
    """

    attention: Mapping[str, AttentionPlan] = field(default_factory=_kinds)
    embedding: str = "scaled"
    positions: str = "sinusoidal"
    target_positions: bool = True
    norm: str = "post"
    final_norm: str = "applied"
    spread: str = "biased"
    no_residual: frozenset[str] = frozenset()
    activation: str = "relu"
    memory: str = "final"
    cross_first: bool = False
    logits: str = "plain"


@dataclass(frozen=True)
class Variation:
    """A change to a plan.

    Attributes:
        name: Entry of the catalogue.
        changes: Fields of `Plan` or, with `kinds`, of `AttentionPlan`, and their values.
        kinds: Kinds of attention to change; empty for changes to `Plan` itself.
    """

    name: str
    changes: Mapping[str, Any]
    kinds: tuple[str, ...] = ()

    def apply(self, plan: Plan) -> Plan:
        """Return the changed plan."""
        if not self.kinds:
            return replace(plan, **self.changes)
        changed = {kind: replace(plan.attention[kind], **self.changes) for kind in self.kinds}
        return replace(plan, attention={**plan.attention, **changed})


_PLAN_CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("pre-norm", {"norm": "pre"}),
    ("learned-positions", {"positions": "learned"}),
    ("gelu", {"activation": "gelu"}),
    ("gelu", {"activation": "gelu tanh"}),
    ("silu", {"activation": "silu"}),
    ("sinusoids-split", {"positions": "split"}),
    ("sinusoids-split", {"positions": "tensor2tensor"}),
    ("norm-unbiased", {"spread": "unbiased"}),
    ("embedding-norm", {"final_norm": "first"}),
    ("logits-divided", {"logits": "divided"}),
    ("embedding-unscaled", {"embedding": "unscaled"}),
    ("embedding-scaled-late", {"embedding": "after"}),
    ("embedding-divided", {"embedding": "divided"}),
    ("positions-missing", {"positions": "none"}),
    ("target-positions-missing", {"target_positions": False}),
    ("positions-from-1", {"positions": "from 1"}),
    ("positions-exponents", {"positions": "doubled"}),
    ("positions-exponents", {"positions": "per column"}),
    ("positions-exponents", {"positions": "cosine off"}),
    ("positions-exponents", {"positions": "base 1000"}),
    ("positions-swapped", {"positions": "swapped"}),
    ("positions-batch", {"positions": "batch"}),
    ("norm-inside", {"norm": "inside"}),
    ("norm-residual", {"norm": "normed residual"}),
    ("norm-missing", {"norm": "none"}),
    ("final-norm-missing", {"final_norm": "missing"}),
    ("residual-missing", {"no_residual": frozenset(SUBLAYERS)}),
    ("residual-missing", {"no_residual": frozenset({"attention"})}),
    ("residual-missing", {"no_residual": frozenset({"cross"})}),
    ("residual-missing", {"no_residual": frozenset({"feed-forward"})}),
    ("relu-missing", {"activation": "none"}),
    ("relu-on-output", {"activation": "output"}),
    ("relu-on-output", {"activation": "both"}),
    ("memory-decoder", {"memory": "decoder"}),
    ("memory-decoder", {"memory": "decoder unmasked"}),
    ("memory-layer", {"memory": "layer"}),
    ("memory-embedding", {"memory": "embedding"}),
    ("memory-unnormed", {"memory": "unnormed"}),
    ("cross-first", {"cross_first": True}),
)

_ATTENTION_CHANGES: tuple[tuple[str, dict[str, Any], tuple[str, ...]], ...] = (
    ("scale-missing", {"scale": "none"}, KINDS),
    ("scale-d_model", {"scale": "sqrt d_model"}, KINDS),
    ("scale-squared", {"scale": "d_k"}, KINDS),
    ("scale-d_model", {"scale": "d_model"}, KINDS),
    ("scale-multiplied", {"scale": "times"}, KINDS),
    ("softmax-axis", {"axis": "query"}, KINDS),
    ("softmax-axis", {"axis": "head"}, KINDS),
    ("softmax-axis", {"axis": "batch"}, KINDS),
    ("future-visible", {"future": "none"}, ("decoder",)),
    ("future-one-ahead", {"future": "ahead"}, ("decoder",)),
    ("self-hidden", {"future": "strict"}, ("decoder",)),
    ("future-reversed", {"future": "reversed"}, ("decoder",)),
    ("padding-seen", {"padding": False}, ("encoder", "cross")),
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
    ("projection-missing", {"projected": False}, KINDS),
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
