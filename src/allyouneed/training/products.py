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
    has_amx = in_bf16 and kernels.has_amx()
    refuse_differences(ranks, {"compiled kernels": works, "products in bf16": in_bf16, "AMX": has_amx})
    if not works:
        return
    if in_bf16:
        is_agreed = ranks.share(_uses_amx(record) if ranks.is_first else None)
        kernels.choice.adopt_amx(is_agreed and has_amx)
        show(f"matrix products: bf16 with fp32 sums ({'AMX' if kernels.choice.uses_amx() else 'AVX512_BF16'})")
        return
    if training.precision == "bf16":
        show("matrix products: fp32 instead of bf16, which is slower on this processor (it has no AMX or AVX512_BF16)")
    if min(model.d_model, model.encoder.d_ff, model.decoder.d_ff) >= min(kernels.choice.WIDTHS):
        speedups = ranks.share(_speedups(record) if ranks.is_first else None)
        kernels.choice.adopt(speedups)
        show(_describe(speedups))


def _uses_amx(record: RunRecord) -> bool:
    """Return whether bf16 products use AMX: as stored, or store whether it works."""
    stored = _stored(record).get("amx")
    return _store(record, amx=kernels.has_amx()) if stored is None else bool(stored)


def _speedups(record: RunRecord) -> dict[int, float]:
    """Return the stored speed-ups by width, or measure and store them."""
    known = {int(width): speedup for width, speedup in _stored(record).get("speedups", {}).items()}
    if known.keys() == set(kernels.choice.WIDTHS):
        return known
    return _store(record, speedups=kernels.choice.speedups())


def _stored(record: RunRecord) -> dict[str, Any]:
    """Return what the run stored on this processor."""
    stored: dict[str, Any] = record.content.get("products", {})
    return stored if stored.get("processor") == kernels.disk_cache.processor_name() else {}


def _store(record: RunRecord, **found: Any) -> Any:
    """Store one fact, and return its value."""
    record.update(products={"processor": kernels.disk_cache.processor_name(), **found})
    [value] = found.values()
    return value


def _describe(speedups: dict[int, float]) -> str:
    chosen = {width: "our own" if kernels.choice.is_faster(width) else "PyTorch's" for width in speedups}
    widths = [f"{chosen[width]} from width {width} (own {speedups[width]:.2f} × as fast)" for width in speedups]
    return f"matrix products: {', '.join(widths)}"
