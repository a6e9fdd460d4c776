"""A long and odd input, measured: `python benchmarks/long.py RUN --source FILE`.

10,000 lines made of the sentences of FILE: most are one sentence, every tenth several, every hundredth as many as have
`--long` subwords together, and every fiftieth is empty; in an order that a seed fixes. `allyouneed translate` has them
as they come, and sorted by length, which no order can beat: throughput of both in turn, medians, and the peak of
memory. Then the command is interrupted as Ctrl-C does and resumed: the output has to be the same. Processes of their
own are measured, start included. The result is a dated Markdown page in benchmarks/results.
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
sys.path.insert(0, str(ROOT))  # so that `benchmarks.measure` is found, whatever the working folder

from allyouneed.bundle import load_bundle  # noqa: E402
from allyouneed.data.formats import read_text  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402


class Ran(NamedTuple):
    seconds: float
    peak: float  # MiB
    said: list[str]  # progress


def main() -> None:
    asked = _arguments()
    tokenizer = load_bundle(asked.run).tokenizer
    lines = odd_lines(list(read_text(asked.source)), asked.lines, asked.long, lambda text: len(tokenizer.encode(text)))
    lengths = [len(tokenizer.encode(line)) for line in lines]
    by_length = sorted(range(len(lines)), key=lambda i: -lengths[i])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"as they come": lines, "sorted": [lines[i] for i in by_length]}
        for text, content in files.items():
            _path(folder, text).write_text("".join(f"{line}\n" for line in content), "utf-8")
        rounds: dict[str, list[Ran]] = {text: [] for text in files}
        for number in range(asked.repeats):
            for text, ran in rounds.items():
                ran.append(translate(asked, _path(folder, text), folder / f"{text}.out"))
                print(f"round {number + 1}, {text}: {ran[-1].seconds:.1f} s, {ran[-1].peak:,.0f} MiB", flush=True)
        whole = (folder / "as they come.out").read_bytes()
        stopped = interrupt(asked, _path(folder, "as they come"), folder / "stopped.out", whole)
    page = asked.out / f"{time.strftime('%Y-%m-%d')}-long-input.md"
    asked.out.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(asked, lengths, rounds, stopped, whole.count(b"\n")), "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")


def odd_lines(sentences: Sequence[str], count: int, long: int, length) -> list[str]:
    """Lines of mixed lengths. length: subwords of a text."""
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


def translate(asked: argparse.Namespace, source: Path, output: Path, *more: str) -> Ran:
    begun = time.perf_counter()
    process = _start(asked, source, output, *more)
    said = process.stderr.read().splitlines()  # until it ends
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit("\n".join(said))
    return Ran(time.perf_counter() - begun, usage.ru_maxrss / 1024, said)


def interrupt(asked: argparse.Namespace, source: Path, output: Path, whole: bytes) -> str:
    """Ctrl-C when a third is written; then the same command with --resume. -> what came of it."""
    process = _start(asked, source, output)
    while not output.exists() or output.read_bytes().count(b"\n") < whole.count(b"\n") // 3:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    begun = time.perf_counter()
    process.stderr.read()
    process.wait()
    seconds, there = time.perf_counter() - begun, output.read_bytes()
    kept = there.count(b"\n")
    if not (there.endswith(b"\n") and whole.startswith(there)):
        return f"after Ctrl-C the {kept:,} lines were not those of a whole run"
    ran = translate(asked, source, output, "--resume")
    same = "the same bytes as in one go" if output.read_bytes() == whole else "NOT the same as in one go"
    return (
        f"Ctrl-C at {kept:,} lines: it ended after {seconds:.1f} s with exit code {process.returncode}, whole lines in "
        f"place; `--resume` did the rest in {ran.seconds:.1f} s, {same}"
    )


def _start(asked: argparse.Namespace, source: Path, output: Path, *more: str) -> subprocess.Popen:
    options = ["--beam-size", str(asked.beam), "--inter-threads", str(asked.threads), *more]
    command = [
        sys.executable,
        "-m",
        "allyouneed",
        "translate",
        str(asked.run),
        str(source),
        "-o",
        str(output),
        *options,
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def _path(folder: Path, text: str) -> Path:
    return folder / f"{text}.txt"


def _page(asked: argparse.Namespace, lengths: list[int], rounds: dict[str, list[Ran]], stopped: str, there: int) -> str:
    tokens = sum(lengths)
    seconds = {text: statistics.median(one.seconds for one in ran) for text, ran in rounds.items()}
    rows = [
        f"| {text} | {seconds[text]:.1f} ({min(o.seconds for o in ran):.1f} to {max(o.seconds for o in ran):.1f}) | "
        f"{tokens / seconds[text]:,.0f} | {len(lengths) / seconds[text]:,.0f} | {max(o.peak for o in ran):,.0f} |"
        for text, ran in rounds.items()
    ]
    progress = [line for line in rounds["as they come"][-1].said if "a second" in line]
    return "\n".join(
        [
            f"# A long and odd input, {time.strftime('%Y-%m-%d')}",
            machine(),
            "",
            f"{len(lengths):,} lines, {tokens:,} source subwords: {lengths.count(0):,} lines empty, the median "
            f"{statistics.median(lengths):.0f}, {sum(n >= asked.long for n in lengths):,} of {asked.long:,} and more, "
            f"the longest {max(lengths):,}. Beam {asked.beam}, {asked.threads} threads, a batch's budget the bundle's "
            f"own; {asked.repeats} rounds. Python, torch and the model are loaded within the time.",
            "",
            "| order | seconds: median (range) | source subwords/s | lines/s | peak memory MiB |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"As they come {seconds['as they come'] / seconds['sorted']:.2f} times the time of sorted. "
            f"{there:,} lines out. {stopped}. Progress as shown: {'; '.join(progress[:3]) or 'none'}.",
            "",
        ]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run or a bundle")
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=1000, help="subwords of the longest lines")
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
