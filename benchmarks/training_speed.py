"""Training speed on Multi30k en-de, Transformer-Tiny, beside fairseq: `python benchmarks/training_speed.py DATA`.

Both train the same model (4 + 4 layers, d_model 128, d_ff 256, 4 heads, post-norm, dropout 0.3, 10,000 joint subwords,
tied embeddings) on the same text with the same batches of 4,096 tokens, Adam and label smoothing 0.1, in fp32 on two
threads, in processes of their own, in turn. The figure is the median of target tokens a second over the log's windows
of 10 updates after the first 20, as each trainer's own log has them. Set fairseq up with `peers/fairseq.sh`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from allyouneed.config import load_recipe
from allyouneed.training.size import matrix_flops, training_flops

AS_FAIRSEQ = ("model.norm=post", "training.optimizer=adam", "training.weight_decay=0", "training.bleu_sentences=0")
WINDOW, SKIPPED = 10, 2


def main() -> None:
    arguments = _arguments()
    recipe = load_recipe("tiny")
    cost = training_flops(recipe.model, recipe.data.vocab_size)
    rates: dict[str, list[float]] = {"allyouneed": [], "allyouneed, recipe tiny as it is": []}
    peaks = []
    for repeat in range(arguments.repeats):
        peaks.append(matrix_flops(torch.device("cpu")))
        rates["allyouneed"].append(ours(arguments.data, arguments.updates, AS_FAIRSEQ))
        rates["allyouneed, recipe tiny as it is"].append(ours(arguments.data, arguments.updates, ()))
        if arguments.fairseq:
            rates.setdefault("fairseq 0.12.3", []).append(fairseq(arguments.fairseq, arguments.updates))
        print(f"repeat {repeat + 1}: " + ", ".join(f"{name} {found[-1]:,.0f}" for name, found in rates.items()))
    peak = statistics.median(peaks)
    print(
        f"\n{time.strftime('%Y-%m-%d')}, {_machine()}, PyTorch {torch.__version__}, {torch.get_num_threads()} threads"
    )
    print(f"peak of fp32 matrix products: {peak / 1e9:,.0f} GFLOP/s; a target token costs {cost / 1e6:.1f} MFLOP\n")
    print("| trainer | target tokens/s: median (lowest to highest) | of the peak |\n| --- | --- | --- |")
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:,.0f} ({min(found):,.0f} to {max(found):,.0f}) | {middle * cost / peak:.0%} |")


def ours(data: Path, updates: int, settings: tuple[str, ...]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        fixed = (f"training.steps={updates}", f"training.log_every={WINDOW}", f"training.validate_every={updates}")
        command = [sys.executable, "-m", "allyouneed", "train", "--from", "en", "--to", "de", "--recipe", "tiny"]
        for option, name in (("--train", "train"), ("--valid", "val")):
            command += [option, *(str(data / f"{name}.lc.norm.tok.{language}.gz") for language in ("en", "de"))]
        for setting in (*fixed, *settings):
            command += ["--set", setting]
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}
        subprocess.run([*command, "--out", str(run)], check=True, capture_output=True, env=environment)
        records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return statistics.median([r["tokens_per_second"] for r in records if r["event"] == "train"][SKIPPED:])


def fairseq(folder: Path, updates: int) -> float:
    script = Path(__file__).parent / "peers" / "fairseq.sh"
    done = subprocess.run(
        ["bash", str(script), "train", str(folder), str(updates)], check=True, capture_output=True, text=True
    )
    return float(re.search(r"target_tokens_per_second=(\d+)", done.stdout)[1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with Multi30k's *.lc.norm.tok.{en,de}.gz")
    parser.add_argument("--fairseq", type=Path, help="folder made by peers/fairseq.sh setup and prepare")
    parser.add_argument("--updates", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _machine() -> str:
    try:
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
        return f"{names[0]}, {len(names)} cores"
    except (OSError, IndexError):
        return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
