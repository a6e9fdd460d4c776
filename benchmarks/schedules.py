"""Compare learning-rate schedules at equal steps: `python benchmarks/schedules.py [DATA] [--seeds 1,2]`.

Linear decay from the end of warm-up, as with `--minutes`, against a constant rate that decays only in the last part
("warm-up, stable, decay", WSD; Hägele et al. 2024), linearly or as 1 − √x. Since steps are equal, other load on the
machine does not matter. Corpora: the dates of the quickstart, and the first pairs of Multi30k if DATA, its folder, is
given, with two lengths of training. The result is appended to a dated Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import math
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed import Translator, evaluate  # noqa: E402
from allyouneed.data.corpora import corpus  # noqa: E402
from allyouneed.data.synthetic import make_dates  # noqa: E402
from allyouneed.training.planning.schedule import TrainingPlan  # noqa: E402
from allyouneed.training.request import Request  # noqa: E402
from allyouneed.training.train import train  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

WARMUP = 0.08  # share of the steps
AVERAGED = 0.1
SCHEDULES = {  # share of the steps in which the rate decays, and whether as 1 - √x
    "linear": (1.0, False),
    "WSD, last 40 %": (0.4, False),
    "WSD, last 20 %": (0.2, False),
    "WSD, last 20 %, 1 − √x": (0.2, True),
}


class Task(NamedTuple):
    """A corpus with its recipe, steps and further settings."""

    corpus: str
    recipe: str
    steps: int
    settings: tuple[str, ...] = ()


SMALL = ("model.encoder_layers=2", "model.decoder_layers=2", "data.vocab_size=2000")
TINY = ("model.d_model=64", "model.d_ff=128", *SMALL[:2], "data.vocab_size=1000", "training.batch_tokens=1024")
TASKS = {
    "dates": Task("dates", "dates", 350),
    "multi30k": Task("multi30k", "fast", 300, SMALL),
    "multi30k, longer": Task("multi30k", "fast", 1500, TINY),
}


def main() -> None:
    args = _arguments()
    console, rows = Console(quiet=True), []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            task = TASKS[name]
            _write_text(Path(folder), task.corpus, args.data)
            for title in SCHEDULES:
                measured = [_measure(Path(folder), name, title, seed, console) for seed in args.seeds]
                loss, bleu, exact = ([row[i] for row in measured] for i in range(3))
                shown = " | ".join([_each(loss, 3), _each(bleu, 1), _each(exact, 1)])
                rows.append(f"| {name}, {task.steps} steps | {title} | {shown} |")
                print(rows[-1], flush=True)
    lines = [
        f"# Learning-rate schedules at equal steps, {time.strftime('%Y-%m-%d %H:%M')}",
        f"{machine()}. One value per seed: {', '.join(map(str, args.seeds))}.",
        "Loss on validation text, scores on test text.",
        "",
        "| corpus | schedule | loss | BLEU | exact match, % |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    result = args.out / f"{time.strftime('%Y-%m-%d')}-schedules.md"
    with open(result, "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n\n")
    print(f"appended to {result}")


def _factor(share: float, root: bool, plan: TrainingPlan, step: int) -> float:
    if step < plan.warmup:
        return step / plan.warmup
    start = max(plan.warmup, int(plan.steps * (1 - share)))
    done = min(1.0, max(0.0, (step - start) / (plan.steps - start)))
    return 1 - (math.sqrt(done) if root else done)


def _measure(folder: Path, name: str, title: str, seed: int, console: Console) -> tuple[float, float, float]:
    task = TASKS[name]
    files = {part: folder / f"{task.corpus}-{part}.tsv" for part in ("train", "valid", "test")}
    plan = TrainingPlan(
        steps=task.steps,
        warmup=int(WARMUP * task.steps),
        decay="linear",
        learning_rate=0.004,  # that of both recipes
        validate_every=task.steps,
        average_every=max(1, int(AVERAGED * task.steps / 5)),
    )
    settings = [*task.settings, "training.bleu_sentences=0", "training.minutes=none", f"training.seed={seed}"]
    request = Request(
        [corpus(files["train"])],
        [corpus(files["valid"])],
        folder / f"{name}-{title}-{seed}".replace(" ", "-"),
        ("ko", "en") if task.corpus == "dates" else ("de", "en"),
        task.recipe,
        [*settings, f"training.steps={task.steps}"],
        data=folder / f"{name}-data",
        plan=plan,
    )
    share, root = SCHEDULES[title]
    with mock.patch.object(TrainingPlan, "factor", lambda plan, step: _factor(share, root, plan, step)):
        loss = train(request, console).scores["valid"]["loss"]
    scores = evaluate(Translator.load(request.out), [files["test"]])
    return loss, scores.bleu, scores.exact_match


def _write_text(folder: Path, name: str, data: Path | None) -> None:
    if name == "dates":
        dates = make_dates()
        parts = {part: getattr(dates, part) for part in ("train", "valid", "test")}
    else:
        sizes = {"train": ("train", 8000), "valid": ("val", 500), "test": ("test_2016_flickr", 1000)}
        parts = {part: _pairs(data, stem, size) for part, (stem, size) in sizes.items()}
    for part, pairs in parts.items():
        lines = (f"{source}\t{target}\n" for source, target in pairs)
        (folder / f"{name}-{part}.tsv").write_text("".join(lines), encoding="utf-8")


def _pairs(data: Path, stem: str, size: int) -> list[tuple[str, str]]:
    sides = []
    for language in ("de", "en"):
        with gzip.open(data / f"{stem}.{language}.gz", "rt", encoding="utf-8") as file:
            sides.append([line.rstrip("\n") for line in itertools.islice(file, size)])
    return [*zip(*sides, strict=True)]


def _each(values: list[float], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in values)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, nargs="?", help="folder with Multi30k's train, val and test_2016_flickr")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[1])
    parser.add_argument("--only", type=lambda names: names.split(";"), help="; ".join(TASKS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    args.only = args.only or [*TASKS][: 1 if args.data is None else None]
    return args


if __name__ == "__main__":
    main()
