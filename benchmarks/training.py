"""Measure training: `python benchmarks/training.py WHAT [DATA] ...`, with nothing else running.

throughput  training speed compared with the peers: --against fairseq,joeynmt,marian,eole,plain --sizes tiny,small,base
growth      growth of a step's time and memory with batch, length, vocabulary, width and depth: --sizes tiny,base
switches    effect of torch.compile, bf16 and the number of threads, including start-up time
accelerator training speed on CUDA compared with torch.nn.Transformer and transformers' Marian, and on several GPUs
            compared with one: --sizes base,big --gpus 1,2,4,8
quality     loss, BLEU, chrF and COMET of a recipe on validation and held-out text, and whether they are better than
            those of earlier RUNS: --recipe tiny --minutes 30 (or --steps 2000) --seeds 1,2,3 --languages en-de
            --held-out 1000 --runs NEW --against RUNS; on test sets only with --test, once all choices are made

The result is a dated Markdown file with the machine and the versions, in --out or benchmarks/results. DATA is a folder
with the Multi30k files (see README.md). Install each peer but plain once with `peers/NAME.sh setup PEERS/NAME` and
`peers/NAME.sh prepare PEERS/NAME DATA`, then use --peers PEERS.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.accelerator import accelerator_table, measure_accelerator, obstacle, size_settings  # noqa: E402
from benchmarks.measure.growth import check_logits, draw_growth, growth_table, measure_growth  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.quality import Plan, measure_quality, quality_table, texts  # noqa: E402
from benchmarks.measure.significance import check_comparable, significance_report  # noqa: E402
from benchmarks.measure.sizes import STUDIES  # noqa: E402
from benchmarks.measure.switches import measure_switches, switches_table  # noqa: E402
from benchmarks.measure.throughput import SIZES, TRAINERS, measure_throughput, throughput_table  # noqa: E402
from benchmarks.peers.contract import LEAST_UPDATES  # noqa: E402


def main() -> None:
    args = _arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d")
    body = _MEASUREMENTS[args.what](args)
    page = args.out / f"{date}-training-{args.what}.md"
    page.write_text(f"# Training: {args.what}, {date}\n{machine()}\n\n`{_command()}`\n\n{body}\n", encoding="utf-8")
    print(f"\n{body}\n\n{page}")


def _throughput(args: argparse.Namespace) -> str:
    tables = []
    for size in args.sizes:
        measurements = measure_throughput(args.data, size, args.against, args.peers, args.updates, args.repeats, print)
        tables.append(throughput_table(size, *measurements))
    return "\n\n".join(tables)


def _growth(args: argparse.Namespace) -> str:
    parts = []
    for size in args.sizes:
        sizes, sweeps = STUDIES[size]
        min_steps = 3 if size == "tiny" else 1  # a step of base takes seconds
        points = measure_growth(60 * args.minutes / len(args.sizes), sweeps, sizes, print, min_steps)
        suffix = "" if size == "tiny" else f"-{size}"
        picture = args.out / f"{time.strftime('%Y-%m-%d')}-training-growth{suffix}.png"
        draw_growth(points, picture)
        parts.append(f"**{size}**\n\n{growth_table(points)}\n\n![Time and memory of a step]({picture.name})")
    return "\n\n".join([*parts, str(check_logits())])


def _switches(args: argparse.Namespace) -> str:
    return switches_table(measure_switches(args.data, rounds=args.repeats, log=print))


def _accelerator(args: argparse.Namespace) -> str:
    tables = []
    for size in args.sizes:
        config = size_settings(size)
        rows = measure_accelerator(args.device, config, args.repeats, args.updates, gpus=args.gpus, log=print)
        tables.append(accelerator_table(size, config, args.device, rows))
    return "\n\n".join(tables)


def _quality(args: argparse.Namespace) -> str:
    minutes = None if args.steps else args.minutes
    plan = Plan(args.recipe, args.languages, minutes, args.steps, args.held_out, tuple(args.set))
    if args.against:
        check_comparable(plan, Path(args.against))
    with tempfile.TemporaryDirectory() as folder:
        runs = args.runs or Path(folder)
        results = measure_quality(plan, args.data, args.seeds, runs, args.test, print)
        parts = [quality_table(plan, results)]
        if args.against:
            page = args.out / f"{time.strftime('%Y-%m-%d')}-training-quality.html"
            _, files = texts(plan, args.data, runs, args.test)
            parts.append(significance_report(plan, runs, Path(args.against), args.seeds, files, page))
    return "\n\n".join(parts)


_MEASUREMENTS = {
    "throughput": _throughput,
    "growth": _growth,
    "switches": _switches,
    "accelerator": _accelerator,
    "quality": _quality,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=_MEASUREMENTS)
    parser.add_argument("data", type=Path, nargs="?", help="folder with Multi30k's *.lc.norm.tok.LANGUAGE.gz")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the page")
    peers = ",".join(TRAINERS)
    parser.add_argument("--against", help=f"{peers} (throughput); --runs of an earlier call (quality)")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder with one subfolder per peer")
    parser.add_argument("--sizes", type=_names, default=["tiny"], help=f"any of {','.join(SIZES)} (throughput)")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(accelerator)")
    parser.add_argument("--gpus", type=_numbers, default=[1], help="numbers of GPUs, e.g. 1,2,4,8 (accelerator)")
    parser.add_argument("--updates", type=int, default=80, help="updates per trainer and round (throughput)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (throughput, switches)")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, default=30, help="minutes of training (quality), in total (growth)")
    budget.add_argument("--steps", type=_positive, help="updates of a training, on any machine the same (quality)")
    parser.add_argument("--recipe", default="tiny", help="(quality)")
    parser.add_argument("--seeds", type=_numbers, default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help="(quality)")
    parser.add_argument("--runs", type=Path, help="folder for the runs, to resume them or compare with them (quality)")
    parser.add_argument("--languages", type=_pair, default=("en", "de"), help="e.g. en-fr or de-en (quality)")
    parser.add_argument("--held-out", type=_positive, default=0, help="training pairs to hold out and score (quality)")
    parser.add_argument("--test", action="store_true", help="score test sets: once, at the end (quality)")
    args = parser.parse_args()
    if args.data is None and args.what in ("throughput", "quality"):
        parser.error(f"{args.what} needs DATA, a folder with the Multi30k files")
    if args.what == "throughput" and args.updates < LEAST_UPDATES:
        parser.error(f"--updates {args.updates} are too few to measure: at least {LEAST_UPDATES}")
    if args.what == "accelerator" and (missing := obstacle(max(args.gpus, default=1), args.device)):
        parser.exit(2, f"{missing}\n")
    known = {"accelerator": ("tiny", "base", "big"), "growth": tuple(STUDIES)}.get(args.what, tuple(SIZES))
    if unknown := [size for size in args.sizes if size not in known]:
        parser.error(f"--sizes {','.join(unknown)}: choose from {', '.join(known)}")
    if args.what == "throughput":
        args.against = _names(args.against or "")
        if unknown := [name for name in args.against if name not in TRAINERS]:
            parser.error(f"--against {','.join(unknown)}: choose from {', '.join(TRAINERS)}")
    return args


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _numbers(text: str) -> list[int]:
    return [int(number) for number in _names(text)]


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number of at least 1")
    return int(text)


def _pair(text: str) -> tuple[str, str]:
    source, _, target = text.partition("-")
    if not (source and target):
        raise argparse.ArgumentTypeError(f"{text}: give two languages, for example en-de")
    return source, target


def _command() -> str:
    """Return the command line without the folders of this machine."""
    parts = [Path(part).name if part.startswith("/") else part for part in sys.argv[1:]]
    return " ".join(["python", "benchmarks/training.py", *parts])


if __name__ == "__main__":
    main()
