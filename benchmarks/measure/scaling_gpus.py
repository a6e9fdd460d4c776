"""Tables and plots of predicted training on 1 to 1,024 GPUs, and what published measurements say about the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from allyouneed.config import load_recipe
from allyouneed.paper.results_folder import as_table
from allyouneed.training.resolution.size import training_flops
from benchmarks.measure.scaling_model import (
    Accelerator,
    Network,
    Step,
    Workload,
    buckets,
    predict,
    ring_bytes,
    steps_to_loss,
)
from benchmarks.measure.scaling_plots import GPUS, draw_efficiency, draw_minutes
from benchmarks.measure.scaling_profile import imbalance, profile
from benchmarks.measure.scaling_published import (
    ETHERNET_100,
    INFINIBAND,
    NETWORKS,
    NVIDIA_VOCABULARY,
    P100_NODE,
    PAPER_GPUS,
    PAPER_SECONDS,
    PAPER_STEPS,
    PAPER_TOKENS,
    accelerators,
    compare_with_nvidia,
)

MODELS = ("base", "big")
_SHOWN = (8, 64, 256, 1024)
_PER_GPU = PAPER_TOKENS // PAPER_GPUS
_LARGE = 400_000  # tokens; the batch with which Ott et al. (2018) trained big on 128 GPUs
NOISES = (50_000, 200_000, 1_000_000)  # critical batches in target tokens
_BATCHES = tuple(PAPER_TOKENS * 2**power for power in range(8))
_PAYS = 0.75  # a doubling of GPUs pays if it leaves at most this share of the time


@cache
def gpus() -> dict[str, Accelerator]:
    """Return the GPUs with the shares of their peaks that published measurements imply."""
    nvidia = training_flops(load_recipe("big").model, NVIDIA_VOCABULARY)
    return accelerators({name: profile(name).flops for name in MODELS}, nvidia)


def step_on(work: Workload, network: Network, ranks: int, tokens: int, method: str = "buckets") -> Step:
    """Predict a step on H100s, with the largest share of each batch."""
    return predict(work, gpus()["H100"], network, ranks, tokens, method, imbalance(tokens, ranks))


def efficiency(work: Workload, network: Network, ranks: int, tokens: int, method: str = "buckets") -> float:
    """Return the throughput of `ranks` GPUs divided by that of one GPU with the same batch, times `ranks`."""
    return step_on(work, network, 1, tokens).total / (ranks * step_on(work, network, ranks, tokens, method).total)


@dataclass(frozen=True)
class Choice:
    """The fastest batch for a number of GPUs. hours: Training until the loss of the paper's steps."""

    ranks: int
    batch: int
    steps: float
    hours: float


def best_batch(work: Workload, network: Network, ranks: int, noise: float) -> Choice:
    """Choose the batch with which training to the loss of the paper's batch and steps is shortest."""

    def choice(batch: int) -> Choice:
        steps = steps_to_loss(batch, noise, PAPER_STEPS[work.name], PAPER_TOKENS)
        return Choice(ranks, batch, steps, steps * step_on(work, network, ranks, batch).total / 3600)

    return min(map(choice, _BATCHES), key=lambda each: each.hours)


def last_doubling_that_pays(work: Workload, network: Network, noise: float) -> int:
    """Return the GPUs up to which each doubling leaves at most three quarters of the time."""
    hours = [best_batch(work, network, ranks, noise).hours for ranks in GPUS]
    for index in range(1, len(GPUS)):
        if hours[index] > _PAYS * hours[index - 1]:
            return GPUS[index - 1]
    return GPUS[-1]


def gpu_tables() -> str:
    """Return all tables as Markdown."""
    tables = {
        "Work of a step": work_table(),
        "The paper's run": paper_table(),
        "NVIDIA's measurements of big": published_table(),
        "Largest share of a batch": shares_table(),
        "Efficiency on H100": efficiency_table(),
        "One message, buckets, or sharding": methods_table(),
        "How many GPUs pay": choices_table(),
    }
    return "\n\n".join(f"### {title}\n\n{table}" for title, table in tables.items())


def work_table() -> str:
    """Describe what is counted on the model's code."""
    rows = []
    for name in MODELS:
        work = profile(name)
        last = buckets(work.gradients)[-1]
        rows.append(
            {
                "model": name,
                "gradients": f"{work.bytes / 1e6:,.0f} MB",
                "sent by each of 8 GPUs": f"{ring_bytes(work.bytes, 8) / 1e6:,.0f} MB",
                "of 1,024": f"{ring_bytes(work.bytes, 1024) / 1e6:,.0f} MB",
                "operations per pair of tokens": f"{work.flops / 1e6:,.0f} MFLOP",
                "operators launched": f"{work.operators:,}",
                "buckets": len(buckets(work.gradients)),
                "last bucket": f"{last.size / work.bytes:.0%} of the bytes",
            }
        )
    return as_table(rows)


def paper_table() -> str:
    """Divide the paper's step into computation and communication."""
    rows = []
    for name in MODELS:
        work, gpu = profile(name), gpus()["P100"]
        step = predict(work, gpu, P100_NODE, PAPER_GPUS, PAPER_TOKENS, "whole")
        hidden = predict(work, gpu, P100_NODE, PAPER_GPUS, PAPER_TOKENS)
        rows.append(
            {
                "model": name,
                "measured step": f"{PAPER_SECONDS[name]:.1f} s",
                "share of the P100's 9.5 TFLOP/s": f"{gpu.share[name]:.0%}",
                "all-reduce over NVLink": _ms(step.communication),
                "not hidden, with buckets": _ms(hidden.exposed),
                "tokens per second": f"{PAPER_TOKENS / PAPER_SECONDS[name]:,.0f}",
            }
        )
    return as_table(rows)


