"""Compare training speed on CUDA with `nn.Transformer` and transformers' Marian, and on several GPUs with one.

All trainers get the same synthetic sentences, batches, sizes, precision and fused AdamW; the other two use PyTorch's
loss on materialised logits. Several GPUs share the same batches.
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
from allyouneed.training.distributed.ranks import announced_ranks
from allyouneed.training.resolution.size import matrix_flops, training_flops
from benchmarks.measure.switches import synthetic_pairs
from benchmarks.measure.workers import WorkerFailed, run_ranks, run_worker

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
        rates: Target tokens per second of each round, of all GPUs together.
        peaks: Peak memory of a GPU (on a CPU, of a process) in bytes, of each round: that of the fullest.
        error: Why it could not be measured; empty if it was.
        gpus: Number of GPUs, or of processes on a CPU.
    """

    trainer: str
    rates: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    error: str = ""
    gpus: int = 1


def obstacle(gpus: int, device: str = "cuda") -> str:
    """Return in one line why this number of GPUs cannot be measured here; empty if nothing is missing."""
    if announced_ranks() > 1:
        return f"accelerator starts its processes itself: run it without torchrun, with --gpus {announced_ranks()}."
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or found >= gpus:
        return ""
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return (
        f"accelerator needs {gpus} GPU{'s' * (gpus > 1)} with CUDA; PyTorch {torch.__version__}, {build}, finds "
        f"{found}. Run it on a machine with NVIDIA GPUs, or add --device cpu to try it with few --updates."
    )


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
    gpus: Sequence[int] = (1,),
    log: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Run all trainers in alternating rounds, each in fresh processes. A trainer that fails is not run again.

    Args:
        device: "cuda", or "cpu" to try the measurement.
        config: Settings of the model and the training.
        rounds: Number of rounds.
        steps: Measured steps per round.
        warm_up: Steps before them.
        pairs: Number of synthetic pairs.
        trainers: Names of the trainers, of which only `OURS` runs on several GPUs.
        gpus: Numbers of GPUs.
        log: Called with a progress message after each trainer.
    """
    rows = [Row(name, gpus=count) for count in gpus for name in trainers if count == 1 or name == OURS]
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
                    results = _run(request, row.gpus)
                    seconds = max(result["seconds"] for result in results)
                    row.rates.append(sum(result["tokens"] for result in results) / seconds)
                    row.peaks.append(max(result["peak"] for result in results))
                    message = f"{row.rates[-1]:,.0f} target tokens/s"
                except WorkerFailed as error:
                    message = row.error = str(error)
                log(f"round {number + 1}, {_name(row)}: {message}")
    return rows


def _run(request: dict, gpus: int) -> list[dict]:
    if gpus == 1:
        return [run_worker("accelerator_worker", request)]
    return run_ranks("accelerator_worker", request, gpus, timeout=3600)


def _name(row: Row) -> str:
    return row.trainer if row.gpus == 1 else f"{row.trainer}, {row.gpus} GPUs"


def accelerator_table(size: str, config: Config, device: str, rows: Sequence[Row]) -> str:
    """Format results as Markdown. The peak is measured by large matrix products: bf16 on CUDA, fp32 on a CPU."""
    half = device == "cuda"
    peak = matrix_flops(torch.device(device), *((8192, 10, torch.bfloat16) if half else ()))
    cost = training_flops(config.model, config.data.vocab_size)
    ours = next((median(row.rates) for row in rows if _name(row) == OURS and row.rates), None)
    head = (
        f"**{size}** on {torch.cuda.get_device_name() if half else 'the CPU'}: {config.training.batch_tokens:,} tokens "
        f"per batch, {cost / 1e6:,.1f} MFLOP per target token, peak {peak / 1e12:,.2f} TFLOP/s "
        f"{'bf16' if half else 'fp32'}"
    )
    failures = [f"- {_name(row)}: {row.error}" for row in rows if row.error]
    table = as_table([_cells(row, ours, cost / peak) for row in rows])
    return "\n".join([head, "", table, *(["", "Failed:", "", *failures] if failures else [])])


def _cells(row: Row, ours: float | None, share_per_token: float) -> dict[str, str]:
    names = ("target tokens/s: median (lowest to highest)", "ours / this", "share of peak", "peak memory of a GPU")
    if not row.rates:
        return {"trainer": _name(row)} | dict.fromkeys(names, _EMPTY)
    rate = median(row.rates)
    cells = (
        f"{rate:,.0f} ({min(row.rates):,.0f} to {max(row.rates):,.0f})",
        f"{ours / rate:.2f} ×" if ours else _EMPTY,
        f"{rate * share_per_token / row.gpus:.0%}",
        f"{median(row.peaks) / _MEBIBYTE:,.0f} MiB",
    )
    return {"trainer": _name(row)} | dict(zip(names, cells, strict=True))
