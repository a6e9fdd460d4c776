"""Training, measured: `python benchmarks/training.py WHAT [DATA] ...`. One WHAT at a time, nothing else beside it.

throughput  target tokens a second beside the peers, in turn: --against fairseq,joeynmt,plain --sizes tiny,small,base
growth      how a step's time and memory grow with batch, length, vocabulary, width and depth
switches    what torch.compile, bf16 and threads bring, the start-up counted
accelerator target tokens a second on CUDA beside torch.nn.Transformer and Hugging Face's Marian: --sizes base,big
quality     BLEU after so many minutes: --recipe tiny --minutes 30 --seeds 1,2,3

The result is a dated Markdown file, with the machine and the versions: --out, or benchmarks/results. DATA is a folder
with Multi30k's files (see README.md). fairseq and joeynmt are set up once: `peers/NAME.sh setup PEERS/NAME`, then
`prepare PEERS/NAME DATA`, and --peers PEERS.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # so that `benchmarks.measure` is found, whatever the working folder

from benchmarks.measure.accelerator import accelerator_table, measure_accelerator, size_settings  # noqa: E402
from benchmarks.measure.growth import draw_growth, growth_table, logits_never_whole, measure_growth  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.quality import measure_quality, quality_table  # noqa: E402
from benchmarks.measure.switches import measure_switches, switches_table  # noqa: E402
from benchmarks.measure.throughput import SIZES, measure_throughput, throughput_table  # noqa: E402


def main() -> None:
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    begun = time.strftime("%Y-%m-%d")
    body = _MEASUREMENTS[asked.what](asked)
    page = asked.out / f"{begun}-training-{asked.what}.md"
    page.write_text(f"# Training: {asked.what}, {begun}\n{machine()}\n\n`{_command()}`\n\n{body}\n", encoding="utf-8")
    print(f"\n{body}\n\n{page}")


def _throughput(asked: argparse.Namespace) -> str:
    tables = []
    for size in asked.sizes:
        found = measure_throughput(asked.data, size, asked.against, asked.peers, asked.updates, asked.repeats, print)
        tables.append(throughput_table(size, *found))
    return "\n\n".join(tables)


def _growth(asked: argparse.Namespace) -> str:
    points = measure_growth(60 * asked.minutes, say=print)
    picture = asked.out / f"{time.strftime('%Y-%m-%d')}-training-growth.png"
    draw_growth(points, picture)
    check = logits_never_whole()
    return f"{growth_table(points)}\n\n![Time and memory of a step]({picture.name})\n\n{check}"


def _switches(asked: argparse.Namespace) -> str:
    return switches_table(measure_switches(asked.data, rounds=asked.repeats, say=print))


def _accelerator(asked: argparse.Namespace) -> str:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tables = []
    for size in asked.sizes:
        config = size_settings(size)
        rows = measure_accelerator(device, config, asked.repeats, asked.updates, say=print)
        tables.append(accelerator_table(size, config, device, rows))
    return "\n\n".join(tables)


def _quality(asked: argparse.Namespace) -> str:
    with tempfile.TemporaryDirectory() as folder:
        runs = asked.runs or Path(folder)
        found = measure_quality(asked.data, asked.recipe, asked.minutes, asked.seeds, runs, asked.set, print)
    return quality_table(asked.recipe, found)


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
    parser.add_argument("data", type=Path, nargs="?", help="folder with Multi30k's *.lc.norm.tok.{en,de}.gz")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the page")
    parser.add_argument("--against", type=_names, default=[], help="fairseq,joeynmt,plain (throughput)")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder of the peers' own folders")
    parser.add_argument("--sizes", type=_names, default=["tiny"], help=f"of {','.join(SIZES)} (throughput)")
    parser.add_argument("--updates", type=int, default=80, help="of each trainer in a round (throughput)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (throughput, switches)")
    parser.add_argument("--minutes", type=float, default=30, help="of training (quality), of all (growth)")
    parser.add_argument("--recipe", default="tiny", help="(quality)")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in _names(text)], default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.NAME=VALUE", help="(quality)")
    parser.add_argument("--runs", type=Path, help="keep the runs there, and go on with them (quality)")
    asked = parser.parse_args()
    if asked.data is None and asked.what in ("throughput", "quality"):
        parser.error(f"{asked.what} needs DATA, a folder with Multi30k's files")
    known = ("tiny", "base", "big") if asked.what == "accelerator" else SIZES
    if unknown := [size for size in asked.sizes if size not in known]:
        parser.error(f"--sizes {','.join(unknown)}: there is {', '.join(known)}")
    if unknown := [name for name in asked.against if name not in ("fairseq", "joeynmt", "plain")]:
        parser.error(f"--against {','.join(unknown)}: there is fairseq, joeynmt, plain")
    return asked


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _command() -> str:
    """As it was typed, but without the folders of this machine."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return " ".join(["python", "benchmarks/training.py", *words])


if __name__ == "__main__":
    main()
