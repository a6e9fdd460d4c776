"""Measure translation of a long input with mixed line lengths: `python benchmarks/long.py RUN --source FILE`.

The input has 10,000 lines of sentences from FILE: most are one sentence, every tenth has several, every hundredth has
at least `--long` tokens, and every fiftieth is empty; the order is random with a fixed seed. `allyouneed translate`
gets the lines in this order and sorted by length, the optimal order, in alternating rounds; throughput (medians) and
peak memory are measured on whole processes including their start. Then the command is interrupted by SIGINT and
resumed; the output must be the same. The result is a dated Markdown page in benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed.bundle import load_bundle  # noqa: E402
from allyouneed.data.files.lines import read_text  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402


class Translation(NamedTuple):
    seconds: float
    peak_mib: float
    messages: list[str]  # lines on standard error


def main() -> None:
    args = _arguments()
    tokenizer = load_bundle(args.run).tokenizer
    lines = mixed_lines(list(read_text(args.source)), args.lines, args.long, lambda text: len(tokenizer.encode(text)))
    lengths = [len(tokenizer.encode(line)) for line in lines]
    by_length = sorted(range(len(lines)), key=lambda i: -lengths[i])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"original": lines, "sorted": [lines[i] for i in by_length]}
        for order, content in files.items():
            _path(folder, order).write_text("".join(f"{line}\n" for line in content), "utf-8")
        rounds: dict[str, list[Translation]] = {order: [] for order in files}
        for number in range(args.repeats):
            for order, runs in rounds.items():
                runs.append(translate(args, _path(folder, order), folder / f"{order}.out"))
                print(
                    f"round {number + 1}, {order}: {runs[-1].seconds:.1f} s, {runs[-1].peak_mib:,.0f} MiB", flush=True
                )
        whole = (folder / "original.out").read_bytes()
        interruption = interrupt(args, _path(folder, "original"), folder / "interrupted.out", whole)
    page = args.out / f"{time.strftime('%Y-%m-%d')}-long-input.md"
    args.out.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(args, lengths, rounds, interruption, whole.count(b"\n")), "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")


def mixed_lines(sentences: Sequence[str], count: int, long: int, length) -> list[str]:
    """Return lines of mixed lengths. length: Counts the tokens of a text."""
    rng, lines = random.Random(1), []
    for number in range(count):
        if number % 50 == 49:
            lines.append("")
            continue
        line = rng.choice(sentences)
        while (number % 100 == 0 and length(line) < long) or (number % 10 == 1 and length(line) < rng.randint(20, 200)):
            line += " " + rng.choice(sentences)
        lines.append(line)
    rng.shuffle(lines)
    return lines


def translate(args: argparse.Namespace, source: Path, output: Path, *more: str) -> Translation:
    start = time.perf_counter()
    process = _start(args, source, output, *more)
    messages = process.stderr.read().splitlines()  # blocks until the process exits
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("\n".join(messages))
    return Translation(time.perf_counter() - start, usage.ru_maxrss / 1024, messages)


def interrupt(args: argparse.Namespace, source: Path, output: Path, whole: bytes) -> str:
    """Interrupt the command when a third is written, resume it with --resume, and describe the result."""
    process = _start(args, source, output)
    while not output.exists() or output.read_bytes().count(b"\n") < whole.count(b"\n") // 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    start = time.perf_counter()
    process.stderr.read()
    process.wait()
    seconds, written = time.perf_counter() - start, output.read_bytes()
    kept = written.count(b"\n")
    if not (written.endswith(b"\n") and whole.startswith(written)):
        return f"after Ctrl-C, the {kept:,} lines differed from those of an uninterrupted run"
    resumed = translate(args, source, output, "--resume")
    verdict = "identical to" if output.read_bytes() == whole else "DIFFERENT from"
    return (
        f"Ctrl-C at {kept:,} lines: exit after {seconds:.1f} s with exit code {process.returncode} and only complete "
        f"lines; `--resume` translated the rest in {resumed.seconds:.1f} s, {verdict} an uninterrupted run"
    )


def _start(args: argparse.Namespace, source: Path, output: Path, *more: str) -> subprocess.Popen:
    options = ["--beam-size", str(args.beam), "--inter-threads", str(args.threads), *more]
    command = [
        sys.executable,
        "-m",
        "allyouneed",
        "translate",
        str(args.run),
        str(source),
        "-o",
        str(output),
        *options,
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _path(folder: Path, order: str) -> Path:
    return folder / f"{order}.txt"


def _page(
    args: argparse.Namespace,
    lengths: list[int],
    rounds: dict[str, list[Translation]],
    interruption: str,
    written: int,
) -> str:
    tokens = sum(lengths)
    seconds = {order: statistics.median(run.seconds for run in runs) for order, runs in rounds.items()}
    rows = [
        f"| {order} | {seconds[order]:.1f} "
        f"({min(run.seconds for run in runs):.1f} to {max(run.seconds for run in runs):.1f}) | "
        f"{tokens / seconds[order]:,.0f} | {len(lengths) / seconds[order]:,.0f} | "
        f"{max(run.peak_mib for run in runs):,.0f} |"
        for order, runs in rounds.items()
    ]
    progress = [line for line in rounds["original"][-1].messages if "second" in line]
    return "\n".join(
        [
            f"# A long input with mixed line lengths, {time.strftime('%Y-%m-%d')}",
            machine(),
            "",
            f"{len(lengths):,} lines, {tokens:,} source tokens: {lengths.count(0):,} empty lines, median length "
            f"{statistics.median(lengths):.0f}, {sum(length >= args.long for length in lengths):,} of at least "
            f"{args.long:,}, maximum {max(lengths):,}. Beam {args.beam}, {args.threads} threads, the bundle's "
            f"batch size; {args.repeats} rounds. Times include loading Python, PyTorch and the model.",
            "",
            "| order | seconds: median (range) | source tokens/s | lines/s | peak memory MiB |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"In the original order, translation takes {seconds['original'] / seconds['sorted']:.2f} times as long as "
            f"sorted. {written:,} lines written. {interruption}. Progress output: {'; '.join(progress[:3]) or 'none'}.",
            "",
        ]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run or a bundle")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=1000, help="tokens of the longest lines")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
