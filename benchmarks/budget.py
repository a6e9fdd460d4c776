"""Measure how well `--minutes` is kept on machines of changing speed: `python benchmarks/budget.py [--minutes 2]`.

Trains the dates of the quickstart several times. Meanwhile the process is stopped and continued (SIGSTOP, SIGCONT)
many times a second, so that it has a third of the time, in the first half, the second half, or in bursts; or other
processes compete for the cores in bursts. Time is counted from the first line of the run until the process has exited.
The result is appended to a dated Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed.data.synthetic import make_dates  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

PERIOD, SHARE = 0.3, 1 / 3  # seconds of a cycle of stopping and continuing; share in which a slow process runs
BURST = 20.0  # seconds
LOWEST, HIGHEST = -5.0, 3.0  # permitted deviation in percent


class Scenario(NamedTuple):
    """A kind of machine.

    Attributes:
        title: Description for the table.
        is_slow: Whether the machine is slow, by the seconds since the start and the planned seconds.
        competes: Whether other processes take the cores, rather than the process being stopped.
    """

    title: str
    is_slow: Callable[[float, float], bool]
    competes: bool = False


SCENARIOS = {
    "idle": Scenario("constant speed", lambda time, planned: False),
    "first": Scenario("3 × slower in the first half", lambda time, planned: time < planned / 2),
    "second": Scenario("3 × slower in the second half", lambda time, planned: time >= planned / 2),
    "bursts": Scenario("3 × slower in bursts of 20 s", lambda time, planned: time % (2 * BURST) < BURST),
    "load": Scenario("two busy processes per core in bursts of 20 s", lambda time, _: time % (2 * BURST) < BURST, True),
}


class Measured(NamedTuple):
    """A finished run: seconds, the first and the last number of steps, the last learning rate, and BLEU."""

    seconds: float
    first_steps: int
    steps: int
    last_rate: float
    bleu: float


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        _write_text(Path(folder))
        _train(Path(folder), "warm", ["--set", "training.steps=5"]).wait()  # compiles the kernels
        rows = [_row(SCENARIOS[name], args.minutes, _measure(Path(folder), name, args.minutes)) for name in args.only]
    result = args.out / f"{time.strftime('%Y-%m-%d')}-budget.md"
    args.out.mkdir(parents=True, exist_ok=True)
    names = "" if args.only == [*SCENARIOS] else f" --only {','.join(args.only)}"
    lines = [
        f"# Keeping to the minutes, {time.strftime('%Y-%m-%d %H:%M')}",
        f"{machine()}. `python benchmarks/budget.py --minutes {args.minutes:g}{names}`; recipe `dates`.",
        "",
        "| machine | planned minutes | actual | deviation | steps planned first / taken | last learning rate | BLEU |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]
    with open(result, "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(f"appended to {result}")


def _write_text(folder: Path) -> None:
    dates = make_dates()
    for name in ("train", "valid"):
        lines = (f"{pair.source}\t{pair.target}\n" for pair in getattr(dates, name))
        (folder / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")


def _train(folder: Path, name: str, options: list[str]) -> subprocess.Popen[bytes]:
    text = ["--train", str(folder / "train.tsv"), "--valid", str(folder / "valid.tsv"), "--out", str(folder / name)]
    command = [sys.executable, "-m", "allyouneed", "train", "--from", "ko", "--to", "en", "--recipe", "dates"]
    return subprocess.Popen([*command, *text, *options], stderr=subprocess.DEVNULL)


def _measure(folder: Path, name: str, minutes: float) -> Measured:
    process = _train(folder, name, ["--minutes", f"{minutes:g}"])
    try:
        while not (folder / name / ".lock").exists() and process.poll() is None:  # the first thing that a run does
            time.sleep(0.005)
        started, scenario = time.monotonic(), SCENARIOS[name]
        with _competitors() if scenario.competes else _stopping(process) as set_slow:
            while process.poll() is None:
                set_slow(scenario.is_slow(time.monotonic() - started, 60 * minutes))
        seconds = time.monotonic() - started
    finally:
        process.kill()
    if process.returncode:
        raise SystemExit(f"{name}: training failed")
    records = [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]
    plans = [record for record in records if record["event"] == "plan"]
    rates = [record["learning_rate"] for record in records if record["event"] == "train"]
    scores = json.loads((folder / name / "run.json").read_text())["finished"]["valid"]
    return Measured(seconds, plans[0]["steps"], plans[-1]["steps"], rates[-1], scores["bleu"])


@contextmanager
def _stopping(process: subprocess.Popen[bytes]) -> Iterator[Callable[[bool], None]]:
    """Yield a function that takes one cycle, in which a slow process is stopped for most of the time."""

    def cycle(slow: bool) -> None:
        if slow:
            process.send_signal(signal.SIGSTOP)
            time.sleep(PERIOD * (1 - SHARE))
            process.send_signal(signal.SIGCONT)
        time.sleep(PERIOD * SHARE)

    try:
        yield cycle
    finally:
        process.send_signal(signal.SIGCONT)


@contextmanager
def _competitors() -> Iterator[Callable[[bool], None]]:
    """Yield a function that lets other processes run, or stops them, for a cycle."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]

    def cycle(slow: bool) -> None:
        for each in busy:
            each.send_signal(signal.SIGCONT if slow else signal.SIGSTOP)
        time.sleep(PERIOD)

    try:
        cycle(False)
        yield cycle
    finally:
        for each in busy:
            each.kill()
            each.wait()


def _row(scenario: Scenario, minutes: float, measured: Measured) -> str:
    actual = measured.seconds / 60
    deviation = 100 * (actual / minutes - 1)
    verdict = "" if LOWEST <= deviation <= HIGHEST else " (missed)"
    steps = f"{measured.first_steps:,} / {measured.steps:,}"
    row = f"| {scenario.title} | {minutes:g} | {actual:.2f} | {deviation:+.1f} %{verdict} | {steps} |"
    print(row := f"{row} {measured.last_rate:.2g} | {measured.bleu:.1f} |", flush=True)
    return row


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="budget of each run")
    parser.add_argument("--only", type=lambda names: names.split(","), default=[*SCENARIOS], help=", ".join(SCENARIOS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    if unknown := set(args.only) - SCENARIOS.keys():
        parser.error(f"--only: no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return args


if __name__ == "__main__":
    main()
