"""Forward passes with activations of another pass, many cells in one batch.

A cell is one activation: a part of the model, a layer, and a position, a head, or both. It is taken from the donor's
pass and put into the receiver's pass, which then runs to its end. Each row of a batch has one cell.

Dimensions: source, target: positions; cells: rows of a batch; targets: positions whose prediction is examined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.model.masks import future_mask
from allyouneed.model.probe import KINDS, Interventions, Probe, Replacement, Site, StateRecorder, stack_sizes
from allyouneed.model.transformer import Transformer, log_probabilities
from allyouneed.translation.search import NEVER_GENERATED

STACKS = ("encoder", "decoder")
SUBLAYERS = {"encoder": ("encoder", "encoder feed-forward"), "decoder": ("decoder", "cross", "decoder feed-forward")}
TOP_TOKENS = 5
_BATCH_TOKENS = 8192  # source and target tokens of a batch of cells


class Cell(NamedTuple):
    """An activation to patch.

    Attributes:
        part: "encoder stream" or "decoder stream" (the residual stream), or a sub-layer of `SUBLAYERS`.
        layer: Layer from 0. Layer i of a stream is the input of layer i; after the last layer, the stack's output.
        position: Position in the receiver, None for all that have a counterpart in the donor.
        head: Head of an attention, None for the whole output of the sub-layer.
    """

    part: str
    layer: int
    position: int | None = None
    head: int | None = None

    @property
    def stack(self) -> str:
        """The stack that the cell belongs to, "encoder" or "decoder"."""
        return "encoder" if self.part.startswith("encoder") else "decoder"

    @property
    def place(self) -> tuple[Site, str]:
        """Site and name of the tensor."""
        if self.part.endswith("stream"):
            return stream_site(self.stack, self.layer), "result"
        return (self.part, self.layer), "output" if self.head is None else "heads"


@dataclass(frozen=True)
class Pass:
    """A forward pass whose activations are known.

    Attributes:
        model: The model.
        source_ids: Shape [1, source].
        target_ids: The decoder's input, shape [1, target].
        states: Activations by site and name, as `Observer` describes them.
        log_p: Natural log probabilities of each next token, shape [target, vocab].
    """

    model: Transformer
    source_ids: Tensor
    target_ids: Tensor
    states: Mapping[Site, Mapping[str, Tensor]]
    log_p: Tensor

    @property
    def mask(self) -> Tensor:
        """Mask of the source, [1, 1, 1, source]."""
        return self.model.source_mask(self.source_ids)


class Predictions(NamedTuple):
    """What the receiver predicts with each cell.

    Attributes:
        log_p: Log probabilities of the two tokens of each target, shape [cells, targets, 2].
        top: The most likely tokens, shape [cells, targets, `TOP_TOKENS`].
        top_log_p: Their log probabilities.
    """

    log_p: np.ndarray
    top: np.ndarray
    top_log_p: np.ndarray


class Patcher(NamedTuple):
    """A donor, a receiver, and which positions correspond.

    Attributes:
        donor: Pass that gives activations.
        receiver: Pass that receives them.
        counterparts: For each stack and position of the receiver, the position in the donor, or -1.
    """

    donor: Pass
    receiver: Pass
    counterparts: Mapping[str, Sequence[int]]


@torch.inference_mode()
def record_pass(model: Transformer, source: Sequence[int], target: Sequence[int]) -> Pass:
    """Run a forward pass and keep its activations.

    Args:
        model: The model, in evaluation mode.
        source: Source ids with EOS.
        target: The decoder's input, beginning with BOS.
    """
    recorder = StateRecorder("heads", "output", "result")
    device = model.output.weight.device
    source_ids, target_ids = (torch.tensor([list(ids)], device=device) for ids in (source, target))
    logits = model(source_ids, target_ids, Probe((recorder,)))
    return Pass(model, source_ids, target_ids, recorder.sites, log_probabilities(logits[0]))


def stream_site(stack: str, layer: int) -> Site:
    """Return the site whose result is the residual stream before layer `layer` of a stack."""
    if layer == 0:
        return ("source" if stack == "encoder" else "target", 0)
    return (f"{stack} feed-forward", layer - 1)


@torch.inference_mode()
def predict(patcher: Patcher, cells: Sequence[Cell], targets: Sequence[tuple[int, int, int]]) -> Predictions:
    """Patch each cell and predict.

    Args:
        patcher: Donor and receiver.
        cells: Cells, in any order.
        targets: Position, and two token ids whose log probabilities are wanted.

    Returns:
        Predictions, one row per cell.
    """
    positions = [position for position, *_ in targets]
    pairs = torch.tensor([pair for _, *pair in targets], device=patcher.receiver.source_ids.device)
    found = []
    order = sorted(range(len(cells)), key=lambda i: (cells[i].stack, cells[i].layer))  # equal depths share batches
    for stack, layer, rows in _batches(patcher.receiver, [cells[i] for i in order]):
        log_p = log_probabilities(patcher.receiver.model.output(_hidden(patcher, stack, layer, rows)[:, positions]))
        best = log_p.topk(min(TOP_TOKENS, log_p.shape[-1]), dim=-1)
        picked = log_p.gather(-1, pairs.expand(len(rows), -1, -1))
        found.append([x.cpu().numpy() for x in (picked, best.indices, best.values)])
    back = np.argsort(order)
    chosen, top, top_log_p = (np.concatenate(parts)[back] for parts in zip(*found, strict=True))
    return Predictions(chosen, top, top_log_p)


@torch.inference_mode()
def generate(patcher: Patcher, cells: Sequence[Cell | None], prefix: int, max_length: int) -> list[list[int]]:
    """Patch each cell and continue greedily after the decoder's first `prefix` inputs.

    Positions that are generated are computed without patching.

    Args:
        patcher: Donor and receiver.
        cells: Cells, one hypothesis each; None leaves the receiver unchanged.
        prefix: Number of the receiver's inputs that are given.
        max_length: Maximum number of tokens, the given ones included.

    Returns:
        Target ids of each cell without BOS and EOS.
    """
    model, changes = patcher.receiver.model, interventions(patcher, cells)
    cache = model.start(patcher.receiver.source_ids.expand(len(cells), -1), Probe(interventions=changes))
    rows = patcher.receiver.target_ids[:, :prefix].expand(len(cells), -1)
    for position in range(prefix):
        logits = model.decode_step(rows[:, position], cache, Probe(interventions=changes.at(position)))
    ended = torch.zeros(len(cells), dtype=torch.bool, device=rows.device)
    while True:
        logits[:, NEVER_GENERATED] = float("-inf")
        tokens = logits.argmax(dim=-1).masked_fill(ended, EOS)
        rows, ended = torch.cat([rows, tokens[:, None]], dim=1), ended | (tokens == EOS)
        if bool(ended.all()) or rows.shape[1] > max_length:
            break
        logits = model.decode_step(tokens, cache)
    generated: list[list[int]] = rows[:, 1:].tolist()
    return [ids[: ids.index(EOS)] if EOS in ids else ids for ids in generated]


def interventions(patcher: Patcher, cells: Sequence[Cell | None]) -> Interventions:
    """Make the interventions of a batch with one row per cell; nothing is patched in a row of None."""
    donor, receiver, counterparts = patcher
    chosen: dict[tuple[Site, str], Tensor] = {}
    values: dict[tuple[Site, str], Tensor] = {}
    for row, cell in enumerate(cells):
        if cell is None:
            continue
        partners = torch.tensor(counterparts[cell.stack], device=receiver.source_ids.device)
        site, name = place = cell.place
        if place not in chosen:
            values[place] = donor.states[site][name][..., partners.clamp(min=0), :]
            shape = receiver.states[site][name].shape
            chosen[place] = torch.zeros(len(cells), *shape[1:-1], dtype=torch.bool, device=partners.device)
        known = partners >= 0
        if cell.position is not None:
            known = known & (torch.arange(len(known), device=known.device) == cell.position)
        chosen[place][row, ... if cell.head is None else cell.head] = known
    return Interventions(replaced={place: Replacement(chosen[place], values[place]) for place in chosen})


def _batches(receiver: Pass, cells: Iterable[Cell]) -> Iterator[tuple[str, int, list[Cell]]]:
    """Group the cells by stack and layer, in batches of limited size."""
    size = max(1, _BATCH_TOKENS // (receiver.source_ids.shape[1] + receiver.target_ids.shape[1]))
    for (stack, layer), group in groupby(cells, lambda cell: (cell.stack, cell.layer)):
        rows = list(group)
        for start in range(0, len(rows), size):
            yield stack, layer, rows[start : start + size]


def _hidden(patcher: Patcher, stack: str, layer: int, cells: Sequence[Cell]) -> Tensor:
    """Compute the input of the pre-softmax linear; layers below `layer` are those of the receiver's pass."""
    receiver, model = patcher.receiver, patcher.receiver.model
    probe, site = Probe(interventions=interventions(patcher, cells)), stream_site(stack, layer)
    x = probe.replace(site, "result", receiver.states[site]["result"].expand(len(cells), -1, -1))
    target_ids, mask = receiver.target_ids.expand(len(cells), -1), receiver.mask
    if stack == "encoder":
        for encoder_layer in list(model.encoder.layers)[layer:]:
            x = encoder_layer(x, mask, probe)
        return model.decode(target_ids, model.encoder.norm(x), mask)
    last = receiver.states[stream_site("encoder", len(model.encoder.layers))]["result"]
    memory, future = model.encoder.norm(last).expand(len(cells), -1, -1), future_mask(x.shape[1], x.device)
    for decoder_layer in list(model.decoder.layers)[layer:]:
        x = decoder_layer(x, memory, future, mask, probe)
    return model.decoder.norm(x)


