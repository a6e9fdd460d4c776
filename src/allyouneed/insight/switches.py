"""Parts of attention switched off in a whole model, to see what they are for. All of it is computed, none imitated.

What happens is what happens to a model trained with them; `allyouneed paper questions` trains without.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.model.attention import Twist
from allyouneed.model.probe import KINDS, attentions, explicit_path
from allyouneed.model.transformer import Transformer
from allyouneed.translation.search import Model, SearchCache

TEMPERATURES = (0.5, 2.0)  # that the page carries without a server
_HOTTEST = 100.0
_FLAGS = ("scale", "future_mask", "padding_mask", "positions")

Head = tuple[str, int, int]


@dataclass(frozen=True)
class Switches:
    """scale: division by √d_k (3.2.1); future_mask: of the decoder's self-attention (3.2.3); padding_mask: of the
    source, in the encoder and above it; positions: section 3.5; temperature: a further divisor of the scores;
    off: heads whose output is zero, as (kind, layer, head) from 0, kind one of "encoder", "decoder", "cross"."""

    scale: bool = True
    future_mask: bool = True
    padding_mask: bool = True
    positions: bool = True
    temperature: float = 1.0
    off: frozenset[Head] = frozenset()

    @property
    def key(self) -> str:
        """A name that is the same for the same switches, "" for the paper's: "scale=off,off=cross.0.3"."""
        parts = [f"{name}=off" for name in _FLAGS if not getattr(self, name)]
        parts += [f"temperature={self.temperature:g}"] if self.temperature != 1 else []
        parts += ["off=" + ".".join(map(str, head)) for head in sorted(self.off)]
        return ",".join(parts)

    def as_json(self) -> dict[str, Any]:
        """As the page has them, and `switches_from` reads them."""
        flags = {name: getattr(self, name) for name in _FLAGS}
        return {**flags, "temperature": self.temperature, "off": [list(head) for head in sorted(self.off)]}


def switches_from(facts: Mapping[str, Any], model: Transformer) -> Switches:
    """From JSON, as `as_json` gives it; what is absent is as in the paper. Errors: `UserError`."""
    known = [*_FLAGS, "temperature", "off"]
    for name in facts:
        if name not in known:
            raise UserError(f"switches: there is no {name!r}; choose of {', '.join(known)}.")
    for name in _FLAGS:
        if not isinstance(facts.get(name, True), bool):
            raise UserError(f"switches: {name} is true or false.")
    temperature = facts.get("temperature", 1.0)
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 1 / _HOTTEST <= temperature <= _HOTTEST:
        raise UserError(f"switches: temperature is a number from {1 / _HOTTEST:g} to {_HOTTEST:g}.")
    heads = {head: head for head in all_heads(model)}
    off = facts.get("off", [])
    if not isinstance(off, list) or not all(isinstance(head, list) and _is_head(head, heads) for head in off):
        raise UserError('switches: off is a list of heads of this model, for example ["cross", 0, 3], from 0.')
    flags: dict[str, Any] = {name: facts.get(name, True) for name in _FLAGS}
    return Switches(**flags, temperature=float(temperature), off=frozenset(heads[tuple(head)] for head in off))


def _is_head(found: list[Any], heads: Mapping[Head, Head]) -> bool:
    return all(isinstance(part, str | int | float) for part in found) and tuple(found) in heads


def all_heads(model: Transformer) -> list[Head]:
    """Kinds in the order of `KINDS`, then layers, then heads."""
    layers = {kind: len(found) for kind, found in attentions(model).items()}
    return [(kind, layer, head) for kind in KINDS for layer in range(layers[kind]) for head in range(_heads(model))]


def single_switches(model: Transformer) -> list[Switches]:
    """Each alone: everything that is on turned off, two temperatures, every head off."""
    scale, future_mask = Switches(scale=False), Switches(future_mask=False)
    flags = [scale, future_mask, Switches(padding_mask=False), Switches(positions=False)]
    warmth = [Switches(temperature=temperature) for temperature in TEMPERATURES]
    return [*flags, *warmth, *(Switches(off=frozenset({head})) for head in all_heads(model))]


