"""Translate a large file in several processes, kill some, and compare the result: `python -m benchmarks.bulk [RUN]`.

The ways (`--ways`) are: `one` process; `two` processes of torchrun; `killed`, of which one is killed with SIGKILL, or
all are and the command is repeated with another number of processes, at the start and whenever a further part of the
output is written; `ray`, the example for Ray Data, of whose two workers one is killed. Each way first translates a
tenth of the file without kills, which shows whether memory grows with the file. The exit code is 1 if an output differs
from that of one process, other files remain, or memory grows. The result is a dated Markdown file in --out or
benchmarks/results.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from benchmarks.measure.machine import machine
from benchmarks.measure.memory import peak_bytes

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "compat" / "format-2"  # a stored bundle that was trained to reverse letters
WAYS = {
    "one": "one process",
    "two": "torchrun, 2 processes",
    "killed": "torchrun, killed",
    "ray": "Ray Data, 2 workers",
}
_POLL_SECONDS = 0.05
_STARTING_SECONDS = 4.0  # in which the processes load the model and meet
_MOST_GROWTH = 1.2  # of memory, for ten times the lines
_FEW_LINES = 10_000  # of which the blocks are smaller than those of a large file


@dataclass
class Row:
    """What a way of translating took.

    Attributes:
        name: How the file was translated.
        kills: What was killed.
        seconds: Time from the start of the first process to the end of the last one.
        processor: Processor seconds of all processes.
        peak: Largest peak of resident memory of one process, in bytes.
        tenth: The same for a tenth of the lines.
        problems: How the output differs from that of one process, and other promises that were broken.
    """

    name: str
    kills: list[str] = field(default_factory=list)
    seconds: float = 0.0
    processor: float = 0.0
    peak: int = 0
    tenth: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass
class Files:
    """The input, and the outputs of one process and of another way.

    Attributes:
        folder: The folder, which contains nothing else.
        lines: Number of lines of the input.
    """

    folder: Path
    lines: int

    @property
    def source(self) -> Path:
        return self.folder / "text"

    @property
    def expected(self) -> Path:
        return self.folder / "one"

    @property
    def found(self) -> Path:
        return self.folder / "found"

    def problems(self) -> list[str]:
        """Compare the outputs, list files that should not exist, and remove the output."""
        digests = {hashlib.sha256(path.read_bytes()).digest() for path in (self.found, self.expected)}
        others = {path.name for path in self.folder.iterdir()} - {"text", "one", "found"}
        self.found.unlink()
        differs = ["output DIFFERS"] * (len(digests) > 1)
        return differs + [f"{name} remains" for name in sorted(others)]


class Watched:
    """A command and its descendants, whose time and memory are added to a row while it runs."""

    def __init__(self, command: Sequence[str], row: Row, **environment: str):
        paths = os.pathsep.join(filter(None, [str(ROOT / "src"), *sys.path]))
        more = {"PYTHONPATH": paths, "GLOO_SOCKET_IFNAME": "lo", **environment}
        self._row, self._times, self._start = row, dict[int, float](), time.monotonic()
        self.process = subprocess.Popen(command, env={**os.environ, **more})

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until a condition is met, and return whether the command has ended before."""
        while self.process.poll() is None:
            for each in self.tree():
                self._row.peak = max(self._row.peak, peak_bytes(each))
                self._times[each] = max(self._times.get(each, 0.0), _processor_seconds(each))
            if condition():
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def finish(self) -> None:
        """Wait for the end of the command, which must succeed."""
        self.until(lambda: False)
        self.close()
        if self.process.returncode:
            raise SystemExit(f"{self._row.name}: exit code {self.process.returncode}")

    def close(self) -> None:
        """Add up the time; the command has ended or was killed."""
        self.process.wait()
        self._row.seconds += time.monotonic() - self._start
        self._row.processor += sum(self._times.values())

    def tree(self) -> list[int]:
        return _tree(self.process.pid)

    def workers(self) -> list[int]:
        return _children(self.process.pid)


