"""Damaged and hostile files: each is used, or refused in one line, within 5 s of processor time and 1 GB of memory.

    python -m benchmarks.hostile [--cases 20000] [--minutes 60] [--seed 1] [--failures FOLDER]
    python -m benchmarks.hostile --only "bundle format-2" --number 34 --seed 29
    python -m benchmarks.hostile --loading

A case is determined by the seed, the kind of its sample and its number. It copies a small sample (a bundle, a model of
another system, a tokenizer, prepared text, a run, a recipe, a glossary), changes one to three of its files, and does
with it what a user does: translate a sentence, take a training step. Every second case replaces one value of one JSON
file, each value in turn; the others change bytes, nesting, headers and values of tensors, pieces of tokenizers, token
ids, entries of archives and kinds of file. Checksums are made anew, so that more than their check sees the changes.
Prints a table of results; exit code 1 if a case ended otherwise than used or refused.
"""

from __future__ import annotations

import argparse
import gc
import math
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from unittest.mock import patch

import torch

from allyouneed.bundle import build_model, load_bundle, save_bundle
from allyouneed.config import load_recipe
from benchmarks.measure.hostile.command_files import command_files
from benchmarks.measure.hostile.runner import REFUSED, USED, Found, run
from benchmarks.measure.hostile.samples import Sample, samples
from tests.compat import POST_NORM

_SLOW = ("store", "run", "checkpoint", "recipe")  # kinds that train take longer than others
_CHUNK, _SLOW_CHUNK = 40, 16  # cases of a kind before the next kind


@dataclass
class Row:
    """Results of a kind of sample."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    seconds: float = 0.0

    def add(self, found: Found) -> None:
        """Count a case."""
        self.outcomes["failed" if found.failed else found.outcome] += 1
        self.slowest, self.seconds = max(self.slowest, found.seconds), self.seconds + found.seconds


def main() -> int:
    """Print a Markdown table with a row for each kind of sample, and the failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="number of cases in all, rounded up")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds that contain one of these texts, separated by commas")
    parser.add_argument("--number", type=int, help="run only the case with this number of each kind")
    parser.add_argument("--failures", type=Path, help="folder for the first case of each failure")
    parser.add_argument("--loading", action="store_true", help="measure only how long it takes to check weights")
    arguments = parser.parse_args()
    if arguments.loading:
        return measure_loading()
    torch.set_num_threads(1)
    end, failures = time.monotonic() + 60 * arguments.minutes, Counter[str]()
    with tempfile.TemporaryDirectory() as temporary:
        chosen = arguments.only.split(",")
        every = {**samples(Path(temporary)), **command_files(Path(temporary))}
        found = {name: each for name, each in every.items() if any(text in name for text in chosen)}
        for sample in found.values():
            _warm_up(sample)
        rows = {name: Row() for name in found}
        one = None if arguments.number is None else [arguments.number]
        for name, numbers in _chunks(list(found)) if one is None else ((name, one) for name in found):
            if time.monotonic() > end or sum(row.outcomes.total() for row in rows.values()) >= arguments.cases:
                break
            for case in run(found[name], f"{arguments.seed} {name}", numbers):
                rows[name].add(case)
                if case.failed:
                    _report_failure(name, case, failures, arguments.failures)
    _print_table(rows)
    for failure, number in failures.most_common():
        print(f"- {failure}: {number}")
    return 1 if failures else 0


def _chunks(names: list[str]) -> Iterator[tuple[str, range]]:
    """Yield each kind in turn with the numbers of its next cases, without end."""
    for turn in count():
        for name in names:
            size = _SLOW_CHUNK if name in _SLOW else _CHUNK
            yield name, range(turn * size, (turn + 1) * size)


def _print_table(rows: Mapping[str, Row]) -> None:
    print("| sample | cases | used | refused | failed | slowest, s | processor time, s |\n| --- |" + " ---: |" * 6)
    total = Row(sum((row.outcomes for row in rows.values()), Counter[str]()))
    total.slowest = max(row.slowest for row in rows.values())
    total.seconds = sum(row.seconds for row in rows.values())
    for name, row in {**rows, "all": total}.items():
        cells = " | ".join(f"{row.outcomes[each]:,}" for each in (USED, REFUSED, "failed"))
        print(f"| {name} | {row.outcomes.total():,} | {cells} | {row.slowest:.1f} | {row.seconds:.0f} |")


def measure_loading() -> int:
    """Print the time in which a bundle of about 180 MB is loaded, with and without the check for finite weights."""
    small = load_bundle(POST_NORM)
    model = build_model(load_recipe("base").model, small.tokenizer)
    with tempfile.TemporaryDirectory() as temporary:
        save_bundle(replace(small, model=model, config=load_recipe("base")), Path(temporary) / "bundle")
        size = (Path(temporary) / "bundle" / "model.safetensors").stat().st_size
        for _ in range(2):
            times = [_seconds_to_load(Path(temporary)) for _ in range(7)]
            with patch("allyouneed.bundle._is_finite", return_value=True):
                unchecked = [_seconds_to_load(Path(temporary)) for _ in range(7)]
            print(f"{size / 1e6:.0f} MB: {min(times):.3f} s, without the check {min(unchecked):.3f} s")
    return 0


def _seconds_to_load(run: Path) -> float:
    began = time.perf_counter()
    load_bundle(run)
    return time.perf_counter() - began


def _warm_up(sample: Sample) -> None:
    """Use a sample as it is, so that the processes of the cases have all modules and kernels."""
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(sample.folder, Path(temporary) / "sample")
        sample.use(Path(temporary) / "sample", Path(temporary) / "run")
    gc.collect()
    gc.freeze()


def _report_failure(name: str, found: Found, failures: Counter[str], folder: Path | None) -> None:
    """Count a failure; the first of its kind is reported at once, and stored."""
    failure = f"{name}: {found.outcome}"
    failures[failure] += 1
    if failures[failure] > 1:
        return
    print(f"{name} {found.number}: {found.outcome}", file=sys.stderr, flush=True)
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{name} {found.number}.txt".replace(" ", "-")
        file.write_text(f"{name} {found.number}\n{found.outcome}\n{found.details}")


if __name__ == "__main__":
    sys.exit(main())