@contextmanager
def switched(model: Transformer, switches: Switches, *others: Switches) -> Iterator[None]:
    """The model with these switches while the block runs, by the explicit path; as it was afterwards.

    With `others`, which are the same but for the heads that are off, each sentence of a batch has its own; a search of
    the batch then takes `Apart`.
    """
    embeddings = (model.source_embedding, model.target_embedding)
    divisor = (math.sqrt(model.config.key_size) if switches.scale else 1.0) * switches.temperature
    off = [each.off for each in (switches, *others)]
    with explicit_path(model):
        for kind, layers in attentions(model).items():
            masked = switches.future_mask if kind == "decoder" else switches.padding_mask
            for layer, (attention, _) in enumerate(layers):
                attention.twist = Twist(divisor, masked, _silent(model, kind, layer, off))
        try:
            for embedding in embeddings:
                embedding.placeless = not switches.positions
            yield
        finally:
            for embedding in embeddings:
                embedding.placeless = False


def _silent(model: Transformer, kind: str, layer: int, off: Sequence[frozenset[Head]]) -> Tensor | None:
    """[sentences, heads], None where all speak."""
    table = [[(kind, layer, head) in of_sentence for head in range(_heads(model))] for of_sentence in off]
    return torch.tensor(table, device=model.output.weight.device) if any(map(any, table)) else None


class Rereading(NamedTuple):
    """A model whose decoder reads all it has said anew at every step, as it must once words see those after them:
    then what was computed for them is no longer what it was. Search needs no more than these two methods."""

    model: Transformer

    def start(self, source_ids: Tensor) -> Said:
        return Said(*self.model.encode(source_ids), source_ids.new_empty(len(source_ids), 0))

    def decode_step(self, tokens: Tensor, said: Said) -> Tensor:
        """The last token of every hypothesis [batch · beam] -> logits of the next [batch · beam, vocabulary]."""
        beam = len(tokens) // len(said.memory)
        if not said.ids.shape[1]:
            said.ids = tokens.new_empty(len(tokens), 0)
        said.ids = torch.cat([said.ids, tokens[:, None]], dim=1)
        memory, mask = (x.repeat_interleave(beam, dim=0) for x in (said.memory, said.mask))
        return self.model.output(self.model.decode(said.ids, memory, mask)[:, -1])


@dataclass
class Said:
    """memory [batch, source, d_model] with its mask; ids [batch · beam, length] said so far."""

    memory: Tensor
    mask: Tensor
    ids: Tensor

    def select(self, rows: Tensor) -> None:
        self.ids = self.ids[rows]

    def keep_sentences(self, sentences: Tensor) -> None:
        self.memory, self.mask = self.memory[sentences], self.mask[sentences]


class Apart(NamedTuple):
    """A model whose sentences have each their own heads off, for search: when some leave the batch, so do theirs."""

    model: Transformer
    reader: Model

    def start(self, source_ids: Tensor) -> ApartCache:
        return ApartCache(self.model, self.reader.start(source_ids))

    def decode_step(self, tokens: Tensor, cache: ApartCache) -> Tensor:
        return self.reader.decode_step(tokens, cache.inner)


class ApartCache(NamedTuple):
    """inner: the reader's, which is asked for everything; beside it the sentences' silent heads are kept in step."""

    model: Transformer
    inner: SearchCache

    def select(self, rows: Tensor) -> None:
        self.inner.select(rows)

    def keep_sentences(self, sentences: Tensor) -> None:
        self.inner.keep_sentences(sentences)
        for layers in attentions(self.model).values():
            for attention, _ in layers:
                twist = attention.twist
                if twist.silent is not None:
                    attention.twist = replace(twist, silent=twist.silent[sentences])


def _heads(model: Transformer) -> int:
    return model.config.num_heads
