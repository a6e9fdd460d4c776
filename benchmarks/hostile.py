"""Damaged and hostile files: each is used, or refused in one line, within 5 s of processor time and 1 GB of memory.

    python -m benchmarks.hostile [--cases 20000] [--seed 1] [--only NAME,...] [--failures FOLDER]
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
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from allyouneed.bundle import build_model, load_bundle, save_bundle
from allyouneed.config import load_recipe
from benchmarks.measure.hostile.runner import REFUSED, USED, Found, run
from benchmarks.measure.hostile.samples import Sample, samples
from tests.compat import POST_NORM

_SLOW, _SHARE = ("store", "run", "checkpoint", "recipe"), 0.4  # kinds that train take longer than others


def main() -> int:
    """Print a Markdown table with a row for each kind of sample, and the failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="number of cases in all")
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each kind")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds that contain one of these texts, separated by commas")
    parser.add_argument("--failures", type=Path, help="folder for the first case of each failure")
    parser.add_argument("--loading", action="store_true", help="measure only how long it takes to check weights")
    arguments = parser.parse_args()
    if arguments.loading:
        return measure_loading()
    torch.set_num_threads(1)
    failures: Counter[str] = Counter()
    print("| sample | cases | used | refused | failed | slowest, s | time, s |\n| --- |" + " ---: |" * 6, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        chosen = arguments.only.split(",")
        found = {k: each for k, each in samples(Path(temporary)).items() if any(text in k for text in chosen)}
        total = Counter[str]()
        for name, count in counts(list(found), arguments.cases).items():
            total += _report(name, found[name], range(arguments.first, arguments.first + count), arguments, failures)
    print(f"| all | {total.total():,} | {' | '.join(f'{total[each]:,}' for each in (USED, REFUSED, 'failed'))} | | |")
    for failure, number in failures.most_common():
        print(f"- {failure}: {number}")
    return 1 if failures else 0


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


def counts(names: list[str], cases: int) -> dict[str, int]:
    """Divide a number of cases among kinds."""
    shares = {name: _SHARE if name in _SLOW else 1.0 for name in names}
    return {name: max(1, round(cases * share / sum(shares.values()))) for name, share in shares.items()}


def _report(
    name: str, sample: Sample, numbers: range, arguments: argparse.Namespace, failures: Counter[str]
) -> Counter[str]:
    """Run the cases of a kind, and print its row."""
    _warm_up(sample)
    outcomes, slowest, seconds, began = Counter[str](), 0.0, 0.0, time.monotonic()
    for found in run(sample, f"{arguments.seed} {name}", numbers):
        outcomes["failed" if found.failed else found.outcome] += 1
        slowest, seconds = max(slowest, found.seconds), seconds + found.seconds
        if found.failed:
            failure = f"{name}: {found.outcome}"
            failures[failure] += 1
            if arguments.failures and failures[failure] == 1:
                _store(arguments.failures, name, found)
    cells = " | ".join(f"{outcomes[each]:,}" for each in (USED, REFUSED, "failed"))
    took = time.monotonic() - began
    print(f"| {name} | {outcomes.total():,} | {cells} | {slowest:.1f} | {seconds:.0f} of {took:.0f} |", flush=True)
    return outcomes


def _warm_up(sample: Sample) -> None:
    """Use a sample as it is, so that the processes of the cases have all modules and kernels."""
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copytree(sample.folder, Path(temporary) / "sample")
        sample.use(Path(temporary) / "sample", Path(temporary) / "run")
    gc.collect()
    gc.freeze()


def _store(folder: Path, name: str, found: Found) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name} {found.number}.txt".replace(" ", "-")
    file.write_text(f"{name} {found.number}\n{found.outcome}\n{found.details}")


if __name__ == "__main__":
    sys.exit(main())