def head_cells(receiver: Pass, counterparts: Mapping[str, Sequence[int]]) -> dict[str, list[Cell]]:
    """List the cells of the maps of single heads, [layer · head, position] of each of `KINDS`, see `all_cells`."""
    maps: dict[str, list[Cell]] = {}
    for kind in KINDS:
        stack, heads = Cell(kind, 0).stack, range(stack_sizes(receiver.model.config, kind).heads)
        layers, positions = range(_depth(receiver, stack)), range(len(counterparts[stack]))
        maps[f"{kind} head positions"] = [Cell(kind, i, j, head) for i in layers for head in heads for j in positions]
    return maps


def all_cells(receiver: Pass, counterparts: Mapping[str, Sequence[int]], first: int = 0) -> dict[str, list[Cell]]:
    """List the cells of the page's maps, by map, row after row.

    Args:
        receiver: Pass that receives activations.
        counterparts: See `Patcher`.
        first: First layer of the decoder's stream; 1 leaves out the embeddings, which equal inputs share.

    Returns:
        Maps layer × position of each stream and sub-layer, and layer × head of each of `KINDS`, named "encoder heads".
    """
    layers = {stack: _depth(receiver, stack) for stack in STACKS}
    maps: dict[str, list[Cell]] = {}
    for stack in STACKS:
        positions = range(len(counterparts[stack]))
        streams = range(first if stack == "decoder" else 0, layers[stack] + 1)
        maps[f"{stack} stream"] = [Cell(f"{stack} stream", i, j) for i in streams for j in positions]
        for part in SUBLAYERS[stack]:
            maps[part] = [Cell(part, i, j) for i in range(layers[stack]) for j in positions]
    for kind in KINDS:
        depth = layers[Cell(kind, 0).stack]
        heads = range(stack_sizes(receiver.model.config, kind).heads)
        maps[f"{kind} heads"] = [Cell(kind, i, None, head) for i in range(depth) for head in heads]
    return maps


def _depth(receiver: Pass, stack: str) -> int:
    model = receiver.model
    return len(model.encoder.layers if stack == "encoder" else model.decoder.layers)
