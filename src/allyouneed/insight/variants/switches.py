"""Switches that turn off parts of attention, to show their effect.

A variant is computed by the trained model with the given switches. It shows what the trained model loses,
not what a model trained without the part would learn; `allyouneed paper questions` trains such models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.model.cache import DecoderCache
from allyouneed.model.probe import KINDS, Interventions, Probe, stack_sizes
from allyouneed.model.transformer import Transformer
from allyouneed.translation.search import Model

TEMPERATURES = (0.5, 2.0)  # computed for every page; a server computes others on request
_MAX_TEMPERATURE = 100.0
_FLAGS = ("scale", "future_mask", "padding_mask", "positions")

Head = tuple[str, int, int]


@dataclass(frozen=True)
class Switches:
    """Settings of the switches; the defaults are the paper's model.

    Attributes:
        scale: Divide the scores by √d_k (section 3.2.1).
        future_mask: Mask later positions in the decoder's self-attention (section 3.2.3).
        padding_mask: Mask padding of the source, in the encoder and in the encoder-decoder attention.
        positions: Add positional encodings (section 3.5).
        temperature: An additional divisor of the scores.
        off: Heads whose output is set to zero: (kind, layer, head) from 0, with kind one of `KINDS`.
    """

    scale: bool = True
    future_mask: bool = True
    padding_mask: bool = True
    positions: bool = True
    temperature: float = 1.0
    off: frozenset[Head] = frozenset()

    @property
    def key(self) -> str:
        """Canonical name, "" for the paper's model, for example "scale=off,off=cross.0.3"."""
        parts = [f"{name}=off" for name in _FLAGS if not getattr(self, name)]
        parts += [f"temperature={self.temperature:g}"] if self.temperature != 1 else []
        parts += ["off=" + ".".join(map(str, head)) for head in sorted(self.off)]
        return ",".join(parts)

    def as_json(self) -> dict[str, Any]:
        """Convert to the JSON object that the page uses and `switches_from` reads."""
        flags = {name: getattr(self, name) for name in _FLAGS}
        return {**flags, "temperature": self.temperature, "off": [list(head) for head in sorted(self.off)]}


def switches_from(values: Mapping[str, Any], model: Transformer) -> Switches:
    """Read switches from a JSON object as `Switches.as_json` makes it.

    Args:
        values: The object; a missing entry has its default.
        model: The model that the switches are for.

    Returns:
        The switches.

    Raises:
        UserError: If a name is unknown, a value has the wrong type or range, or a head does not exist.
    """
    known = [*_FLAGS, "temperature", "off"]
    for name in values:
        if name not in known:
            raise UserError(f"switches: unknown name {name!r}. Choose from {', '.join(known)}.")
    for name in _FLAGS:
        if not isinstance(values.get(name, True), bool):
            raise UserError(f"switches: {name} must be true or false.")
    temperature = values.get("temperature", 1.0)
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not 1 / _MAX_TEMPERATURE <= temperature <= _MAX_TEMPERATURE:
        raise UserError(
            f"switches: temperature must be a number from {1 / _MAX_TEMPERATURE:g} to {_MAX_TEMPERATURE:g}."
        )
    heads = {head: head for head in all_heads(model)}
    off = values.get("off", [])
    if not isinstance(off, list) or not all(isinstance(head, list) and _is_head(head, heads) for head in off):
        raise UserError('switches: off must list heads of this model, for example ["cross", 0, 3], counted from 0.')
    flags: dict[str, Any] = {name: values.get(name, True) for name in _FLAGS}
    return Switches(**flags, temperature=float(temperature), off=frozenset(heads[tuple(head)] for head in off))


def _is_head(value: list[Any], heads: Mapping[Head, Head]) -> bool:
    return all(isinstance(part, str | int | float) for part in value) and tuple(value) in heads


def all_heads(model: Transformer) -> list[Head]:
    """List all heads of a model, ordered by kind (as in `KINDS`), layer and head."""
    sizes = {kind: stack_sizes(model.config, kind) for kind in KINDS}
    return [(kind, layer, head) for kind, of in sizes.items() for layer in range(of.layers) for head in range(of.heads)]


