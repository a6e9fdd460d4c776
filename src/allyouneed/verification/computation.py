"""Section 3 with the paper's equations, run with anyone's weights, and with any known mistake applied.

The tests hold the unchanged plan to `allyouneed.Transformer`. Dimensions: batch; source, target, query, key: positions;
heads; d_model, d_k, d_v, d_ff: widths; vocab: vocabulary size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from allyouneed.verification.plan import AttentionPlan, Plan
from allyouneed.verification.positions import position_encodings
from allyouneed.verification.weights import (
    AttentionWeights,
    FeedForwardWeights,
    LayerWeights,
    Linear,
    NormWeights,
    Weights,
)

Observe = Callable[[str, Tensor], Tensor]

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "gelu sigmoid": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": F.silu,
    "none": lambda x: x,
    "output": lambda x: x,
    "both": F.relu,
}


@dataclass(frozen=True)
class Batch:
    """Token ids of a batch, padded at the end.

    Attributes:
        source: Source ids, shape [batch, source].
        target: Ids of the decoder's input, shape [batch, target].
        pad_id: Id of the padding token.
    """

    source: Tensor
    target: Tensor
    pad_id: int


def compute(weights: Weights, plan: Plan, batch: Batch, observe: Observe) -> Tensor:
    """Compute the logits of a plan.

    Args:
        weights: The parameters.
        plan: What to compute.
        batch: Token ids.
        observe: Called with the name and value of each step; its result replaces the value.

    Returns:
        Logits, shape [batch, target, vocab].
    """
    return _Run(weights, plan, batch, observe).logits()


@dataclass(frozen=True)
class _Run:
    weights: Weights
    plan: Plan
    batch: Batch
    watch: Observe

    def observe(self, step: str, value: Tensor) -> Tensor:
        factor = self.plan.factor(step) if self.plan.factors else 1.0
        return self.watch(step, value if factor == 1 else value * factor)

    def logits(self) -> Tensor:
        w, plan = self.weights, self.plan
        memories = self.encode()
        table = w.source_embedding if plan.target_table == "source" else w.target_embedding
        x = self.embed("target", table, w.target_positions, self.batch.target)
        for index, layer in enumerate(w.decoder):
            x = entered = self.enter("target", x, index)
            sublayers = [self.attend_self, self.attend_memory]
            for sublayer in reversed(sublayers) if plan.cross_first else sublayers:
                x = sublayer(f"decoder.{index}", layer, x, self.memory(memories, index), entered)
            x = self.feed_forward(f"decoder.{index}", layer, x, entered)
        x = self.observe("output.input", self.final("decoder", w.decoder_norm, x))
        logits = _apply(w.output, x)
        if plan.logits == "divided":
            logits = logits / math.sqrt(w.d_model)
        elif plan.logits.endswith("over positions"):
            logits = logits.log_softmax(1) if plan.logits.startswith("log") else logits.softmax(1)
        return self.observe("logits", logits)

    def encode(self) -> list[Tensor]:
        """Return the encoder's input, the output of each layer, and the output after the final norm."""
        w = self.weights
        states = [x := self.embed("source", w.source_embedding, w.source_positions, self.batch.source)]
        for index, layer in enumerate(w.encoder):
            entered = self.enter("source", x, index)
            x = self.attend_self(f"encoder.{index}", layer, entered, entered, entered)
            x = self.feed_forward(f"encoder.{index}", layer, x, entered)
            states.append(x)
        return [*states, self.final("encoder", w.encoder_norm, x)]

    def enter(self, side: str, x: Tensor, index: int) -> Tensor:
        """Return the input of a layer."""
        plan = self.plan.at("encoder" if side == "source" else "decoder")
        if not plan.combined.startswith("every layer") or (index == 0 and plan.combined == "every layer"):
            return x
        learned = self.weights.source_positions if side == "source" else self.weights.target_positions
        return x + position_encodings(plan.positions, x.shape[:2], x.shape[-1], learned).to(x)

    def attend_self(self, layer_site: str, layer: LayerWeights, x: Tensor, memory: Tensor, entered: Tensor) -> Tensor:
        """Apply self-attention with its residual connection; memory is not used."""
        site, kind = f"{layer_site}.self", layer_site.partition(".")[0]
        return self.residual(
            site, "attention", layer.norms, (x, entered), lambda y: self.attend(site, kind, layer.attention, y, y)
        )

    def attend_memory(self, layer_site: str, layer: LayerWeights, x: Tensor, memory: Tensor, entered: Tensor) -> Tensor:
        """Apply encoder-decoder attention with its residual connection."""
        site, weights = f"{layer_site}.cross", layer.cross
        assert weights is not None
        own = self.plan.at(site).memory.startswith("decoder")
        shifted = self.plan.at(site).cross_query == "layer"
        return self.residual(
            site,
            "cross",
            (layer.norms[1], layer.norms[0]),
            (x, entered),
            lambda y: self.attend(site, "cross", weights, entered if shifted else y, y if own else memory),
        )

    def feed_forward(self, layer_site: str, layer: LayerWeights, x: Tensor, entered: Tensor) -> Tensor:
        """Apply the feed-forward network with its residual connection."""
        site = f"{layer_site}.ffn"
        return self.residual(
            site, "feed-forward", layer.norms[::-1], (x, entered), lambda y: self.feed(site, layer.feed_forward, y)
        )

    def memory(self, memories: list[Tensor], index: int) -> Tensor:
        layers = len(memories) - 2
        chosen = {"layer": min(index + 1, layers), "first": 1, "embedding": 0, "unnormed": layers}
        return memories[chosen.get(self.plan.at(f"decoder.{index}").memory, -1)]

    def embed(self, side: str, table: Tensor, learned: Tensor | None, ids: Tensor) -> Tensor:
        stack = "encoder" if side == "source" else "decoder"
        plan, w, d_model = self.plan.at(stack), self.weights, self.weights.d_model
        x = self.observe(f"{side}.tokens", table[ids])
        factors = {"scaled": math.sqrt(d_model), "divided": 1 / math.sqrt(d_model), "twice": float(d_model)}
        factor = factors.get(plan.embedding, 1.0)
        positions = position_encodings(plan.positions, ids.shape, d_model, learned).to(x)
        if side == "target" and not plan.target_positions:
            positions = torch.zeros_like(positions)
        x = x * factor * positions if plan.combined == "multiplied" else x * factor + positions
        x = x * math.sqrt(d_model) if plan.embedding == "after" else x
        if plan.final_norm == "first":
            x = self.normalise(stack, w.encoder_norm if side == "source" else w.decoder_norm, x)
        return self.observe(f"{side}.embedding", x)

    def residual(
        self,
        site: str,
        sublayer: str,
        norms: tuple[NormWeights | None, ...],
        inputs: tuple[Tensor, Tensor],
        function: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Apply a sub-layer with residual connection and norm.

        Args:
            site: Where it is.
            sublayer: What it is, see `plan.SUBLAYERS`.
            norms: Its own norm first, that of the layer's first sub-layer last.
            inputs: Input of the sub-layer, and of the whole layer.
            function: The sub-layer.
        """
        plan, x = self.plan.at(site), inputs[0]
        norm = norms[0] if plan.norm_of == "own" or sublayer == "attention" else norms[-1]
        style = plan.norm
        keep = 0.0 if sublayer in plan.no_residual else 2.0 if plan.residual == "doubled" else 1.0
        if style in ("pre", "normed residual"):
            normed = self.observe(f"{site}.input", self.normalise(site, norm, x))
            added = inputs[1] if plan.residual == "layer" else x
            return (normed if style == "normed residual" else added) * keep + function(normed)
        queries = inputs[1] if sublayer == "cross" and plan.cross_query == "layer" else x
        seen = self.observe(f"{site}.input", queries)
        x = x if queries is not x else seen
        added = inputs[1] if plan.residual == "layer" else x
        if style == "inside":
            return added * keep + self.normalise(site, norm, function(x))
        summed = added * keep + function(x)
        return summed if style == "none" else self.normalise(site, norm, summed)

    def final(self, side: str, norm: NormWeights | None, x: Tensor) -> Tensor:
        return x if norm is None or self.plan.final_norm != "applied" else self.normalise(side, norm, x)

    def normalise(self, site: str, norm: NormWeights | None, x: Tensor) -> Tensor:
        """Apply layer normalisation (Ba et al., 2016)."""
        if norm is None:
            return x
        x = self.observe(f"{site}.norm_input", x)
        plan = self.plan.at(site)
        axes = {"positions": (1,), "batch": (0,), "sentence": (1, 2)}.get(plan.norm_axis, (2,))
        centred = x - x.mean(axes, keepdim=True)
        if plan.spread == "unbiased":
            centred = centred / (x.std(axes, keepdim=True) + norm.eps)
        elif plan.spread == "variance":
            centred = centred / (x.var(axes, keepdim=True) + norm.eps)
        elif plan.spread == "biased":
            centred = centred / (x.var(axes, unbiased=False, keepdim=True) + norm.eps).sqrt()
        return self.observe(f"{site}.norm_output", centred * norm.weight + norm.bias)

    def feed(self, site: str, weights: FeedForwardWeights, x: Tensor) -> Tensor:
        """Compute equation 2."""
        activation = self.plan.at(site).activation
        inner = self.observe(f"{site}.inner", _apply(weights.inner, x))
        hidden = self.observe(f"{site}.hidden", _ACTIVATIONS[activation](inner))
        output = self.observe(f"{site}.output", _apply(weights.outer, hidden))
        return F.relu(output) if activation in ("output", "both") else output

    def attend(self, site: str, kind: str, w: AttentionWeights, x: Tensor, memory: Tensor) -> Tensor:
        """Compute multi-head attention (section 3.2.2) with equation 1."""
        whole, observe = self.plan.at(site), self.observe
        plan = whole.attention[kind]
        memory = x if memory is x else observe(f"{site}.memory", memory)
        named = {"q": ("queries", w.query), "k": ("keys", w.key), "v": ("values", w.value)}
        inputs = (x, memory, memory)
        parts = [
            self.project(f"{site}.{named[c][0]}", named[c][1], y, c not in plan.order[:i])
            for i, (c, y) in enumerate(zip(plan.order, inputs, strict=True))
        ]
        q, k, v = (_split(part, w.heads, plan.split) for part in parts)
        scores = q @ k.transpose(-2, -1) / _divisor(plan.scale, q.shape[-1], self.weights.d_model, k.shape[-2])
        own = kind == "cross" and whole.memory.startswith("decoder")
        heads = self.weigh(site, scores, plan, self.mask(kind, plan, own, scores)) @ v
        if plan.heads == "last":
            heads = torch.cat([torch.zeros_like(heads[:, :-1]), heads[:, -1:]], 1)
        merged = heads.transpose(1, 2).flatten(2) if plan.merge == "transpose" else heads.reshape(*x.shape[:2], -1)
        merged = observe(f"{site}.concat", merged)
        return merged if not plan.projected or w.output is None else observe(f"{site}.output", _apply(w.output, merged))

    def project(self, step: str, linear: Linear, x: Tensor, observed: bool) -> Tensor:
        projected = _apply(linear, x)
        return self.observe(step, projected) if observed else projected

    def weigh(self, site: str, scores: Tensor, plan: AttentionPlan, mask: Tensor) -> Tensor:
        """Apply mask and softmax to scores [batch, heads, query, key]."""
        axis = {"key": -1, "query": -2, "head": 1, "batch": 0}[plan.axis]
        scores = scores * self.plan.factor(f"{site}.scores")
        fills = {"positive": 1e9, "zero": 0.0, "tiny": -1e-9}
        hidden = mask if plan.masking == "inverted" else ~mask
        masked = scores
        if plan.masking == "added":
            masked = scores + mask.to(scores)
        elif plan.masking != "multiplied":
            masked = scores.masked_fill(hidden, fills.get(plan.masking, torch.finfo(scores.dtype).min))
        if plan.masking == "offset":
            masked = scores - 1e9 * hidden.to(scores)
        elif plan.masking == "infinite":
            masked = scores.masked_fill(hidden, -torch.inf)
        if plan.future == "added":
            later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
            masked = masked + later.to(scores)
        if plan.masking in ("added", "zero", "tiny") or plan.future == "added":
            masked = self.watch(f"{site}.scores", masked)
        else:
            seen = self.watch(f"{site}.scores", scores)
            masked = masked if seen is scores else seen
        weights = masked.softmax(axis)
        if plan.future == "after":  # a row without any visible key is 0 in torch's attention
            weights = weights * mask.any(-1, keepdim=True)
        weights = self.observe(f"{site}.weights", weights)
        return weights * mask if plan.masking == "multiplied" else weights

    def mask(self, kind: str, plan: AttentionPlan, own: bool, scores: Tensor) -> Tensor:
        """Return True where a query may see a key, shape [batch, heads, query, key]."""
        queries, keys = scores.shape[-2:]
        mask = torch.ones(queries, keys, dtype=torch.bool)
        future = "none" if (self.plan.memory == "decoder unmasked" and own) or plan.future == "added" else plan.future
        if (kind == "decoder" or own or future == "everywhere") and future != "none":
            upper = {"reversed": 0, "after": 1}
            mask = mask.triu(upper[future]) if future in upper else mask.tril({"strict": -1, "ahead": 1}.get(future, 0))
        ids = self.batch.target if kind == "decoder" or own else self.batch.source
        if plan.padding == "query":
            ids = self.batch.source if kind == "encoder" else self.batch.target
            mask = mask & (ids != self.batch.pad_id)[:, None, :, None]
        elif plan.padding and ids.shape[1] == keys:
            mask = mask & (ids != self.batch.pad_id)[:, None, None, :]
        return mask.expand(scores.shape)


def _apply(linear: Linear, x: Tensor) -> Tensor:
    return F.linear(x, linear.weight, linear.bias)


def _split(x: Tensor, heads: int, how: str) -> Tensor:
    """Split heads: [batch, length, heads · width] -> [batch, heads, length, width]."""
    if how == "view":
        return x.reshape(len(x), heads, x.shape[1], -1)
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _divisor(scale: str, d_k: int, d_model: int, keys: int) -> float:
    return {
        "sqrt d_k": math.sqrt(d_k),
        "none": 1.0,
        "d_k": float(d_k),
        "sqrt d_model": math.sqrt(d_model),
        "d_model": float(d_model),
        "times": 1 / math.sqrt(d_k),
        "sqrt keys": math.sqrt(keys),
    }[scale]
