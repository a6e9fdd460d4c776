"""Gradients of the loss with respect to W^Q and W^K, with and without the scale.

trained         {scale: [head], no_scale: [head], loss: [with, without]}: norm of the gradient of each head's W^Q and
                W^K together, ordered by kind, layer and head; the loss is the negative log likelihood of the references
                in nats per token, over all sentences of `effects.py`
initial         the same with random weights as at the start of training; null for an imported architecture or more than
                `LARGEST` parameters, where it would take seconds
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from allyouneed.data.batches import pad
from allyouneed.data.tokens.tokenizer import BOS, PAD
from allyouneed.insight.variants.switches import Switches, interventions
from allyouneed.model.attention import MultiHeadAttention
from allyouneed.model.probe import Probe
from allyouneed.model.transformer import Transformer

LARGEST = 20_000_000
_BATCH = 8  # sentences of a backward pass
_SEED = 1


def gradients_data(model: Transformer, pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, Any]:
    """Compute the gradient norms of all heads, with and without the scale.

    Args:
        model: The model.
        pairs: Source and target ids, each with EOS.

    Returns:
        The JSON object described above.
    """
    initial = _initial(model)
    return {"trained": _both(model, pairs), "initial": None if initial is None else _both(initial, pairs)}


def gradient_norms(
    model: Transformer, pairs: Sequence[tuple[list[int], list[int]]], switches: Switches
) -> tuple[list[float], float]:
    """Compute, by autograd, the norm of the gradient of each head's W^Q and W^K together, and the loss.

    Args:
        model: The model, without dropout (in evaluation mode).
        pairs: Source and target ids, each with EOS.
        switches: Switches of the pass.

    Returns:
        Norms ordered by kind, layer and head, and the loss in nats per token.
    """
    attentions = _attentions(model)
    weights = [linear.weight for each in attentions for linear in (each.query, each.key)]
    sums = [torch.zeros_like(weight) for weight in weights]
    tokens, total = sum(len(target) for _, target in pairs), 0.0
    probe = Probe(interventions=interventions(model, switches))
    device = model.output.weight.device
    with torch.inference_mode(False), torch.enable_grad():
        for begin in range(0, len(pairs), _BATCH):
            part = pairs[begin : begin + _BATCH]
            inputs = pad([[BOS, *target[:-1]] for _, target in part]).to(device)
            expected = pad([target for _, target in part]).to(device)
            logits = model(pad([source for source, _ in part]).to(device), inputs, probe)
            loss = F.cross_entropy(logits.float().flatten(0, 1), expected.flatten(), ignore_index=PAD, reduction="sum")
            for kept, gradient in zip(sums, torch.autograd.grad(loss / tokens, weights), strict=True):
                kept += gradient
            total += float(loss.detach())
    return [
        norm for i, each in enumerate(attentions) for norm in _head_norms(each.num_heads, *sums[2 * i : 2 * i + 2])
    ], total / tokens


def _both(model: Transformer, pairs: Sequence[tuple[list[int], list[int]]]) -> dict[str, list[float]]:
    (norms, loss), (without, other) = (
        gradient_norms(model, pairs, switches) for switches in (Switches(), Switches(scale=False))
    )
    rounded = [[float(f"{x:.3g}") for x in values] for values in (norms, without)]
    return {"scale": rounded[0], "no_scale": rounded[1], "loss": [round(loss, 3), round(other, 3)]}


def _attentions(model: Transformer) -> list[MultiHeadAttention]:
    encoder = [layer.self_attention for layer in model.encoder.layers]
    decoder = [layer.self_attention for layer in model.decoder.layers]
    return [*encoder, *decoder, *(layer.cross_attention for layer in model.decoder.layers)]


def _head_norms(heads: int, *gradients: Tensor) -> list[float]:
    """Split the rows of the matrices [heads · d_k, d_model] by head."""
    squares = sum((gradient.reshape(heads, -1) ** 2).sum(dim=1) for gradient in gradients)
    return [math.sqrt(x) for x in squares.tolist()] if isinstance(squares, Tensor) else []


def _initial(model: Transformer) -> Transformer | None:
    """Make a model of the same size with random weights."""
    if type(model) is not Transformer or model.num_parameters() > LARGEST:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        sizes = model.vocab_size, model.pad_id, model.output.out_features
        return Transformer(model.config, *sizes, plain=model.plain).to(model.output.weight.device).eval()
