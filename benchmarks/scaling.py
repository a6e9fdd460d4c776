"""Measure how training scales on this machine, and predict it on GPUs: `python benchmarks/scaling.py [WHAT ...]`.

layouts  one and two processes × threads: tokens per second, bytes per step, communication hidden by backward
links    two processes in network namespaces, on links of several rates: predicted steps, then measured (needs root)
gpus     predicted steps and efficiency on 1 to 1,024 GPUs for `base` and `big`, compared with published measurements
noise    critical batch of finished runs: --runs RUN,RUN; also estimated during training, if they kept snapshots

Without WHAT, all but noise. The result is a dated Markdown file with the machine and the versions, in --out, and plots
in --pictures. Nothing else may run during layouts and links.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed.config import Config  # noqa: E402
from allyouneed.paper.results_folder import as_table  # noqa: E402
from benchmarks.measure.accelerator import size_settings  # noqa: E402
from benchmarks.measure.gradient_noise import measure_noise  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.scaling_gpus import draw_gpus, gpu_tables  # noqa: E402
from benchmarks.measure.scaling_local import (  # noqa: E402
    Layout,
    layouts_table,
    links_table,
    measure_layouts,
    measure_links,
)
from benchmarks.measure.scaling_plots import draw_links  # noqa: E402
from benchmarks.measure.scaling_profile import profile  # noqa: E402
from benchmarks.measure.workers import WorkerFailed  # noqa: E402

_TITLES = {"gpus": "GPUs"}
_DEFAULT = ["layouts", "links", "gpus"]
_LAYOUTS = (Layout(1, 1), Layout(1, 2), Layout(2, 1))


def main() -> None:
    args = _arguments()
    for folder in (args.out, args.pictures):
        folder.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d")
    sections = [f"## {_TITLES.get(what, what.capitalize())}\n\n{_MEASUREMENTS[what](args)}" for what in args.what]
    name = "-".join(["scaling", *([] if args.what == _DEFAULT else args.what)])
    page = args.out / f"{date}-{name}.md"
    command = " ".join(["python benchmarks/scaling.py", *map(_without_folders, sys.argv[1:])])
    text = "\n\n".join([f"# Scaling, {date}\n{machine()}\n\n`{command}`", *sections])
    page.write_text(f"{text}\n", encoding="utf-8")
    print(f"\n{text}\n\n{page}")


def _without_folders(argument: str) -> str:
    return ",".join(Path(part).name for part in argument.split(","))


def _layouts(args: argparse.Namespace) -> str:
    config = _config(args)
    rows = measure_layouts(config, _LAYOUTS, args.steps, _show)
    head = f"{_described(args)}, medians of {args.steps} steps."
    return f"{head}\n\n{layouts_table(rows)}"


def _links(args: argparse.Namespace) -> str:
    config, units = _config(args), profile(args.recipe).units
    try:
        rows = measure_links(config, units, args.rates, args.steps, _show)
    except WorkerFailed as error:
        return f"Not measured: {error}"
    draw_links(rows, args.pictures / "scaling-links.svg")
    return f"{_described(args)}, two processes with one thread each.\n\n{links_table(rows)}"


def _config(args: argparse.Namespace) -> Config:
    """Return the recipe with the paper's norm and optimizer, and the given settings."""
    return size_settings(args.recipe).override(args.set)


def _described(args: argparse.Namespace) -> str:
    training = _config(args).training
    return f"{args.recipe} with {training.optimizer}, {training.batch_tokens:,} tokens per batch and side"


def _gpus(args: argparse.Namespace) -> str:
    draw_gpus(args.pictures)
    return gpu_tables()


def _noise(args: argparse.Namespace) -> str:
    rows = []
    for run in args.runs:
        for noise in measure_noise(run):
            low, high = (f"{half:,.0f}" for half in noise.halves)
            cells = {"run": run.name, "step": f"{noise.step:,}", "noise scale, target tokens": f"{noise.scale:,.0f}"}
            rows.append(cells | {"on halves of the batches": f"{low} to {high}"})
            _show(" ".join(rows[-1].values()))
    return as_table(rows)


def _show(line: str) -> None:
    print(line, flush=True)


_MEASUREMENTS = {"layouts": _layouts, "links": _links, "gpus": _gpus, "noise": _noise}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"any of {', '.join(_MEASUREMENTS)}")
    parser.add_argument("--recipe", default="tiny", help="trained model (layouts, links)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help="(layouts, links)")
    parser.add_argument("--steps", type=int, default=20, help="measured steps")
    parser.add_argument("--rates", type=_rates, default=_rates("100,300,1000,3000"), help="Mbit/s (links)")
    parser.add_argument("--runs", type=lambda text: [Path(run) for run in text.split(",")], default=[], help="(noise)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the page")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs" / "assets", help="folder for the plots")
    args = parser.parse_args()
    args.what = args.what or _DEFAULT
    if unknown := [what for what in args.what if what not in _MEASUREMENTS]:
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(_MEASUREMENTS)}")
    if "noise" in args.what and not args.runs:
        parser.error("noise needs --runs RUN,RUN, folders of finished runs")
    return args


def _rates(text: str) -> list[int]:
    return [round(1e6 * float(rate)) for rate in text.split(",")]


if __name__ == "__main__":
    main()
