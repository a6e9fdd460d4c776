"""Training speed compared with the peers, on the same model, text and batches, in alternating runs.

Post-norm, Adam, label smoothing 0.1, tied embeddings, 10,000 joint subwords, fp32, two threads. Each trainer runs in a
separate process. The result is the median over windows of 10 updates after the first 20, in target tokens per second
(including the end token, without padding), taken from each trainer's log.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from allyouneed import kernels
from allyouneed.config import Config, load_recipe
from allyouneed.training.resolution.size import matrix_flops, training_flops
from benchmarks.peers.contract import SIZES, SKIPPED, WINDOW, Size

PEERS = Path(__file__).parents[1] / "peers"
TRAINERS = ("fairseq", "joeynmt", "marian", "eole", "plain")
SAME = ("model.norm=post", "training.optimizer=adam", "training.weight_decay=0", "training.bleu_sentences=0")
# Linux's peak memory of the process; the peak of `wait4` starts from that of the parent.
_WITH_PEAK = """
from allyouneed.cli import main
try:
    main()
finally:
    print(open("/proc/self/status").read())
"""
OURS, PLAIN, BF16 = "allyouneed", "allyouneed, training.plain=true", "allyouneed, training.precision=bf16"


@dataclass
class Runs:
    """Measurements of one trainer: tokens per second, peak MiB and (ours only) the share of time spent loading data."""

    rates: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    loading: list[float] = field(default_factory=list)


def measure_throughput(
    data: Path,
    size: str,
    peers: Sequence[str],
    folders: Path,
    updates: int,
    repeats: int,
    log: Callable[[str], None],
    ours: Sequence[str] | None = None,
) -> tuple[dict[str, Runs], list[float]]:
    """Train with all trainers in alternation, `repeats` times.

    Args:
        data: Folder with the Multi30k files.
        size: Name of a size in `contract.SIZES`.
        peers: Names of the peers.
        folders: Folder with one subfolder for each installed peer.
        updates: Updates per run.
        repeats: Number of rounds.
        log: Called with a progress message after each round.
        ours: Names of our variants, by default `OURS`, `PLAIN` and, if bf16 products are faster, `BF16`.

    Returns:
        Runs by trainer, and the peak of fp32 matrix products in FLOP/s before each round.
    """
    if ours is None:
        ours = (OURS, PLAIN, BF16) if kernels.prefers_bf16() else (OURS, PLAIN)
    runs: dict[str, Runs] = {name: Runs() for name in (*ours, *peers)}
    peaks = []
    for repeat in range(repeats):
        peaks.append(matrix_flops(torch.device("cpu")))
        for name, measured in runs.items():
            if name in (OURS, PLAIN, BF16):
                _train_ours(data, size, updates, name, measured)
            else:
                _train_peer(name, data, folders / name, size, updates, measured)
        rates = ", ".join(f"{name} {measured.rates[-1]:,.0f}" for name, measured in runs.items())
        log(f"{size}, round {repeat + 1} of {repeats}: {rates}")
    return runs, peaks


def throughput_table(size: str, runs: dict[str, Runs], peaks: Sequence[float]) -> str:
    """Format as Markdown. Ratios are of the medians."""
    config = size_config(size)
    cost, peak = training_flops(config.model, config.data.vocab_size), statistics.median(peaks)
    ours = statistics.median(runs[OURS].rates)
    lines = [
        f"**{size}**: {_described(config)}; {cost / 1e6:.1f} MFLOP per target token; peak of fp32 matrix products "
        f"{peak / 1e9:,.0f} GFLOP/s ({min(peaks) / 1e9:,.0f} to {max(peaks) / 1e9:,.0f})",
        "",
        "| trainer | target tokens/s: median (range) | ours / this | share of peak | peak memory | loading |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, measured in runs.items():
        rate = statistics.median(measured.rates)
        loading = f"{statistics.median(measured.loading):.2%} of the time" if measured.loading else ""
        lines.append(
            f"| {name} | {rate:,.0f} ({min(measured.rates):,.0f} to {max(measured.rates):,.0f}) | "
            f"{ours / rate:.2f} × | {rate * cost / peak:.0%} | "
            f"{statistics.median(measured.memory):,.0f} MiB | {loading} |"
        )
    return "\n".join(lines)


def size_config(size: str) -> Config:
    """Return the settings of a size: recipe `tiny` with post-norm and Adam."""
    return load_recipe("tiny").override([*_settings(SIZES[size]), *SAME])


def _settings(size: Size) -> list[str]:
    return [
        f"model.encoder_layers={size.layers}",
        f"model.decoder_layers={size.layers}",
        f"model.d_model={size.d_model}",
        f"model.d_ff={size.d_ff}",
        f"model.num_heads={size.heads}",
        f"model.dropout={size.dropout}",
        f"training.batch_tokens={size.batch_tokens}",
    ]


def _described(config: Config) -> str:
    model, training = config.model, config.training
    return (
        f"{model.encoder_layers} + {model.decoder_layers} layers, d_model {model.d_model}, d_ff {model.d_ff}, "
        f"{training.batch_tokens:,} tokens per batch, dropout {model.dropout:g}"
    )


def _train_ours(data: Path, size: str, updates: int, name: str, measured: Runs) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        fixed = (f"training.steps={updates}", f"training.log_every={WINDOW}", f"training.validate_every={updates}")
        command = [sys.executable, "-c", _WITH_PEAK, "train", "--from", "en", "--to", "de", "--recipe", "tiny"]
        command += ["--train", *(str(data / f"train.lc.norm.tok.{language}.gz") for language in ("en", "de"))]
        command += ["--valid", *(str(_first_lines(data, language, Path(folder))) for language in ("en", "de"))]
        variant = [setting for setting in name.split(", ") if "=" in setting]
        for setting in (*_settings(SIZES[size]), *SAME, *fixed, *variant):
            command += ["--set", setting]
        measured.memory.append(float(re.search(r"VmHWM:\s*(\d+) kB", _run([*command, "--out", str(run)]))[1]) / 1024)
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        windows = [record for record in map(json.loads, lines) if record["event"] == "train"][SKIPPED:]
    measured.rates.append(statistics.median(window["tokens_per_second"] for window in windows))
    stepping = sum(window["tokens"] / window["tokens_per_second"] for window in windows)
    measured.loading.append(sum(window["loading_seconds"] for window in windows) / stepping)


def _first_lines(data: Path, language: str, folder: Path, count: int = 20) -> Path:
    """Shorten the validation text; translating it is not measured and takes minutes with a wide model."""
    shortened = folder / f"val.{language}"
    with gzip.open(data / f"val.lc.norm.tok.{language}.gz", "rt", encoding="utf-8") as lines:
        shortened.write_text("".join(itertools.islice(lines, count)), encoding="utf-8")
    return shortened


def _train_peer(name: str, data: Path, folder: Path, size: str, updates: int, measured: Runs) -> None:
    if name == "plain":
        command = [sys.executable, str(PEERS / "plain.py"), str(data), "--updates", str(updates), "--size", size]
    else:
        command = ["bash", str(PEERS / f"{name}.sh"), "train", str(folder), str(updates), size]
    output = _run(command)
    line = re.search(r"target_tokens_per_second=([\d.]+) updates=\d+ peak_memory_mib=([\d.]+)", output)
    if not line:
        raise SystemExit(f"{name} printed no result line: {output[-500:]}")
    measured.rates.append(float(line[1]))
    measured.memory.append(float(line[2]))


def _run(command: Sequence[str]) -> str:
    """Run a command and return its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])} ... failed:\n{done.stderr[-2000:]}")
    return done.stdout
