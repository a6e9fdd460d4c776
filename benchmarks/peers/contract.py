"""The settings of all compared trainers, and the result line that each prints.

All train on Multi30k en-de with 10,000 joint subwords: post-norm, tied embeddings, label smoothing 0.1, Adam, fp32, two
threads unless OMP_NUM_THREADS is set. The line is

    NAME target_tokens_per_second=NNNN updates=U peak_memory_mib=M

NNNN: the median over windows of 10 updates, after the first 20 updates, of target tokens per second, including the end
token but not padding. M: the peak resident memory of the training process (`ru_maxrss`).

`contract.py size SIZE` prints a size as shell variables; `contract.py run` runs a training command and parses its log.
"""

from __future__ import annotations

import argparse
import re
import resource
import statistics
import subprocess
import sys
from typing import NamedTuple

WINDOW, SKIPPED = 10, 2  # updates per window, number of initial windows that are not counted
LEAST_UPDATES = WINDOW * (SKIPPED + 1)
SUBWORDS, SMOOTHING = 10_000, 0.1
PEAK_RATE, WARMUP = 0.005, 2000  # of the learning rate, as published for tiny; without effect on the speed


class Size(NamedTuple):
    layers: int  # in the encoder and in the decoder each
    d_model: int
    d_ff: int
    heads: int
    dropout: float
    batch_tokens: int  # on the longer side, including padding


SIZES = {
    "tiny": Size(layers=4, d_model=128, d_ff=256, heads=4, dropout=0.3, batch_tokens=4096),
    "small": Size(layers=3, d_model=256, d_ff=1024, heads=4, dropout=0.3, batch_tokens=4096),
    "base": Size(layers=6, d_model=512, d_ff=2048, heads=8, dropout=0.1, batch_tokens=512),
}


def number_of_updates(text: str) -> int:
    """Parse a number of updates that leaves at least one window to count."""
    if not text.isdecimal() or int(text) < LEAST_UPDATES:
        raise argparse.ArgumentTypeError(
            f"must be at least {LEAST_UPDATES}, because the first {WINDOW * SKIPPED} are not counted"
        )
    return int(text)


def line(name: str, rates: list[float], updates: int, whose: int) -> str:
    """Format the result line. whose: RUSAGE_SELF, or RUSAGE_CHILDREN for the largest child process."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in KiB elsewhere
    peak = resource.getrusage(whose).ru_maxrss / unit
    speed = statistics.median(rates[SKIPPED:])
    return f"{name} target_tokens_per_second={speed:.0f} updates={updates} peak_memory_mib={peak:.0f}"


def run(name: str, updates: int, log_path: str, pattern: str, command: list[str]) -> str:
    """Run a training command and return its result line; its output goes to stderr and to the file `log_path`.

    `pattern` matches the number of the update (group `update`) and the tokens per second (group `rate`) in the log.
    """
    rates, last = [], 0
    with (
        open(log_path, "w", encoding="utf-8") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
        ) as process,
    ):
        for text in process.stdout:
            log.write(text)
            sys.stderr.write(text)
            if (match := re.search(pattern, text)) and int(match["update"]) % WINDOW == 0:
                last = int(match["update"])
                rates.append(float(match["rate"]))
    if process.returncode:
        sys.exit(f"{name}: exit status {process.returncode}; see {log_path}")
    if last != updates - updates % WINDOW or len(rates) != updates // WINDOW:
        sys.exit(f"{name}: {log_path} has {len(rates)} windows and ends at update {last} of {updates}")
    return line(name, rates, updates, resource.RUSAGE_CHILDREN)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="action", required=True)
    size = commands.add_parser("size")
    size.add_argument("size", choices=SIZES)
    train = commands.add_parser("run")
    train.add_argument("name")
    train.add_argument("updates", type=number_of_updates)
    train.add_argument("log")
    train.add_argument("pattern")
    train.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if arguments.action == "size":
        values = {
            **SIZES[arguments.size]._asdict(),
            "smoothing": SMOOTHING,
            "peak_rate": PEAK_RATE,
            "warmup": WARMUP,
        }
        print(" ".join(f"{key}={value}" for key, value in values.items()))
    else:
        print(run(arguments.name, arguments.updates, arguments.log, arguments.pattern, arguments.command))


if __name__ == "__main__":
    main()
