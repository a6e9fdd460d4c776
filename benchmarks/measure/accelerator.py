"""Compare training speed on CUDA (or a CPU) with `nn.Transformer` and transformers' Marian.

All trainers get the same synthetic sentences, batches, sizes, precision and fused AdamW; the other two use PyTorch's
loss on materialised logits.
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
from allyouneed.paper.results_folder import as_table
from allyouneed.training.resolution.size import matrix_flops, training_flops
from benchmarks.measure.switches import synthetic_pairs
from benchmarks.measure.workers import WorkerFailed, run_worker

OURS, COMPILED, TORCH, MARIAN = "allyouneed", "allyouneed, torch.compile", "torch.nn.Transformer", "transformers Marian"
TRAINERS = (OURS, COMPILED, TORCH, MARIAN)
_PAIRS = 40_000
_MEBIBYTE = 2**20
_EMPTY = "–"


@dataclass
class Row:
    """Results of one trainer.

    Attributes:
        trainer: Name of the trainer.
        rates: Target tokens per second of each round.
        peaks: Peak memory of the device (on a CPU, of the process) in bytes, of each round.
        error: Why it could not be measured; empty if it was.
    """

    trainer: str
    rates: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    error: str = ""


def size_settings(size: str) -> Config:
    """Load recipe `base` or `big` as in the paper, or `tiny` with the paper's norm and optimizer."""
    return load_recipe(size).replace(model={"norm": "post"}, training={"optimizer": "adam", "weight_decay": 0})


def measure_accelerator(
    device: str,
    config: Config,
    rounds: int = 3,
    steps: int = 40,
    warm_up: int = 10,
    pairs: int = _PAIRS,
    trainers: Sequence[str] = TRAINERS,
    log: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Run all trainers in alternating rounds, each in a fresh process. A trainer that fails is not run again."""
    rows = [Row(trainer) for trainer in trainers]
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "synthetic"
        write_store(store, [synthetic_pairs(pairs, config.data.vocab_size)])
        common = {"store": str(store), "device": device, "settings": config.model_dump(mode="json")}
        for number in range(rounds):
            for row in rows:
                if row.error:
                    continue
                request = {**common, "trainer": row.trainer, "steps": steps, "warm_up": warm_up}
                try:
                    result = run_worker("accelerator_worker", request)
                    row.rates.append(result["tokens"] / result["seconds"])
                    row.peaks.append(result["peak"])
                    message = f"{row.rates[-1]:,.0f} target tokens/s"
                except WorkerFailed as error:
                    message = row.error = str(error)
                log(f"round {number + 1}, {row.trainer}: {message}")
    return rows


def accelerator_table(size: str, config: Config, device: str, rows: Sequence[Row]) -> str:
    """Format results as Markdown. The peak is measured by large matrix products: bf16 on CUDA, fp32 on a CPU."""
    half = device == "cuda"
    peak = matrix_flops(torch.device(device), *((8192, 10, torch.bfloat16) if half else ()))
    cost = training_flops(config.model, config.data.vocab_size)
    ours = next((median(row.rates) for row in rows if row.trainer == OURS and row.rates), None)
    head = (
        f"**{size}** on {torch.cuda.get_device_name() if half else 'the CPU'}: {config.training.batch_tokens:,} tokens "
        f"per batch, {cost / 1e6:,.1f} MFLOP per target token, peak {peak / 1e12:,.2f} TFLOP/s "
        f"{'bf16' if half else 'fp32'}"
    )
    failures = [f"- {row.trainer}: {row.error}" for row in rows if row.error]
    table = as_table([_cells(row, ours, cost / peak) for row in rows])
    return "\n".join([head, "", table, *(["", "Failed:", "", *failures] if failures else [])])


def _cells(row: Row, ours: float | None, share_per_token: float) -> dict[str, str]:
    names = ("target tokens/s: median (lowest to highest)", "ours / this", "share of peak", "peak memory")
    if not row.rates:
        return {"trainer": row.trainer} | dict.fromkeys(names, _EMPTY)
    rate = median(row.rates)
    cells = (
        f"{rate:,.0f} ({min(row.rates):,.0f} to {max(row.rates):,.0f})",
        f"{ours / rate:.2f} ×" if ours else _EMPTY,
        f"{rate * share_per_token:.0%}",
        f"{median(row.peaks) / _MEBIBYTE:,.0f} MiB",
    )
    return {"trainer": row.trainer} | dict(zip(names, cells, strict=True))
