"""Keeps what attention does in a model while a `with` block runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed.model.attention import MultiHeadAttention, Steps
from allyouneed.model.layers import Residual
from allyouneed.model.transformer import Transformer

KINDS = ("encoder", "decoder", "cross")


@dataclass(repr=False)
class Stages:
    """One attention sub-layer's last call, from what comes in to what goes out (figures 1 and 2).

    x [batch, query, d_model], memory [batch, key, d_model]: what is projected to queries, and to keys and values;
    steps: equation 1 of every head; concat [batch, query, heads · d_v]; output [batch, query, d_model]: after W^O;
    residual: what output is added to; result: after add & norm (with norm "pre": after add). There from that call on.
    """

    x: Tensor = field(init=False)
    memory: Tensor = field(init=False)
    steps: Steps = field(init=False)
    concat: Tensor = field(init=False)
    output: Tensor = field(init=False)
    residual: Tensor = field(init=False)
    result: Tensor = field(init=False)

    def of_sentence(self, row: int) -> dict[str, np.ndarray]:
        """One sentence of the batch, float32, without the batch's dimension: x, memory, queries, ..., result."""
        named = {**vars(self), **self.steps._asdict()}
        del named["steps"], named["mask"]
        return {name: x[row].float().cpu().numpy() for name, x in named.items()}


@dataclass
class Recorded:
    """Of the last call. encoder, decoder, cross: weights, one tensor a layer: [batch, heads, query, key]; stages: of
    each of `KINDS` one a layer, when they were asked for; source_ids, target_ids [batch, length]: then too."""

    encoder: list[Tensor] = field(default_factory=list)
    decoder: list[Tensor] = field(default_factory=list)
    cross: list[Tensor] = field(default_factory=list)
    stages: dict[str, list[Stages]] = field(default_factory=dict)
    source_ids: Tensor = field(init=False, repr=False)
    target_ids: Tensor = field(init=False, repr=False)


def attentions(model: Transformer) -> dict[str, list[tuple[MultiHeadAttention, Residual]]]:
    """Every attention and the residual connection around it, of each kind in the order of layers."""
    decoder = model.decoder.layers
    return {
        "encoder": [(layer.self_attention, layer.residuals[0]) for layer in model.encoder.layers],
        "decoder": [(layer.self_attention, layer.residuals[0]) for layer in decoder],
        "cross": [(layer.cross_attention, layer.residuals[1]) for layer in decoder],
    }


@contextmanager
def explicit_path(model: Transformer) -> Iterator[None]:
    """Every attention by its explicit path, which gives the same output to rounding; training then pads, too."""
    found = [attention for layers in attentions(model).values() for attention, _ in layers]
    before = [(attention.explicit, attention.observe, attention.twist) for attention in found]
    plain = model.plain
    try:
        model.plain = True
        for attention in found:
            attention.explicit = True
        yield
    finally:
        model.plain = plain
        for attention, kept in zip(found, before, strict=True):
            attention.explicit, attention.observe, attention.twist = kept


@contextmanager
def record_attention(model: Transformer, stages: bool = False) -> Iterator[Recorded]:
    """Keeps the weights, with `stages` all that leads to them and follows. The output stays the same to rounding."""
    recorded = Recorded()
    with ExitStack() as stack:
        stack.enter_context(explicit_path(model))
        for kind, layers in attentions(model).items():
            kept: list[Tensor] = getattr(recorded, kind)
            recorded.stages[kind] = [Stages() for _ in layers] if stages else []
            for layer, (attention, residual) in enumerate(layers):
                attention.observe = _keeping(kept, layer, recorded.stages[kind], attention.observe)
                if stages:
                    _watch(stack, attention, residual, recorded.stages[kind][layer])
        if stages:
            _watch_ids(stack, model, recorded)
        yield recorded


def _keeping(
    kept: list[Tensor], layer: int, stages: list[Stages], outer: Callable[[Steps], None] | None
) -> Callable[[Steps], None]:
    """An observer: the layer's place in `kept` is filled by the first call and filled anew by later ones.

    outer: that of a recording around this one, which goes on.
    """

    def observe(steps: Steps) -> None:
        if outer is not None:
            outer(steps)
        kept[layer : layer + 1] = [steps.weights.detach()]
        if stages:
            stages[layer].steps = Steps._make(None if x is None else x.detach() for x in steps)

    return observe


def _watch(stack: ExitStack, attention: MultiHeadAttention, residual: Residual, stages: Stages) -> None:
    def hook(module: nn.Module, **places: str) -> None:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            for name, place in places.items():
                setattr(stages, name, (inputs[0] if place == "in" else output).detach())

        stack.callback(module.register_forward_hook(keep).remove)

    hook(attention.query, x="in")
    hook(attention.key, memory="in")
    hook(attention.output, concat="in", output="out")
    hook(residual, residual="in", result="out")


def _watch_ids(stack: ExitStack, model: Transformer, recorded: Recorded) -> None:
    for side in ("source", "target"):

        def keep(module: nn.Module, inputs: tuple[Any, ...], name: str = f"{side}_ids") -> None:
            setattr(recorded, name, torch.as_tensor(inputs[0]).detach())

        stack.callback(getattr(model, f"{side}_embedding").register_forward_pre_hook(keep).remove)
