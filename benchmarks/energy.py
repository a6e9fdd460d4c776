"""Measure what a translator costs: `python benchmarks/energy.py DATA --work WORK --trainers NAMES --minutes N`.

Trains on Multi30k en-de and reports the processor seconds, and joules where RAPL is readable, until BLEU on
test_2016_flickr reaches given values. NAMES: from allyouneed, fairseq, marian; the peers are installed and prepared by
peers/*.sh (`--peers DIR`). allyouneed uses the recipe of `--recipe` for N minutes, the peers the published recipe for
this size (Wu et al. 2021): learning rate 0.005, warm-up 2,000 updates, 2 x 4,096 tokens per update; each of their
scores is of the average of the last five checkpoints, one per epoch. Beam 5, tokenised text.

Joules are those of all packages while the trainer runs, so nothing else may run. Saved models are copied while training
continues and scored afterwards; scoring costs nothing here. Ctrl-C or `--slice MINUTES` stops a trainer early; the same
command continues it. WORK keeps the models until they are scored, and `curve.json` of each trainer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.energy_trainers import TRAINERS, Trainer  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.usage import Usage, run_measured  # noqa: E402

GOALS = (20.0, 30.0, 35.0, 37.0, 40.0)  # BLEU
CURVE = "curve.json"


def read_curve(folder: Path) -> list[dict]:
    """Read the points of one trainer: seconds, cpu_seconds, joules (or null), model (until scored) and bleu."""
    path = folder / CURVE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write_curve(folder: Path, points: list[dict]) -> None:
    unfinished = folder / f"{CURVE}.new"
    unfinished.write_text(json.dumps(points, indent=1), encoding="utf-8")
    unfinished.replace(folder / CURVE)


def train(trainer: Trainer, minutes: float, slice_minutes: float) -> None:
    """Train, and continue earlier training, until the given minutes in total; adds a point for each saved model."""
    points = read_curve(trainer.folder)
    before = Usage(*(points[-1][name] for name in Usage._fields)) if points else Usage(0.0, 0.0, None)
    left = min(60 * minutes - before.seconds, 60 * slice_minutes)
    if left <= 0:
        return
    seen = {trainer.identity(path) for path in trainer.saved()}

    def look(usage: Usage) -> None:
        for path in trainer.saved():
            if (identity := trainer.identity(path)) not in seen:
                seen.add(identity)
                copy = trainer.folder / "models" / f"{len(points):04}"
                trainer.copy(path, copy)
                points.append({**(before + usage)._asdict(), "model": copy.name, "bleu": None})
                write_curve(trainer.folder, points)

    usage = run_measured(trainer.command(minutes), left, look, trainer.folder / "train.log")
    points.append({**(before + usage)._asdict(), "model": None, "bleu": None})  # where the next slice begins
    write_curve(trainer.folder, points)


def score(trainer: Trainer) -> None:
    """Score the models that have no score yet, and delete those that are not needed any more."""
    points = read_curve(trainer.folder)
    models = [point for point in points if point["model"]]
    for index, point in enumerate(models):
        if point["bleu"] is None:
            first = max(0, index + 1 - trainer.averaged)
            folders = [trainer.folder / "models" / each["model"] for each in models[first : index + 1]]
            point["bleu"] = trainer.bleu(folders)
            print(f"{trainer.name}: {point['bleu']:.2f} BLEU after {point['cpu_seconds']:,.0f} CPU s", flush=True)
            write_curve(trainer.folder, points)
    for point in models[: -trainer.averaged]:
        shutil.rmtree(trainer.folder / "models" / point["model"], ignore_errors=True)


def reached(points: list[dict], goal: float) -> dict | None:
    """Return the first point that reaches the goal."""
    return next((point for point in points if point["bleu"] is not None and point["bleu"] >= goal), None)


def table(curves: dict[str, list[dict]]) -> str:
    """Format as Markdown: costs until each goal, and each trainer's best."""
    lines = [f"| BLEU | {' | '.join(curves)} |", f"| --- |{' --- |' * len(curves)}"]
    for goal in GOALS:
        cells = (_cost(reached(points, goal)) for points in curves.values())
        lines.append(f"| {goal:g} | {' | '.join(cells)} |")
    cells = []
    for points in curves.values():
        best = max((point for point in points if point["bleu"] is not None), key=lambda p: p["bleu"], default=None)
        cells.append(f"{best['bleu']:.2f}: {_cost(best)}" if best else "none")
    lines.append(f"| best | {' | '.join(cells)} |")
    speeds = [points[-1]["cpu_seconds"] / points[-1]["seconds"] for points in curves.values() if points]
    cores = f"Processor seconds per second: {statistics.mean(speeds):.2f}." if speeds else ""
    return "\n".join([*lines, "", cores])


def _cost(point: dict | None) -> str:
    if point is None:
        return "not reached"
    joules = f", {point['joules'] / 1000:,.1f} kJ" if point["joules"] is not None else ""
    return f"{point['cpu_seconds']:,.0f} CPU s{joules} ({point['seconds'] / 60:.1f} min)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with Multi30k's *.lc.norm.tok.{en,de}.gz")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and curves, to continue later")
    parser.add_argument("--trainers", type=lambda text: text.split(","), default=["allyouneed"], help="comma-separated")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder with one subfolder per peer")
    parser.add_argument("--recipe", default="fast", help="of allyouneed")
    parser.add_argument("--minutes", type=float, default=30, help="minutes of training in total, for each trainer")
    parser.add_argument("--slice", type=float, default=float("inf"), help="minutes of training in this call, for each")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    if unknown := set(args.trainers) - set(TRAINERS):
        parser.error(f"--trainers {','.join(sorted(unknown))}: choose from {', '.join(TRAINERS)}")
    curves = {}
    for name in args.trainers:
        trainer = TRAINERS[name](
            name, args.work.resolve() / name, args.data.resolve(), args.peers.resolve() / name, args.recipe
        )
        (trainer.folder / "models").mkdir(parents=True, exist_ok=True)
        train(trainer, args.minutes, args.slice)
        score(trainer)
        curves[name] = read_curve(trainer.folder)
    body, date = table(curves), time.strftime("%Y-%m-%d")
    args.out.mkdir(parents=True, exist_ok=True)
    command = f"`python benchmarks/energy.py multi30k --trainers {','.join(args.trainers)} --minutes {args.minutes:g}`"
    page = args.out / f"{date}-energy.md"
    page.write_text(f"# Cost of a translator, {date}\n{machine()}\n\n{command}\n\n{body}\n", encoding="utf-8")
    print(f"\n{body}\n\n{page}")


if __name__ == "__main__":
    main()
