"""The forward pass on packed sentences, used in training where it is supported."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from allyouneed import kernels
from allyouneed.config import ModelConfig
from allyouneed.model import forks
from allyouneed.model.packing import Packed, PackedMask, flash_attention_works
from allyouneed.model.probe import active_probe
from allyouneed.model.transformer import Transformer


def can_pack(model: Transformer) -> bool:
    """Check whether `packed_hidden` supports this model: with the CPU kernels, or with FlashAttention on CUDA."""
    if not model.packable or model.plain or active_probe(model, None):
        return False
    weight = model.output.weight
    half = torch.is_autocast_enabled(weight.device.type)
    if weight.device.type == "cpu" and (weight.dtype != torch.float32 or half != kernels.multiplies_in_bf16()):
        return False
    return packs(model.config, weight.device, half)


def packs(config: ModelConfig, device: torch.device, half: bool) -> bool:
    """Check whether `packed_hidden` supports a model of these sizes.

    Args:
        config: Settings of the model.
        device: Its device.
        half: Whether autocast to 16 bits is enabled.
    """
    heads = {(stack.d_k, stack.d_v) for stack in (config.encoder, config.decoder)}
    if device.type == "cuda":
        are_fast = (d_k == d_v and d_k % 8 == 0 and flash_attention_works(device, d_k) for d_k, d_v in heads)
        return half and all(are_fast)
    is_whole = all(width % kernels.LANES == 0 for width in (config.d_model, *itertools.chain(*heads)))
    is_fast = kernels.available() and (not half or kernels.has_bf16())
    return device.type == "cpu" and is_fast and is_whole


def packed_hidden(model: Transformer, source: Packed, target: Packed) -> Tensor:
    """Compute `Transformer.hidden` for packed sentences.

    Args:
        model: Model for which `can_pack` holds.
        source: Source tokens.
        target: Target tokens, beginning with the start token.

    Returns:
        Input of the pre-softmax linear, shape [target tokens, d_model].
    """
    forks.warn_if_limited()
    memory = model.source_embedding.packed(source.ids, source.positions, source.max_length)
    memory = model.encoder(memory, PackedMask(source, source))
    x = model.target_embedding.packed(target.ids, target.positions, target.max_length)
    return model.decoder(x, memory, PackedMask(target, target, causal=True), PackedMask(target, source))