def single_switches(model: Transformer) -> list[Switches]:
    """List all variants with one change: each flag off, two temperatures, each head off."""
    scale, future_mask = Switches(scale=False), Switches(future_mask=False)
    flags = [scale, future_mask, Switches(padding_mask=False), Switches(positions=False)]
    temperatures = [Switches(temperature=temperature) for temperature in TEMPERATURES]
    return [*flags, *temperatures, *(Switches(off=frozenset({head})) for head in all_heads(model))]


def interventions(model: Transformer, *switches: Switches) -> Interventions:
    """Convert switches to the interventions of a probe.

    Args:
        model: The model that the switches are for.
        switches: One object for the whole batch, or one per sentence; they may differ only in the heads that are off.

    Returns:
        Interventions for `Probe`.
    """
    first = switches[0]
    unmasked = set() if first.future_mask else {"decoder"}
    unmasked |= set() if first.padding_mask else {"encoder", "cross"}
    silent = {}
    for site in dict.fromkeys((kind, layer) for each in switches for kind, layer, _ in sorted(each.off)):
        numbers = range(stack_sizes(model.config, site[0]).heads)
        heads = [[(*site, head) in each.off for head in numbers] for each in switches]
        silent[site] = torch.tensor(heads, device=model.output.weight.device)
    return Interventions(first.scale, first.temperature, frozenset(unmasked), silent, first.positions)


def searchable(model: Transformer, switches: Sequence[Switches]) -> Model:
    """Make a model with these switches, as in `interventions`, for `translation.search`."""
    probe = Probe(interventions=interventions(model, *switches))
    return _SwitchedModel(model, probe) if switches[0].future_mask else UncachedModel(model, probe)


@dataclass
class _SwitchedCache:
    """The decoder's cache, and the probe of the unfinished sentences."""

    inner: DecoderCache
    probe: Probe

    def select(self, rows: Tensor) -> None:
        self.inner.select(rows)

    def keep_sentences(self, sentences: Tensor) -> None:
        self.inner.keep_sentences(sentences)
        self.probe = Probe(self.probe.observers, self.probe.interventions.select(sentences))


@dataclass(frozen=True)
class _SwitchedModel:
    """A model that computes every step with a probe."""

    model: Transformer
    probe: Probe

    def start(self, source_ids: Tensor) -> _SwitchedCache:
        return _SwitchedCache(self.model.start(source_ids, self.probe), self.probe)

    def decode_step(self, tokens: Tensor, cache: _SwitchedCache) -> Tensor:
        return self.model.decode_step(tokens, cache.inner, cache.probe)


@dataclass
class _Prefixes:
    """State of `UncachedModel` between steps.

    Attributes:
        memory: The encoder's output, shape [batch, source, d_model].
        mask: Its padding mask, shape [batch, 1, 1, source].
        ids: Tokens generated so far, shape [batch · beam, length].
        probe: Probe of the unfinished sentences.
    """

    memory: Tensor
    mask: Tensor
    ids: Tensor
    probe: Probe

    def select(self, rows: Tensor) -> None:
        self.ids = self.ids[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        self.memory, self.mask = self.memory[sentences], self.mask[sentences]
        self.probe = Probe(self.probe.observers, self.probe.interventions.select(sentences))


@dataclass(frozen=True)
class UncachedModel:
    """A model that decodes the whole prefix again at every step.

    Without the mask on future positions, new tokens change the states of earlier ones, so nothing can be cached.
    """

    model: Transformer
    probe: Probe

    def start(self, source_ids: Tensor) -> _Prefixes:
        """Encode source_ids [batch, source]."""
        memory, mask = self.model.encode(source_ids, self.probe)
        return _Prefixes(memory, mask, source_ids.new_empty(len(source_ids), 0), self.probe)

    def decode_step(self, tokens: Tensor, cache: _Prefixes) -> Tensor:
        """Compute the logits [batch · beam, vocab] that follow the last token of every hypothesis."""
        beam = len(tokens) // len(cache.memory)
        if not cache.ids.shape[1]:
            cache.ids = tokens.new_empty(len(tokens), 0)
        cache.ids = torch.cat([cache.ids, tokens[:, None]], dim=1)
        memory, mask = (x.repeat_interleave(beam, dim=0) for x in (cache.memory, cache.mask))
        return self.model.output(self.model.decode(cache.ids, memory, mask, cache.probe)[:, -1])
