"""Which matrix products a run uses on a CPU, agreed upon before its first step, and logged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from allyouneed import kernels
from allyouneed.config import Config
from allyouneed.training.distributed.differences import refuse_differences
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.step import uses_bf16


def agree_on_products(
    config: Config, device: torch.device, record: RunRecord, ranks: Ranks, show: Callable[[str], None]
) -> None:
    """Choose our own or PyTorch's products by their speed, as in earlier sessions of the run on the same processor.

    All ranks call this.

    Args:
        config: The settings of the run.
        device: Device of the training; own products exist for the CPU only.
        record: Record of the run, which stores the measurement.
        ranks: Processes of the run, which all use the measurement of rank 0.
        show: Callback that shows a line to the user.

    Raises:
        UserError: If kernels work, or multiply in bf16, in some processes only.
    """
    model, training = config.model, config.training
    if device.type != "cpu" or training.plain:
        return
    works, in_bf16 = kernels.work(), uses_bf16(training, device)
    refuse_differences(ranks, {"compiled kernels": works, "products in bf16": in_bf16})
    if not works:
        return
    if in_bf16:
        show("matrix products: bf16 with fp32 sums (AVX512_BF16)")
        return
    if training.precision == "bf16":
        show("matrix products: fp32 instead of bf16, which is slower on this processor (it has no AVX512_BF16)")
    if min(model.d_model, model.encoder.d_ff, model.decoder.d_ff) >= min(kernels.choice.WIDTHS):
        speedups = ranks.share(_speedups(record) if ranks.is_first else None)
        kernels.choice.adopt(speedups)
        show(_describe(speedups))


def _speedups(record: RunRecord) -> dict[int, float]:
    """Return the stored speed-ups by width, or measure and store them."""
    processor = kernels.disk_cache.processor_name()
    stored: dict[str, Any] = record.content.get("products", {})
    known = {int(width): speedup for width, speedup in stored.get("speedups", {}).items()}
    if stored.get("processor") == processor and known.keys() == set(kernels.choice.WIDTHS):
        return known
    speedups = kernels.choice.speedups()
    record.update(products={"processor": processor, "speedups": speedups})
    return speedups


def _describe(speedups: dict[int, float]) -> str:
    chosen = {width: "our own" if kernels.choice.is_faster(width) else "PyTorch's" for width in speedups}
    widths = [f"{chosen[width]} from width {width} (own {speedups[width]:.2f} × as fast)" for width in speedups]
    return f"matrix products: {', '.join(widths)}"
