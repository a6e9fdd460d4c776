"""What the blocks of a live model were given and gave, watched by hooks while one sentence pair passes through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from allyouneed.data.batches import pad
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.embedding import Embedding
from allyouneed.model.feed_forward import FeedForward
from allyouneed.model.probe import AttentionRecorder, Probe
from allyouneed.model.transformer import Transformer


class Call(NamedTuple):
    """What a module was given and gave, in one pass."""

    module: Any  # what has the name that the call is found by
    inputs: list[Tensor]
    output: Tensor


class Trace(NamedTuple):
    """calls: by the module's name, in the order in which they ended; weights: encoder's first layer, all heads."""

    calls: dict[str, Call]
    weights: Tensor


@torch.inference_mode()
def trace(model: Transformer, source_ids: Sequence[int], target_ids: Sequence[int]) -> Trace:
    """One pass over source_ids, which end with EOS, and target_ids from BOS on."""
    calls: dict[str, Call] = {}
    handles = []
    for name, module in model.named_modules():

        def keep(module: nn.Module, inputs: tuple[Any, ...], output: Tensor, name: str = name) -> None:
            calls[name] = Call(module, [given for given in inputs if isinstance(given, Tensor)], output)

        handles.append(module.register_forward_hook(keep))
    recorder = AttentionRecorder()
    try:
        model(pad([source_ids]), pad([target_ids]), Probe((recorder,)))
    finally:
        for handle in handles:
            handle.remove()
    return Trace(calls, recorder.encoder[0])


def block_rows(model: Transformer, traced: Trace) -> list[dict[str, Any]]:
    """A row a kind of block: how many, parameters, what it gives. A shared matrix is counted where it comes first."""
    rows: dict[str, dict[str, Any]] = {}
    counted: set[int] = set()
    for name, call in traced.calls.items():
        if (
            not isinstance(call.module, MultiHeadAttention | FeedForward | nn.LayerNorm | Embedding)
            and name != "output"
        ):
            continue
        new = {id(parameter): parameter.numel() for parameter in call.module.parameters()}
        row = rows.setdefault(
            re.sub(r"layers\.\d+", "layers", name), {"copies": 0, "parameters": 0, "output": shape(call.output)}
        )
        row["copies"] += 1
        row["parameters"] += sum(count for key, count in new.items() if key not in counted)
        counted |= new.keys()
    return [{"block": name, **row} for name, row in rows.items()]


def shape(tensor: Tensor) -> str:
    """`[1, 14, 512]`."""
    return str(list(tensor.shape))
