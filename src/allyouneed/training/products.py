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
    """Choose bf16 or fp32, our own or PyTorch's products, by speed, as in earlier sessions on the same processor.

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
    works, is_half = kernels.work(), training.precision == "bf16"
    has_bf16, has_amx = is_half and kernels.has_bf16(), is_half and kernels.has_amx()
    found: dict[str, object] = {"compiled kernels": works, "products in bf16": has_bf16, "AMX": has_amx}
    refuse_differences(ranks, found)
    if ranks.is_first:
        found |= {"processor": kernels.disk_cache.processor_name(), "threads": torch.get_num_threads()}
        _report_changes(record, {name: str(value) for name, value in found.items()}, show)
    if not works:
        return
    if has_bf16:
        is_agreed, speedup = ranks.share(_bf16(record) if ranks.is_first else None)
        kernels.choice.adopt_amx(is_agreed and has_amx)
        kernels.choice.adopt_bf16(speedup)
        if uses_bf16(training, device):
            show(f"matrix products: bf16 with fp32 sums ({'AMX' if kernels.choice.uses_amx() else 'AVX512_BF16'})")
            return
        reason = f"AVX512_BF16 is {speedup:.2f} × as fast"
    else:
        reason = "it has no AMX or AVX512_BF16"
    if is_half:
        show(f"matrix products: fp32 instead of bf16, which is slower on this processor ({reason})")
    if min(model.d_model, model.encoder.d_ff, model.decoder.d_ff) >= min(kernels.choice.WIDTHS):
        speedups = ranks.share(_speedups(record) if ranks.is_first else None)
        kernels.choice.adopt(speedups)
        show(_describe(speedups))


def _report_changes(record: RunRecord, found: dict[str, str], show: Callable[[str], None]) -> None:
    """Store what a session computes with, and report what differs from the session that it resumes."""
    before = record.content.get("arithmetic", {})
    changes = [
        f"{name} {value} instead of {before[name]}" for name, value in found.items() if before.get(name, value) != value
    ]
    if changes and record.plans:
        show(f"training goes on with {', '.join(changes)}; the weights will differ from those of an uninterrupted run")
    if before != found:
        record.update(arithmetic=found)


def _bf16(record: RunRecord) -> tuple[bool, float | None]:
    """Return whether bf16 products use AMX, or else their speed-up: as stored, or found and stored."""
    stored = _stored(record)
    is_agreed = stored["amx"] if "amx" in stored else _store(record, amx=kernels.has_amx())
    if is_agreed and kernels.has_amx():
        return True, None
    return is_agreed, stored["bf16"] if "bf16" in stored else _store(record, bf16=kernels.choice.bf16_speedup())


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
    record.update(products={**_stored(record), "processor": kernels.disk_cache.processor_name(), **found})
    [value] = found.values()
    return value


def _describe(speedups: dict[int, float]) -> str:
    chosen = {width: "our own" if kernels.choice.is_faster(width) else "PyTorch's" for width in speedups}
    widths = [f"{chosen[width]} from width {width} (own {speedups[width]:.2f} × as fast)" for width in speedups]
    return f"matrix products: {', '.join(widths)}"
