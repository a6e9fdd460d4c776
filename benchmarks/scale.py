"""Time and memory of preparing and reading corpora of 10,000 to 10 million pairs.

    python -m benchmarks.scale [--pairs 10000,100000,1000000,10000000] [--work DIR] [--out DIR]

For each size, synthetic pairs are generated, prepared as by `allyouneed train`, and read as batches; each measurement
has a separate process. A word of the source has one translation, and words have the frequencies of Zipf's law, so
that the tokenizer has as much to do as with real text. 10 million pairs take 4 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.config import DataConfig
from allyouneed.data.batches import BatchOrder, Position, collate
from allyouneed.data.corpora import corpus
from allyouneed.data.prepare import prepare
from allyouneed.data.store import open_store
from allyouneed.data.workers import usable_cores
from benchmarks.measure.machine import machine
from benchmarks.measure.memory import peak_bytes, reset_peak

ROOT = Path(__file__).resolve().parents[1]
WORDS, ZIPF, MEAN_WORDS = 60_000, 1.2, 13
CHUNK = 20_000  # pairs generated at a time
VALID = 1000  # pairs
BATCH_TOKENS, BATCHES = 25_000, 200
DATA = DataConfig(vocab_size=16_000, faults="warn")
HEAD = (
    "| pairs | tokens | text | counting, inspection | tokenizer | encoding | pairs/s | memory | of a worker "
    "| first batch | from disk | again | memory |\n" + "| ---: " * 13 + "|"
)


def main() -> None:
    """Measure all sizes, and write the page of results."""
    arguments = _arguments()
    if arguments.measure:
        print(json.dumps({"prepare": _prepare, "read": _read}[arguments.measure](arguments.work)))
        return
    rows = []
    print(HEAD, flush=True)
    for pairs in arguments.pairs:
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            rows.append(row(pairs, measure(pairs, Path(folder))))
        print(rows[-1], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    page = arguments.out / f"{time.strftime('%Y-%m-%d')}-scale.md"
    page.write_text(_page(rows), encoding="utf-8")
    print(page)


def measure(pairs: int, folder: Path) -> dict[str, Any]:
    """Generate, prepare and read a corpus of the given number of pairs."""
    write_pairs(folder / "valid.tsv", VALID, seed=1)
    write_pairs(folder / "train.tsv", pairs, seed=2)
    facts = {"bytes": (folder / "train.tsv").stat().st_size}
    for name in ("prepare", "read"):
        command = [sys.executable, "-m", "benchmarks.scale", "--measure", name, "--work", folder]
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        done = subprocess.run(
            command, check=True, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
        )
        facts |= json.loads(done.stdout.splitlines()[-1])
    return facts


def write_pairs(path: Path, count: int, seed: int) -> None:
    """Write a TSV file of synthetic pairs."""
    with open(path, "wb") as file:
        for lines in synthetic_lines(count, seed):
            file.write(lines)


def synthetic_lines(count: int, seed: int) -> Iterator[bytes]:
    """Yield lines of pairs in chunks: the target is the source's words in another language, a few of them moved."""
    source, target = (_vocabulary(side) for side in (1, 2))
    random = np.random.default_rng(seed)
    probabilities = 1.0 / np.arange(1, WORDS + 1) ** ZIPF
    cumulative = np.cumsum(probabilities / probabilities.sum())
    for start in range(0, count, CHUNK):
        lengths = random.poisson(MEAN_WORDS, min(CHUNK, count - start)) + 1
        ends = np.cumsum(lengths)
        drawn = np.minimum(np.searchsorted(cumulative, random.random(ends[-1])), WORDS - 1)
        moved = drawn.copy()
        swapped = 2 * np.flatnonzero(random.random(len(moved) // 2) < 0.2)
        swapped = np.setdiff1d(swapped, ends - 1, assume_unique=True)  # no word moves to another line
        moved[swapped], moved[swapped + 1] = drawn[swapped + 1], drawn[swapped]
        ids = zip(drawn.tolist(), moved.tolist(), strict=True)
        words = [(source[one], target[other]) for one, other in ids]
        rows = (words[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True))
        lines = (" ".join(s for s, _ in row) + "\t" + " ".join(t for _, t in row) + "\n" for row in rows)
        yield "".join(lines).encode()


def _vocabulary(seed: int) -> list[str]:
    """Make words of syllables; frequent words are shorter."""
    syllables = [a + b for a in "bdfghklmnprstvwz" for b in ("a", "e", "i", "o", "u", "an", "er", "il", "os", "um")]
    order = np.random.default_rng(seed).permutation(len(syllables)).tolist()
    words = []
    for number in range(WORDS):
        word, rest = "", number + 1
        while rest:
            rest, syllable = divmod(rest - 1, len(syllables))
            word += syllables[order[syllable]]
        words.append(word)
    return words


def _prepare(folder: Path) -> dict[str, Any]:
    """Prepare the text; returns seconds of each stage and peak memory."""
    times: dict[str, float] = {}

    def say(line: str) -> None:
        print(line, file=sys.stderr)
        for stage in ("training the tokenizer", "preparing the text"):
            if line.startswith(stage):
                times.setdefault(stage, time.perf_counter())

    reset_peak()
    workers = _PeakOfChildren()
    start = time.perf_counter()
    corpora = ([corpus(folder / f"{name}.tsv")] for name in ("train", "valid"))
    prepared = prepare(folder / "data", *corpora, DATA, say, languages=("de", "en"))
    end = time.perf_counter()
    report = prepared.report()["train"]
    trained, encoded = (times.get(stage, end) for stage in ("training the tokenizer", "preparing the text"))
    return {
        "inspection": trained - start,
        "tokenizer": encoded - trained,
        "encoding": end - encoded,
        "memory": peak_bytes(),
        "worker": workers.peak,
        "kept": report["kept"],
        "tokens": report["source_tokens"] + report["target_tokens"],
    }


class _PeakOfChildren(threading.Thread):
    """Watches the peak memory of this process's children, in bytes, where the system reports it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.start()

    def run(self) -> None:
        while True:
            with suppress(OSError):
                for task in Path("/proc/self/task").iterdir():
                    for child in (task / "children").read_text().split():
                        self.peak = max(self.peak, peak_bytes(child))
            time.sleep(0.2)


def _read(folder: Path) -> dict[str, Any]:
    """Make the first batch, and read batches from disk and again from memory; returns seconds and tokens/s."""
    store_folder = folder / "data" / "train"
    for file in store_folder.iterdir():
        _evict(file)
    reset_peak()
    start = time.perf_counter()
    store = open_store(store_folder)
    order = BatchOrder(store, BATCH_TOKENS, seed=1)
    pairs, _ = order.next(Position())
    collate(store, pairs)
    first = time.perf_counter() - start
    speeds = []
    for _ in range(2):
        tokens, position, start = 0, Position(0, 1), time.perf_counter()
        for _ in range(min(BATCHES, len(order.epoch_batches(0)) - 1)):
            pairs, position = order.next(position)
            batch = collate(store, pairs)
            tokens += int((batch.source != 0).sum() + (batch.target != 0).sum())
        speeds.append(tokens / (time.perf_counter() - start))
    return {"first": first, "from_disk": speeds[0], "again": speeds[1], "reading_memory": peak_bytes()}


def _evict(path: Path) -> None:
    """Remove a file from the page cache, where the system can."""
    if hasattr(os, "posix_fadvise"):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def row(pairs: int, facts: dict[str, Any]) -> str:
    """Format the measurements of one size."""
    megabytes = {name: f"{facts[name] / 1e6:,.0f} MB" for name in ("bytes", "memory", "worker", "reading_memory")}
    seconds = {name: f"{facts[name]:,.1f} s" for name in ("inspection", "tokenizer", "encoding")}
    cells = (
        *(f"{pairs:,}", f"{facts['tokens'] / 1e6:,.1f} M", megabytes["bytes"], *seconds.values()),
        *(f"{facts['kept'] / facts['encoding']:,.0f}", megabytes["memory"], megabytes["worker"]),
        *(f"{facts['first']:.2f} s", f"{facts['from_disk'] / 1e6:.1f} M/s", f"{facts['again'] / 1e6:.1f} M/s"),
        megabytes["reading_memory"],
    )
    return f"| {' | '.join(cells)} |"


def _page(rows: list[str]) -> str:
    table = "\n".join([HEAD, *rows])
    return (
        f"# Preparing and reading large corpora\n\n`python -m benchmarks.scale` on {machine()}; "
        f"{usable_cores()} worker processes from 50,000 pairs on.\n\n"
        f"Synthetic pairs, about {MEAN_WORDS} words a side; vocabulary of {DATA.vocab_size:,} (BPE). `tokens` are "
        "those of both sides. `pairs/s` is the speed of encoding. `memory` is the peak of the main process, with "
        "Python and PyTorch; `of a worker`, the peak of one worker process. `first batch`: opening the store, ordering "
        f"the epoch and making the first batch of {BATCH_TOKENS:,} tokens, with nothing in the page cache. `from disk` "
        f"and `again`: tokens of both sides per second while making {BATCHES} batches, first from disk, then once "
        f"more; the last column is the peak memory of that process, store included.\n\n{table}\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = "10000,100000,1000000,10000000"
    parser.add_argument("--pairs", type=lambda text: [int(float(each)) for each in text.split(",")], default=sizes)
    parser.add_argument("--work", type=Path, help="folder for the text and the stores (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the result")
    parser.add_argument("--measure", choices=("prepare", "read"), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
