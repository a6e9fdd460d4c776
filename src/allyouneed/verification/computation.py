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
    observe: Observe

    def logits(self) -> Tensor:
        w, plan = self.weights, self.plan
        memories = self.encode()
        x = self.embed("target", w.target_embedding, w.target_positions, self.batch.target)
        for index, layer in enumerate(w.decoder):
            sublayers = [self.attend_self, self.attend_memory]
            for sublayer in reversed(sublayers) if plan.cross_first else sublayers:
                x = sublayer(f"decoder.{index}", layer, x, self.memory(memories, index))
            x = self.feed_forward(f"decoder.{index}", layer, x)
        x = self.observe("output.input", self.final("decoder", w.decoder_norm, x))
        logits = _apply(w.output, x)
        return self.observe("logits", logits / math.sqrt(w.d_model) if plan.logits == "divided" else logits)

    def encode(self) -> list[Tensor]:
        """Return the encoder's input, the output of each layer, and the output after the final norm."""
        w = self.weights
        states = [x := self.embed("source", w.source_embedding, w.source_positions, self.batch.source)]
        for index, layer in enumerate(w.encoder):
            x = self.attend_self(f"encoder.{index}", layer, x)
            x = self.feed_forward(f"encoder.{index}", layer, x)
            states.append(x)
        return [*states, self.final("encoder", w.encoder_norm, x)]

    def attend_self(self, layer_site: str, layer: LayerWeights, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Apply self-attention with its residual connection; memory is not used."""
        site, kind = f"{layer_site}.self", layer_site.partition(".")[0]
        return self.residual(
            site, "attention", layer.norms[0], x, lambda y: self.attend(site, kind, layer.attention, y, y)
        )

    def attend_memory(self, layer_site: str, layer: LayerWeights, x: Tensor, memory: Tensor) -> Tensor:
        """Apply encoder-decoder attention with its residual connection."""
        site, weights = f"{layer_site}.cross", layer.cross
        assert weights is not None
        own = self.plan.memory.startswith("decoder")
        return self.residual(
            site, "cross", layer.norms[1], x, lambda y: self.attend(site, "cross", weights, y, y if own else memory)
        )

    def feed_forward(self, layer_site: str, layer: LayerWeights, x: Tensor) -> Tensor:
        """Apply the feed-forward network with its residual connection."""
        site = f"{layer_site}.ffn"
        return self.residual(site, "feed-forward", layer.norms[-1], x, lambda y: self.feed(site, layer.feed_forward, y))

    def memory(self, memories: list[Tensor], index: int) -> Tensor:
        layers = len(memories) - 2
        chosen = {"layer": min(index + 1, layers), "embedding": 0, "unnormed": layers}
        return memories[chosen.get(self.plan.memory, -1)]

    def embed(self, side: str, table: Tensor, learned: Tensor | None, ids: Tensor) -> Tensor:
        plan, w, d_model = self.plan, self.weights, self.weights.d_model
        x = self.observe(f"{side}.tokens", table[ids])
        factor = {"scaled": math.sqrt(d_model), "divided": 1 / math.sqrt(d_model)}.get(plan.embedding, 1.0)
        positions = position_encodings(plan.positions, ids.shape, d_model, learned).to(x)
        if side == "target" and not plan.target_positions:
            positions = torch.zeros_like(positions)
        x = x * factor + positions
        x = x * math.sqrt(d_model) if plan.embedding == "after" else x
        if plan.final_norm == "first":
            stack = "encoder" if side == "source" else "decoder"
            x = self.normalise(stack, w.encoder_norm if side == "source" else w.decoder_norm, x)
        return self.observe(f"{side}.embedding", x)

    def residual(
        self, site: str, sublayer: str, norm: NormWeights | None, x: Tensor, function: Callable[[Tensor], Tensor]
    ) -> Tensor:
        style = self.plan.norm
        keep = 0.0 if sublayer in self.plan.no_residual else 1.0
        if style in ("pre", "normed residual"):
            normed = self.observe(f"{site}.input", self.normalise(site, norm, x))
            return (normed if style == "normed residual" else x) * keep + function(normed)
        x = self.observe(f"{site}.input", x)
        if style == "inside":
            return x * keep + self.normalise(site, norm, function(x))
        summed = x * keep + function(x)
        return summed if style == "none" else self.normalise(site, norm, summed)

    def final(self, side: str, norm: NormWeights | None, x: Tensor) -> Tensor:
        return x if norm is None or self.plan.final_norm != "applied" else self.normalise(side, norm, x)

    def normalise(self, site: str, norm: NormWeights | None, x: Tensor) -> Tensor:
        """Apply layer normalisation (Ba et al., 2016)."""
        if norm is None:
            return x
        x = self.observe(f"{site}.norm_input", x)
        if self.plan.spread == "unbiased":
            centred = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + norm.eps)
        else:
            centred = F.layer_norm(x, x.shape[-1:], eps=norm.eps)
        return self.observe(f"{site}.norm_output", centred * norm.weight + norm.bias)

    def feed(self, site: str, weights: FeedForwardWeights, x: Tensor) -> Tensor:
        """Compute equation 2."""
        activation = self.plan.activation
        inner = self.observe(f"{site}.inner", _apply(weights.inner, x))
        hidden = self.observe(f"{site}.hidden", _ACTIVATIONS[activation](inner))
        output = self.observe(f"{site}.output", _apply(weights.outer, hidden))
        return F.relu(output) if activation in ("output", "both") else output

    def attend(self, site: str, kind: str, w: AttentionWeights, x: Tensor, memory: Tensor) -> Tensor:
        """Compute multi-head attention (section 3.2.2) with equation 1."""
        plan, observe = self.plan.attention[kind], self.observe
        memory = x if memory is x else observe(f"{site}.memory", memory)
        named = {"q": ("queries", w.query), "k": ("keys", w.key), "v": ("values", w.value)}
        inputs = (x, memory, memory)
        parts = [
            observe(f"{site}.{named[c][0]}", _apply(named[c][1], y)) for c, y in zip(plan.order, inputs, strict=True)
        ]
        q, k, v = (_split(part, w.heads, plan.split) for part in parts)
        scores = q @ k.transpose(-2, -1) / _divisor(plan.scale, q.shape[-1], self.weights.d_model)
        own = kind == "cross" and self.plan.memory.startswith("decoder")
        heads = self.weigh(site, scores, plan, self.mask(kind, plan, own, scores)) @ v
        merged = heads.transpose(1, 2).flatten(2) if plan.merge == "transpose" else heads.reshape(*x.shape[:2], -1)
        merged = observe(f"{site}.concat", merged)
        return merged if not plan.projected or w.output is None else observe(f"{site}.output", _apply(w.output, merged))

    def weigh(self, site: str, scores: Tensor, plan: AttentionPlan, mask: Tensor) -> Tensor:
        """Apply mask and softmax to scores [batch, heads, query, key]."""
        axis = {"key": -1, "query": -2, "head": 1, "batch": 0}[plan.axis]
        fills = {"positive": 1e9, "zero": 0.0, "tiny": -1e-9}
        hidden = mask if plan.masking == "inverted" else ~mask
        masked = scores
        if plan.masking == "added":
            masked = scores + mask.to(scores)
        elif plan.masking != "multiplied":
            masked = scores.masked_fill(hidden, fills.get(plan.masking, torch.finfo(scores.dtype).min))
        if plan.masking in ("added", "zero", "tiny"):
            masked = self.observe(f"{site}.scores", masked)
        else:
            self.observe(f"{site}.scores", scores)
        weights = self.observe(f"{site}.weights", masked.softmax(axis))
        return weights * mask if plan.masking == "multiplied" else weights

    def mask(self, kind: str, plan: AttentionPlan, own: bool, scores: Tensor) -> Tensor:
        """Return True where a query may see a key, shape [batch, heads, query, key]."""
        queries, keys = scores.shape[-2:]
        mask = torch.ones(queries, keys, dtype=torch.bool)
        future = "none" if self.plan.memory == "decoder unmasked" and own else plan.future
        if (kind == "decoder" or own) and future != "none":
            mask = mask.triu(0) if future == "reversed" else mask.tril({"strict": -1, "ahead": 1}.get(future, 0))
        ids = self.batch.target if kind == "decoder" or own else self.batch.source
        if plan.padding and ids.shape[1] == keys:
            mask = mask & (ids != self.batch.pad_id)[:, None, None, :]
        return mask.expand(scores.shape)


def position_encodings(kind: str, shape: torch.Size, d_model: int, learned: Tensor | None) -> Tensor:
    """Compute the encodings of section 3.5, or a known variation, in float64.

    Args:
        kind: See `Plan.positions`.
        shape: Shape of the ids, [batch, length].
        d_model: Width.
        learned: Learned encodings, shape [positions, d_model].

    Returns:
        Encodings, shape [length, d_model]; for "batch", [batch, 1, d_model].
    """
    batch, length = shape
    if kind == "none":
        return torch.zeros(length, d_model, dtype=torch.float64)
    if kind == "learned":
        if learned is None:
            raise ValueError("there are no learned positions")
        return learned[:length]
    start = 1 if kind == "from 1" else 0
    position = torch.arange(start, start + (batch if kind == "batch" else length), dtype=torch.float64)[:, None]
    pairs = (d_model + 1) // 2
    column = torch.arange(0, 2 * pairs, 2, dtype=torch.float64)
    sine = cosine = column / d_model
    if kind == "doubled":
        sine = cosine = 2 * column / d_model
    elif kind == "per column":
        sine, cosine = 2 * column / d_model, 2 * (column + 1) / d_model
    elif kind == "cosine off":
        cosine = (column + 1) / d_model
    elif kind == "tensor2tensor":
        sine = cosine = torch.arange(pairs, dtype=torch.float64) / max(pairs - 1, 1)
    base = 1000.0 if kind == "base 1000" else 10000.0
    sines, cosines = (position / base**sine).sin(), (position / base**cosine).cos()
    if kind in ("split", "tensor2tensor"):
        encodings = torch.cat([sines, cosines], -1)
    else:
        parts = [cosines, sines] if kind == "swapped" else [sines, cosines]
        encodings = torch.stack(parts, -1).flatten(1)
    encodings = encodings[:, :d_model]
    return encodings[:, None] if kind == "batch" else encodings


def _apply(linear: Linear, x: Tensor) -> Tensor:
    return F.linear(x, linear.weight, linear.bias)


def _split(x: Tensor, heads: int, how: str) -> Tensor:
    """Split heads: [batch, length, heads · width] -> [batch, heads, length, width]."""
    if how == "view":
        return x.reshape(len(x), heads, x.shape[1], -1)
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _divisor(scale: str, d_k: int, d_model: int) -> float:
    return {
        "sqrt d_k": math.sqrt(d_k),
        "none": 1.0,
        "d_k": float(d_k),
        "sqrt d_model": math.sqrt(d_model),
        "d_model": float(d_model),
        "times": 1 / math.sqrt(d_k),
    }[scale]
