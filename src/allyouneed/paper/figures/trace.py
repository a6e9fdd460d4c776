"""Inputs and outputs of a model's modules in one forward pass, recorded by hooks."""

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


class ModuleCall(NamedTuple):
    """A call of a module.

    Attributes:
        module: The module.
        inputs: Its arguments that are tensors.
        output: Its result.
    """

    module: Any
    inputs: list[Tensor]
    output: Tensor


class ForwardTrace(NamedTuple):
    """Record of a forward pass.

    Attributes:
        calls: Calls by the module's name, in the order in which they returned.
        weights: Attention weights of the encoder's first layer, shape [1, heads, query, key].
    """

    calls: dict[str, ModuleCall]
    weights: Tensor


@torch.inference_mode()
def trace(model: Transformer, source_ids: Sequence[int], target_ids: Sequence[int]) -> ForwardTrace:
    """Run a forward pass of one sentence pair and record it.

    Args:
        model: The model, which is unchanged afterwards.
        source_ids: Source ids, ending with EOS.
        target_ids: Target ids, starting with BOS.

    Returns:
        The record.
    """
    calls: dict[str, ModuleCall] = {}
    handles = []
    for name, module in model.named_modules():

        def record(module: nn.Module, inputs: tuple[Any, ...], output: Tensor, name: str = name) -> None:
            calls[name] = ModuleCall(module, [x for x in inputs if isinstance(x, Tensor)], output)

        handles.append(module.register_forward_hook(record))
    recorder = AttentionRecorder()
    try:
        model(pad([source_ids]), pad([target_ids]), Probe((recorder,)))
    finally:
        for handle in handles:
            handle.remove()
    return ForwardTrace(calls, recorder.encoder[0])


def block_rows(model: Transformer, traced: ForwardTrace) -> list[dict[str, Any]]:
    """Summarise the blocks of a model.

    Args:
        model: The model.
        traced: Record of a forward pass.

    Returns:
        A row per kind of block: copies, parameters, output shape. A shared matrix is counted where it occurs first.
    """
    rows: dict[str, dict[str, Any]] = {}
    counted: set[int] = set()
    for name, call in traced.calls.items():
        if (
            not isinstance(call.module, MultiHeadAttention | FeedForward | nn.LayerNorm | Embedding)
            and name != "output"
        ):
            continue
        parameters = {id(parameter): parameter.numel() for parameter in call.module.parameters()}
        row = rows.setdefault(
            re.sub(r"layers\.\d+", "layers", name), {"copies": 0, "parameters": 0, "output": shape(call.output)}
        )
        row["copies"] += 1
        row["parameters"] += sum(count for key, count in parameters.items() if key not in counted)
        counted |= parameters.keys()
    return [{"block": name, **row} for name, row in rows.items()]


def shape(tensor: Tensor) -> str:
    """Format the shape of a tensor, such as `[1, 14, 512]`.

    Args:
        tensor: The tensor.

    Returns:
        The text.
    """
    return str(list(tensor.shape))
