"""Probes observe or change attention during a forward pass, without changing the model.

A probe is an argument of `Transformer.forward` that is passed on to every attention. The model itself holds no state of
a pass, so several threads can share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from allyouneed.config import ModelConfig
from allyouneed.config.model_config import StackSizes
from allyouneed.model.attention import attention_weights

KINDS = ("encoder", "decoder", "cross")  # the encoder's and the decoder's self-attention, encoder-decoder attention
Site: TypeAlias = tuple[str, int]  # kind, and layer counted from 0


def stack_sizes(config: ModelConfig, kind: str) -> StackSizes:
    """Return the sizes of the layers that have one of `KINDS`."""
    return config.encoder if kind == "encoder" else config.decoder


class Observer(Protocol):
    """Receiver of the tensors of a forward pass.

    Sites and the names of their tensors, in the order of the pass. A site may send its tensors in several parts.

    ("source", 0), ("target", 0)
        ids [batch, length]; tokens [batch, length, d_model]: embeddings · √d_model; positions [length, d_model]:
        positional encodings, zeros if they are switched off; result: their sum, normalised with `embedding_norm`, the
        input of the first layer.
    ("encoder", layer), ("decoder", layer), ("cross", layer)
        x [batch, query, d_model] and memory [batch, key, d_model]: inputs of the projections; queries, keys, values,
        weights, heads: the steps of equation 1 (see `Probe.attention`); output [batch, query, d_model]: after W^O;
        residual: the other summand of the residual connection; result: after add & norm (after add, with norm "pre").
    ("encoder feed-forward", layer), ("decoder feed-forward", layer)
        x, output, residual and result as for attention; hidden [batch, length, d_ff]: max(0, x W₁ + b₁) (equation 2),
        or the values of the model's other activation.
    ("encoder output", 0), ("decoder output", 0)
        result [batch, length, d_model]: after all layers, and the final norm if there is one: the memory of the
        encoder-decoder attention, and the input of the pre-softmax linear.
    """

    def observe(self, site: Site, tensors: Mapping[str, Tensor]) -> None:
        """Receive tensors of one site by name."""


@dataclass(frozen=True)
class Replacement:
    """Values that replace a part of one tensor of a forward pass.

    A dimension of size 1 stands for all sentences, heads or positions. The rows of a sentence must be contiguous in the
    batch.

    Attributes:
        chosen: True where the tensor is replaced: its shape without the last dimension, [sentences, positions], or
            [sentences, heads, positions] for the outputs of heads.
        values: The values, with a last dimension more than `chosen`.
    """

    chosen: Tensor
    values: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Return x with the chosen part replaced."""
        chosen, values = (part.repeat_interleave(len(x) // len(part), dim=0) for part in (self.chosen, self.values))
        return torch.where(chosen[..., None], values.to(x), x)

    def select(self, sentences: Tensor) -> Replacement:
        """Restrict the replacement to these sentences of the batch, in this order."""
        parts = (part if len(part) == 1 else part[sentences] for part in (self.chosen, self.values))
        return Replacement(*parts)

    def at(self, position: int) -> Replacement:
        """Restrict the replacement to one position, as a sequence of length 1."""
        return Replacement(self.chosen[..., position : position + 1], self.values[..., position : position + 1, :])


@dataclass(frozen=True)
class Interventions:
    """Changes to a forward pass. The default changes nothing.

    Attributes:
        scale: Whether scores are divided by √d_k.
        temperature: An additional divisor of the scores.
        unmasked: Kinds of attention that are computed without their mask.
        silent: For each site, True for heads whose output is set to zero, shape [sentences, heads] or [1, heads]; the
            rows of a sentence must be contiguous in the batch.
        positions: Whether positional encodings are added.
        replaced: Replacements of heads, output or result by site and name, see `Probe.replace`.
    """

    scale: bool = True
    temperature: float = 1.0
    unmasked: frozenset[str] = frozenset()
    silent: Mapping[Site, Tensor] = field(default_factory=dict)
    positions: bool = True
    replaced: Mapping[tuple[Site, str], Replacement] = field(default_factory=dict)

    def select(self, sentences: Tensor) -> Interventions:
        """Restrict `silent` and `replaced` to these sentences of the batch, in this order."""
        silent = {site: heads if len(heads) == 1 else heads[sentences] for site, heads in self.silent.items()}
        replaced = {place: replacement.select(sentences) for place, replacement in self.replaced.items()}
        return replace(self, silent=silent, replaced=replaced)

    def at(self, position: int) -> Interventions:
        """Restrict `replaced` to one position, for a step of cached decoding, which computes only this position."""
        return replace(self, replaced={place: each.at(position) for place, each in self.replaced.items()})


@dataclass(frozen=True)
class Probe:
    """Observers and interventions for a forward pass. With a probe, attention is computed step by step.

    Attributes:
        observers: Receivers of the tensors.
        interventions: Changes to the pass.
    """

    observers: tuple[Observer, ...] = ()
    interventions: Interventions = Interventions()

    def observe(self, site: Site, **tensors: Tensor) -> None:
        """Pass tensors of a site on to all observers."""
        for observer in self.observers:
            observer.observe(site, tensors)

    def attention(self, site: Site, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """Compute equation 1 with the interventions, and observe its steps.

        Args:
            site: Kind and layer of the attention.
            queries: Shape [batch, heads, query, d_k].
            keys: Shape [batch, heads, key, d_k].
            values: Shape [batch, heads, key, d_v].
            mask: Keys that each query may attend to; None for all.

        Returns:
            Output of each head, shape [batch, heads, query, d_v].
        """
        changes = self.interventions
        mask = None if site[0] in changes.unmasked else mask
        divisor = (math.sqrt(queries.shape[-1]) if changes.scale else 1.0) * changes.temperature
        weights = attention_weights(queries, keys, mask, divisor)
        heads = weights @ values
        silent = changes.silent.get(site)
        if silent is not None:
            rows = silent.repeat_interleave(len(heads) // len(silent), dim=0)
            heads = heads.masked_fill(rows[..., None, None], 0)
        heads = self.replace(site, "heads", heads)
        self.observe(site, queries=queries, keys=keys, values=values, weights=weights, heads=heads)
        return heads

    def replace(self, site: Site, name: str, x: Tensor) -> Tensor:
        """Replace the part of a tensor that the interventions choose. Observers see the tensor after this.

        Args:
            site: Site of the tensor.
            name: "heads" [batch, heads, query, d_v], only for attention; "output" [batch, length, d_model], a sub-layer
                before its residual connection; or "result" [batch, length, d_model], a sub-layer after add & norm, the
                sum of the embeddings at ("source", 0) and ("target", 0), or the output of a stack.
            x: The tensor that was computed.

        Returns:
            The tensor to continue with.
        """
        replacement = self.interventions.replaced.get((site, name))
        return x if replacement is None else replacement.apply(x)

    def position_encodings(self, encodings: Tensor) -> Tensor:
        """Return the encodings, or zeros if positions are switched off."""
        return encodings if self.interventions.positions else torch.zeros_like(encodings)


class StateRecorder:
    """Observer that keeps the tensors of the last call of every site.

    Attributes:
        sites: Tensors by site and name, see `Observer`.

    Args:
        *names: Names of the tensors to keep; none for all.
    """

    def __init__(self, *names: str):
        self.names = frozenset(names)
        self.sites: dict[Site, dict[str, Tensor]] = {}

    def observe(self, site: Site, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors, detached from the graph."""
        kept = {name: x.detach() for name, x in tensors.items() if not self.names or name in self.names}
        self.sites.setdefault(site, {}).update(kept)


class AttentionRecorder:
    """Observer that keeps the tensors of the last call of every attention.

    Attributes:
        sites: Tensors of the attention sites by site and name, see `Observer`.
        source_ids: Token ids of the sources, shape [batch, source]; only with `stages`.
        target_ids: Token ids of the decoder's input, shape [batch, target]; only with `stages`.

    Args:
        stages: Keep all tensors instead of the weights alone.
    """

    source_ids: Tensor
    target_ids: Tensor

    def __init__(self, stages: bool = False):
        self.stages = stages
        self.sites: dict[Site, dict[str, Tensor]] = {}

    def observe(self, site: Site, tensors: Mapping[str, Tensor]) -> None:
        """Keep the tensors, detached from the graph."""
        kind = site[0]
        if kind in KINDS:
            kept = {name: x.detach() for name, x in tensors.items() if self.stages or name == "weights"}
            self.sites.setdefault(site, {}).update(kept)
        elif self.stages and kind in ("source", "target"):
            setattr(self, f"{kind}_ids", tensors["ids"].detach())

    @property
    def encoder(self) -> list[Tensor]:
        """Weights of the encoder's self-attention, one tensor [batch, heads, source, source] per layer."""
        return self.weights("encoder")

    @property
    def decoder(self) -> list[Tensor]:
        """Weights of the decoder's self-attention, one tensor [batch, heads, target, target] per layer."""
        return self.weights("decoder")

    @property
    def cross(self) -> list[Tensor]:
        """Weights of the encoder-decoder attention, one tensor [batch, heads, target, source] per layer."""
        return self.weights("cross")

    def weights(self, kind: str) -> list[Tensor]:
        """Return the weights [batch, heads, query, key] of one of `KINDS`, one tensor per layer."""
        return [tensors["weights"] for tensors in self.layers(kind)]

    def layers(self, kind: str) -> list[dict[str, Tensor]]:
        """Return the tensors of one of `KINDS` by name, one mapping per layer."""
        return [self.sites[site] for site in sorted(self.sites) if site[0] == kind]

    def sentence(self, row: int) -> AttentionRecorder:
        """Return the recording of one sentence of the batch, as a batch of 1."""
        one = AttentionRecorder(self.stages)
        for site, tensors in self.sites.items():
            one.sites[site] = {name: x[row : row + 1] for name, x in tensors.items()}
        return one

    def arrays(self, kind: str, row: int) -> list[dict[str, np.ndarray]]:
        """Return the tensors of one sentence as float32 arrays without the batch dimension, one mapping per layer.

        The result also has scores (Q Kᵀ) [heads, query, key] and concat [query, heads · d_v]. It is empty without
        `stages`.
        """
        return [_sentence_arrays(tensors, row) for tensors in self.layers(kind)] if self.stages else []


def _sentence_arrays(tensors: Mapping[str, Tensor], row: int) -> dict[str, np.ndarray]:
    scores = tensors["queries"] @ tensors["keys"].transpose(-2, -1)
    concat = tensors["heads"].transpose(1, 2).flatten(2)
    named = {**tensors, "scores": scores, "concat": concat}
    return {name: x[row].float().cpu().numpy() for name, x in named.items()}


# Recordings of `record_attention` in the current thread: each thread has its own context.
_recordings: ContextVar[tuple[tuple[nn.Module, Observer], ...]] = ContextVar("recordings", default=())


@contextmanager
def record_attention(model: nn.Module, stages: bool = False) -> Iterator[AttentionRecorder]:
    """Record the attention of every forward pass of `model` in this thread while the block runs.

    Use this for code that calls the model without a probe, for example a training step. Calls in other threads, and
    models compiled by `torch.compile`, are not recorded.

    Args:
        model: Model to record.
        stages: Keep all tensors instead of the weights alone.

    Yields:
        The recorder, which keeps the last call of each attention.
    """
    recorder = AttentionRecorder(stages)
    token = _recordings.set((*_recordings.get(), (model, recorder)))
    try:
        yield recorder
    finally:
        _recordings.reset(token)


def active_probe(model: nn.Module, probe: Probe | None) -> Probe | None:
    """Add the observers of this thread's recordings of `model` to the probe of a call."""
    if torch.compiler.is_compiling():  # reading a context variable would cause a graph break
        return probe
    recordings = _recordings.get()
    observers = tuple(observer for recorded, observer in recordings if recorded is model)
    return replace(probe or Probe(), observers=(*(probe or Probe()).observers, *observers)) if observers else probe
