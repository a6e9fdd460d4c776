"""Seconds that the checksums of prepared text take when training starts.

    python -m benchmarks.opening [--megabytes 1,1000] [--rounds 3] [--work DIR] [--out DIR]

For each size, a store of random token ids replaces the store of a small text that is prepared as by `allyouneed train`.
It is opened and read in new processes, and `allyouneed train` is started with it, with the checksums and, as in stores
that have none, without them, in alternating rounds; medians are printed. Files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.data.batches import BatchOrder, Position, collate
from allyouneed.data.prepared import PreparedData
from allyouneed.data.store import STORE, open_store, write_store
from allyouneed.data.tokens.token_ids import TokenIds
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.files import write_sealed
from benchmarks.measure.machine import machine
from benchmarks.measure.starts import ALLYOUNEED, first_step, write_text

ROOT = Path(__file__).resolve().parents[1]
VOCABULARY, MEAN_TOKENS = 400, 25
BATCH_TOKENS, BATCHES = 4096, 200
CHUNK = 100_000  # pairs written at a time
STAGES = ("open", "order", "first batch", f"{BATCHES} batches", "check", "first step")
HEAD = f"| store | pairs | checksums | {' | '.join(STAGES)} |\n| ---: | ---: | --- | {'---: | ' * len(STAGES)}".rstrip()


def main() -> None:
    """Measure all sizes, and write the page of results."""
    arguments = _arguments()
    if arguments.measure:
        print(json.dumps(stages(PreparedData(arguments.measure))))
        return
    rows = []
    print(HEAD, flush=True)
    for size in arguments.megabytes:
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            for measured in measure(int(1e6 * size), Path(folder), arguments.rounds):
                rows.append(row(size, **measured))
                print(rows[-1], flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    page = arguments.out / f"{time.strftime('%Y-%m-%d')}-opening.md"
    page.write_text(_page(rows, arguments.rounds), encoding="utf-8")
    print(page)


def measure(size: int, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Measure a store of the given number of bytes, with and without checksums."""
    text, data = folder / "text.tsv", {name: folder / name / "data" for name in ("yes", "no")}
    write_text(text)
    command = [*ALLYOUNEED, "train", "--from", "aa", "--to", "bb", "--train", str(text), "--recipe", "tiny"]
    for setting in ("training.steps=2", "training.log_every=1", f"data.vocab_size={VOCABULARY}"):
        command += ["--set", setting]
    subprocess.run([*command, "--out", folder / "yes", "--dry-run"], check=True, capture_output=True)
    write_random_store(PreparedData(data["yes"]).train, size)
    shutil.copytree(data["yes"], data["no"])
    remove_checksums(PreparedData(data["no"]).train)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in data}
    for number in range(rounds + 1):  # the first one reads the files of the program
        for name, prepared in data.items():
            out = folder / f"run-{name}-{number}"
            step = first_step([*command, "--data", str(prepared), "--out", str(out)], out, dict(os.environ))
            found[name].append({**_stages_of(prepared), "first step": step})
    pairs = len(open_store(PreparedData(data["no"]).train))
    return [
        {
            "pairs": pairs,
            "checksums": name,
            "seconds": {stage: statistics.median(each[stage] for each in several[1:]) for stage in STAGES},
        }
        for name, several in found.items()
    ]


def write_random_store(folder: Path, size: int) -> None:
    """Write a store of about the given number of bytes."""
    pairs = max(1, size // (2 * (4 * MEAN_TOKENS + 8)))
    random = np.random.default_rng(1)

    def side(count: int) -> TokenIds:
        lengths = random.poisson(MEAN_TOKENS - 1, count) + 1
        return TokenIds(random.integers(EOS + 1, VOCABULARY, lengths.sum(), dtype=np.int32), lengths)

    def blocks() -> Iterator[tuple[TokenIds, TokenIds]]:
        for start in range(0, pairs, CHUNK):
            count = min(CHUNK, pairs - start)
            yield side(count), side(count)

    write_store(folder, blocks())


def remove_checksums(store: Path) -> None:
    """Rewrite `store.json` as an earlier version wrote it."""
    facts = json.loads((store / STORE).read_text())
    write_sealed(store / STORE, {name: facts[name] for name in ("pairs", "tokens")})


def _stages_of(prepared: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.opening", "--measure", prepared]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    done = subprocess.run(command, check=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def stages(prepared: PreparedData) -> dict[str, float]:
    """Return the seconds of each stage of reading prepared text."""
    seconds: dict[str, float] = {}

    def timed(name: str) -> None:
        nonlocal started
        seconds[name] = time.perf_counter() - started
        started = time.perf_counter()

    started = time.perf_counter()
    store, _, _, _ = prepared.train_pairs, prepared.valid_pairs, prepared.tokenizer(), prepared.valid_texts()
    timed("open")
    order = BatchOrder(store, BATCH_TOKENS, seed=1)
    pairs, position = order.next(Position())
    timed("order")
    collate(store, pairs)
    timed("first batch")
    for _ in range(BATCHES):
        pairs, position = order.next(position)
        collate(store, pairs)
    timed(f"{BATCHES} batches")
    PreparedData(prepared.folder).verify()
    timed("check")
    return seconds


def row(megabytes: float, pairs: int, checksums: str, seconds: dict[str, float]) -> str:
    """Format the measurements of one store."""
    times = (f"{seconds[stage]:,.3f}" for stage in STAGES)
    return f"| {megabytes:,g} MB | {pairs:,} | {checksums} | {' | '.join(times)} |"


def _page(rows: list[str], rounds: int) -> str:
    table = "\n".join([HEAD, *rows])
    return (
        f"# Checksums when training starts\n\n`python -m benchmarks.opening` on {machine()}.\n\n"
        f"Seconds, medians of {rounds} rounds, with random token ids, {MEAN_TOKENS} a sentence. `open`: prepared text, "
        f"tokenizer and token ids; `order`: the batches of an epoch; `first batch` and `{BATCHES} batches`: of "
        f"{BATCH_TOKENS:,} tokens a side; `check`: as `allyouneed check` verifies the text; `first step`: from the "
        f"start of `allyouneed train` until the log has the first step.\n\n{table}\n"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=lambda text: [float(each) for each in text.split(",")], default="1,1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the stores (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of the result")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
