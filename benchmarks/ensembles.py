"""Measure ensembles: `python benchmarks/ensembles.py WORK --data DATA [--seeds 1,2,3] [--minutes 10]`.

Trains a model for each seed on Multi30k (de-en) in the folder WORK, or resumes its runs, and translates
test_2016_flickr with each of them and with ensembles of the first two, three and so on. With --runs, finished runs are
compared on --source and --reference instead. The rounds alternate, and the speed is their median. The result is a
dated Markdown page in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

import torch  # noqa: E402

import allyouneed  # noqa: E402
from allyouneed.data.files.lines import read_text  # noqa: E402
from allyouneed.translation.evaluation.metrics import corpus_scores  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402


class Row(NamedTuple):
    """A measured translation of the test set."""

    models: int
    name: str
    beam: int
    speed: float
    bleu: float
    chrf: float


def main() -> None:
    args = _arguments()
    runs = args.runs or [_train(args, seed) for seed in args.seeds]
    source = args.source or args.data / "test_2016_flickr.de.gz"
    reference = args.reference or args.data / "test_2016_flickr.en.gz"
    torch.set_num_threads(1)
    lines, references = list(read_text(source)), list(read_text(reference))
    groups = [[run] for run in runs] + [runs[:count] for count in range(2, len(runs) + 1)]
    translators = [allyouneed.Translator.load(group, inter_threads=args.threads) for group in groups]
    rows = measure(translators, [" + ".join(run.name for run in group) for group in groups], lines, references, args)
    page = args.out / f"{time.strftime('%Y-%m-%d')}-ensembles.md"
    args.out.mkdir(parents=True, exist_ok=True)
    head = f"# Ensembles, {time.strftime('%Y-%m-%d')}\n{machine()}\n\n{translators[0].bundle.described()} each; "
    head += f"{len(lines):,} sentences, {args.threads} threads, {args.repeats} alternating rounds, medians.\n"
    page.write_text("\n".join([head, *table(rows)]) + "\n", "utf-8")
    print(f"{page.read_text('utf-8')}\n{page}")


def measure(
    translators: Sequence[allyouneed.Translator],
    names: Sequence[str],
    lines: Sequence[str],
    references: Sequence[str],
    args: argparse.Namespace,
) -> list[Row]:
    """Translate with all models in alternating rounds."""
    rows = []
    for beam in args.beams:
        seconds: list[list[float]] = [[] for _ in translators]
        texts: list[list[str]] = [[] for _ in translators]
        for number in range(args.repeats):
            for i, translator in enumerate(translators):
                if not number:
                    translator.translate(lines[:20], beam_size=beam)  # warm up
                started = time.perf_counter()
                texts[i] = [each.text for each in translator.translate(lines, beam_size=beam)]
                seconds[i].append(time.perf_counter() - started)
        for translator, name, times, text in zip(translators, names, seconds, texts, strict=True):
            scores = corpus_scores(text, references)
            speed = len(lines) / statistics.median(times)
            rows.append(Row(len(translator.models), name, beam, speed, scores.bleu, scores.chrf))
    return rows


def table(rows: Sequence[Row]) -> list[str]:
    """Return a Markdown table; the gain of an ensemble is over the mean of the single models."""
    lines = ["| models | beam | sentences/s | BLEU | chrF | gain in BLEU |", "| --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        singles = [each.bleu for each in rows if each.models == 1 and each.beam == row.beam]
        gain = f"{row.bleu - statistics.mean(singles):+.2f}" if row.models > 1 else ""
        cells = f"{row.beam} | {row.speed:,.0f} | {row.bleu:.2f} | {row.chrf:.2f} | {gain}"
        lines.append(f"| {row.name} | {cells} |")
    return lines


def _train(args: argparse.Namespace, seed: int) -> Path:
    train, valid = ([args.data / f"{name}.{code}.gz" for code in ("de", "en")] for name in ("train", "val"))
    out = args.work / f"seed-{seed}"
    settings = [f"training.seed={seed}", *args.set]
    allyouneed.train(
        source="de", target="en", train=train, valid=valid, out=out, minutes=args.minutes, settings=settings
    )
    return out


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, nargs="?", help="folder of the runs")
    parser.add_argument("--data", type=Path, help="folder with Multi30k: train, val and test_2016_flickr, NAME.de.gz")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1, 2, 3])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE")
    parser.add_argument("--runs", type=Path, nargs="+")
    parser.add_argument("--source", type=Path)
    parser.add_argument("--reference", type=Path)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    if not args.runs and not (args.work and args.data):
        parser.error("give WORK and --data, or --runs with --source and --reference")
    if args.runs and not (args.source and args.reference):
        parser.error("--runs needs --source and --reference")
    return args


if __name__ == "__main__":
    main()