def published_table() -> str:
    """Compare NVIDIA's efficiencies with the model of unequal batches."""
    deviation, found = compare_with_nvidia()
    table = as_table(
        [
            {
                "system": row.system,
                "GPUs": row.gpus,
                "measured efficiency": f"{row.efficiency:.1%}",
                "predicted": f"{row.predicted:.1%}",
                "error, points": "fitted" if row.is_fitted else f"{100 * (row.predicted - row.efficiency):+.1f}",
            }
            for row in found
        ]
    )
    return f"Fitted deviation of a GPU's time from the mean: {deviation:.1%}.\n\n{table}"


def shares_table() -> str:
    """Compare the largest share of a batch with the mean, for some batches of training."""
    rows = []
    for tokens, ranks in ((PAPER_TOKENS, PAPER_GPUS), (_LARGE, 64), (_LARGE, 1024)):
        largest = f"{imbalance(tokens, ranks) - 1:+.1%}"
        rows.append({"batch": f"{tokens:,} tokens", "GPUs": f"{ranks:,}", "largest share and the mean": largest})
    return as_table(rows)


def efficiency_table() -> str:
    """Predict efficiency and step for three ways to choose the batch, on three networks."""
    rows = []
    for name in MODELS:
        for title, batch in _batches():
            for network in NETWORKS:
                cells = {"model": name, "batch": title, "network": network.name}
                for ranks in _SHOWN:
                    tokens = batch(ranks)
                    seconds = step_on(profile(name), network, ranks, tokens).total
                    share = efficiency(profile(name), network, ranks, tokens)
                    cells[f"{ranks:,} GPUs"] = f"{share:.0%} ({_ms(seconds)})"
                rows.append(cells)
    return as_table(rows)


def _batches():
    yield f"{PAPER_TOKENS:,} tokens (the paper's)", lambda ranks: PAPER_TOKENS
    yield f"{_LARGE:,} tokens", lambda ranks: _LARGE
    yield f"{_PER_GPU:,} tokens per GPU", lambda ranks: _PER_GPU * ranks


def methods_table() -> str:
    """Compare one all-reduce after backward, DistributedDataParallel and FSDP at the paper's tokens per GPU."""
    rows = []
    for name in MODELS:
        for network in (INFINIBAND, ETHERNET_100):
            for ranks in (8, 64, 1024):
                cells = {"model": name, "network": network.name, "GPUs": f"{ranks:,}"}
                for title, method in (("one message", "whole"), ("buckets", "buckets"), ("sharded", "sharded")):
                    step = step_on(profile(name), network, ranks, _PER_GPU * ranks, method)
                    cells[f"{title}: step, not hidden"] = f"{_ms(step.total)}, {_ms(step.exposed)}"
                rows.append(cells)
    return as_table(rows)


def choices_table() -> str:
    """Choose the batch for each number of GPUs and critical batch, and the last doubling that pays."""
    rows = []
    for name in MODELS:
        for noise in NOISES:
            cells = {"model": name, "critical batch": f"{noise:,}"}
            for ranks in (1, *_SHOWN):
                choice = best_batch(profile(name), INFINIBAND, ranks, noise)
                cells[f"{ranks:,} GPU{'s' * (ranks > 1)}"] = f"{_hours(choice.hours)}, {choice.batch // 1000:,}k"
            for network in NETWORKS:
                pays = last_doubling_that_pays(profile(name), network, noise)
                cells[f"pays up to, {network.name.partition(',')[2].strip()}"] = f"{pays:,}"
            rows.append(cells)
    return as_table(rows)


def draw_gpus(folder: Path) -> None:
    """Draw efficiency and minutes of training by number of GPUs."""
    networks = (INFINIBAND, ETHERNET_100)
    curves = {
        name: {
            f"{title}; {network.name}": [efficiency(profile(name), network, n, batch(n)) for n in GPUS]
            for title, batch in _batches()
            for network in networks
        }
        for name in MODELS
    }
    draw_efficiency(curves, folder / "scaling-efficiency.svg")
    draw_minutes({name: dict(_minutes(profile(name))) for name in MODELS}, folder / "scaling-minutes.svg")


def _minutes(work: Workload) -> Iterator[tuple[str, list[float]]]:
    for noise in NOISES:
        name = f"critical batch {noise:,} tokens; {INFINIBAND.name}"
        yield name, [60 * best_batch(work, INFINIBAND, ranks, noise).hours for ranks in GPUS]
    name = f"critical batch {NOISES[1]:,} tokens; {ETHERNET_100.name}"
    yield name, [60 * best_batch(work, ETHERNET_100, ranks, NOISES[1]).hours for ranks in GPUS]


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:,.1f} ms" if seconds < 0.01 else f"{1e3 * seconds:,.0f} ms"


def _hours(hours: float) -> str:
    minutes = 60 * hours
    return f"{hours:,.1f} h" if hours >= 1 else f"{minutes:,.0f} min" if minutes >= 10 else f"{minutes:,.1f} min"