def main() -> None:
    args, load = _arguments(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        whole, tenth = _files(Path(folder, "whole"), args.lines), _files(Path(folder, "tenth"), args.lines // 10)
        _write_text(whole, args.seed)
        with open(whole.source, "rb") as text:
            tenth.source.write_bytes(b"".join(islice(text, tenth.lines)))
        rows = []
        for way in dict.fromkeys(["one", *args.ways]):
            small, row = Row(WAYS[way]), Row(WAYS[way])
            _run(way, args, tenth, small, kills=0)
            _run(way, args, whole, row, kills=args.kills)
            row.tenth = small.peak
            grows = tenth.lines >= _FEW_LINES and row.peak > _MOST_GROWTH * row.tenth
            row.problems += small.problems + ["memory GROWS"] * grows
            print(row, flush=True)
            rows.append(row)
    date = time.strftime("%Y-%m-%d")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{date}-bulk.md"
    path.write_text(_page(date, args, rows, load), encoding="utf-8")
    print(path)
    sys.exit(any(row.problems for row in rows))


def _files(folder: Path, lines: int) -> Files:
    folder.mkdir()
    return Files(folder, lines)


def _write_text(files: Files, seed: int) -> None:
    """Write short lines of letters, a fifth of them different, some empty."""
    rng = random.Random(seed)
    some = ["", *(" ".join(rng.choices("abcdefgh", k=rng.randint(1, 6))) for _ in range(files.lines // 5))]
    with open(files.source, "w", encoding="utf-8") as file:
        file.writelines(f"{rng.choice(some)}\n" for _ in range(files.lines))


def _run(way: str, args: argparse.Namespace, files: Files, row: Row, kills: int) -> None:
    """Translate in one of the ways, killing processes if it is one in which they are killed."""
    if way == "one":
        Watched([sys.executable, *_translate(args.run, files.source, files.expected)], row).finish()
        return
    if way == "ray":
        _run_ray(args, files, row, is_killed=kills > 0)
    else:
        _run_torchrun(args, files, row, kills if way == "killed" else 0)
    row.problems += files.problems()


def _translate(run: Path, source: Path, output: Path) -> list[str]:
    return ["-m", "allyouneed", "translate", str(run), str(source), "-o", str(output), "--lines"]


def _run_torchrun(args: argparse.Namespace, files: Files, row: Row, kills: int) -> None:
    """Translate with torchrun; at the start, and at each of some sizes of the output, kill one process or all."""
    rng, size, processes = random.Random(args.seed), files.expected.stat().st_size, 2
    sizes = [int(size * (kill - rng.random()) / kills) for kill in range(kills)]  # the first one is negative
    while True:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=100"]
        arguments = _translate(args.run, files.source, files.found)
        command = Watched([sys.executable, *launch, *arguments], row)
        if not _disturb(command, files, row, processes, sizes, rng):
            return command.finish()
        command.close()
        processes = rng.choice([1, 2, 3])


def _disturb(command: Watched, files: Files, row: Row, processes: int, sizes: list[int], rng: random.Random) -> bool:
    """Kill processes of torchrun, and return whether all were killed, before the command has ended."""
    while sizes:
        written = sizes[0]
        if command.until(lambda: _size(files.found) > written and len(command.workers()) == processes):  # noqa: B023
            return False
        del sizes[0]
        if written < 0:
            time.sleep(rng.uniform(0, _STARTING_SECONDS))
        moment = f"at {_size(files.found) / files.expected.stat().st_size:.0%}"
        workers = command.workers()
        if written < 0 or rng.random() < 0.5:
            _kill(rng.choice(workers))
            row.kills.append(f"one of {processes} {moment}")
        else:
            for each in [command.process.pid, *workers]:
                _kill(each)
            row.kills.append(f"all {processes} {moment}")
            return True
    return False


def _run_ray(args: argparse.Namespace, files: Files, row: Row, is_killed: bool) -> None:
    """Translate with the example; when a third of the output is written, kill a worker."""
    arguments = [str(ROOT / "examples" / "ray_translate.py"), str(args.run), str(files.source), str(files.found), "2"]
    home = files.folder.with_name("home")  # Ray writes to the home folder
    home.mkdir(exist_ok=True)
    patience = {"RAY_raylet_start_wait_time_s": "300", "RAY_agent_register_timeout_ms": "300000"}  # on a busy machine
    ray = Watched([args.ray, *arguments], row, HOME=str(home), RAY_USAGE_STATS_ENABLED="0", **patience)
    size = files.expected.stat().st_size
    if is_killed and not ray.until(lambda: _size(files.found) > size / 3):
        workers = [each for each in ray.tree() if "Translate" in _title(each)]
        _kill(workers[0])
        row.kills.append(f"one of {len(workers)} at {_size(files.found) / size:.0%}")
    ray.finish()


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _children(process: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def _tree(process: int) -> list[int]:
    return [process, *(each for child in _children(process) for each in _tree(child))]


def _processor_seconds(process: int) -> float:
    with suppress(OSError):
        user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _title(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _page(date: str, args: argparse.Namespace, rows: Sequence[Row], load: float) -> str:
    shown = [Path(each).name if each.startswith("/") else each for each in sys.argv[1:]]
    lines = [
        f"# Translation of a large file, {date}",
        f"{machine()}; {args.lines:,} lines of at most 6 letters; load average at the start: {load:.1f}.",
        "",
        f"`{' '.join(['python -m benchmarks.bulk', *shown])}`",
        "",
        "| | killed | seconds | lines/s | processor seconds | peak memory of a process | of a tenth | output |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        result = ", ".join(row.problems) or "identical, no other files"
        kills, rate = ", ".join(row.kills) or "–", args.lines / row.seconds
        memory = f"{row.peak / 1e6:,.0f} MB | {row.tenth / 1e6:,.0f} MB"
        lines.append(
            f"| {row.name} | {kills} | {row.seconds:,.0f} | {rate:,.0f} | {row.processor:,.0f} | {memory} | {result} |"
        )
    lines += [
        "",
        "Seconds include the start of all processes, and of Ray. Killed: with SIGKILL, when that much was written. Of",
        "a tenth: the peak when a tenth of the lines is translated and no process is killed.",
    ]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=TINY)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--ways", nargs="+", choices=WAYS, help="default: all; ray only with --ray")
    parser.add_argument("--kills", type=int, default=6, help="in the way `killed`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ray", metavar="PYTHON", help="an interpreter with Ray; without it, Ray is not tried")
    parser.add_argument("--work", type=Path, help="folder for the files")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args()
    args.ways = args.ways or [way for way in WAYS if way != "ray" or args.ray]
    if "ray" in args.ways and not args.ray:
        parser.error("the way ray needs --ray PYTHON")
    return args


if __name__ == "__main__":
    main()
