"""Training on CUDA, or the same on a CPU: target tokens a second beside `nn.Transformer` and transformers' Marian.

All are given the same made-up sentences, batches, sizes, precision and fused AdamW; the loss of the two others is
PyTorch's, on whole logits. `measure_accelerator(device, size)` -> rows, `accelerator_table(...)`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from allyouneed.config import Config, load_recipe
from allyouneed.data.store import write_store
from allyouneed.paper.results import as_table
from allyouneed.training.size import matrix_flops, training_flops
from benchmarks.measure.switches import made_up_pairs
from benchmarks.measure.workers import WorkerFailed, ask

OURS, COMPILED, TORCH, MARIAN = "allyouneed", "allyouneed, torch.compile", "torch.nn.Transformer", "transformers Marian"
TRAINERS = (OURS, COMPILED, TORCH, MARIAN)
_PAIRS = 40_000
_MEBIBYTE = 2**20
_NOTHING = "–"


@dataclass
class Row:
    """rates: target tokens a second of each round; peak: bytes of the device's memory (of the process, on a CPU);
    why: it could not be measured."""

    trainer: str
    rates: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    why: str = ""


def size_settings(size: str) -> Config:
    """Recipe `base` or `big` as trained by the paper, or `tiny` with the paper's norm and optimizer."""
    return load_recipe(size).override(["model.norm=post", "training.optimizer=adam", "training.weight_decay=0"])


def measure_accelerator(
    device: str,
    config: Config,
    rounds: int = 3,
    steps: int = 40,
    warm_up: int = 10,
    pairs: int = _PAIRS,
    trainers: Sequence[str] = TRAINERS,
    say: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Every trainer in each round, in turn, each time in a fresh process. One that fails is not tried again."""
    rows = [Row(trainer) for trainer in trainers]
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "made-up"
        write_store(store, made_up_pairs(pairs, config.data.vocab_size))
        asked = {"store": str(store), "device": device, "settings": config.model_dump(mode="json")}
        for number in range(rounds):
            for row in rows:
                if row.why:
                    continue
                request = {**asked, "trainer": row.trainer, "steps": steps, "warm_up": warm_up}
                try:
                    found = ask("accelerator_worker", request)
                    row.rates.append(found["tokens"] / found["seconds"])
                    row.peaks.append(found["peak"])
                    seen = f"{row.rates[-1]:,.0f} target tokens/s"
                except WorkerFailed as error:
                    seen = row.why = str(error)
                say(f"round {number + 1}, {row.trainer}: {seen}")
    return rows


def accelerator_table(size: str, config: Config, device: str, rows: Sequence[Row]) -> str:
    """Markdown. The peak is that of large matrix products, in bf16 on CUDA and in fp32 on a CPU."""
    half = device == "cuda"
    peak = matrix_flops(torch.device(device), *((8192, 10, torch.bfloat16) if half else ()))
    cost = training_flops(config.model, config.data.vocab_size)
    ours = next((median(row.rates) for row in rows if row.trainer == OURS and row.rates), None)
    head = (
        f"**{size}** on {torch.cuda.get_device_name() if half else 'the CPU'}: {config.training.batch_tokens:,} tokens "
        f"a batch, {cost / 1e6:,.1f} MFLOP a target token, peak {peak / 1e12:,.2f} TFLOP/s {'bf16' if half else 'fp32'}"
    )
    missing = [f"- {row.trainer}: {row.why}" for row in rows if row.why]
    table = as_table([_cells(row, ours, cost / peak) for row in rows])
    return "\n".join([head, "", table, *(["", "Failed:", "", *missing] if missing else [])])


def _cells(row: Row, ours: float | None, share_of_a_token: float) -> dict[str, str]:
    names = ("target tokens/s: median (lowest to highest)", "ours to it", "of the peak", "peak memory")
    if not row.rates:
        return {"trainer": row.trainer} | dict.fromkeys(names, _NOTHING)
    rate = median(row.rates)
    cells = (
        f"{rate:,.0f} ({min(row.rates):,.0f} to {max(row.rates):,.0f})",
        f"{ours / rate:.2f} ×" if ours else _NOTHING,
        f"{rate * share_of_a_token:.0%}",
        f"{median(row.peaks) / _MEBIBYTE:,.0f} MiB",
    )
    return {"trainer": row.trainer} | dict(zip(names, cells, strict=True))
