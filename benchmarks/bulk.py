"""Translate a large file in several processes, kill some, and compare the result: `python -m benchmarks.bulk [RUN]`.

One process translates the file. Then torchrun starts two processes, of which one is killed with SIGKILL, or all are and
the command is repeated with another number of processes, whenever a further part of the output is written. Then the
example for Ray Data translates it, and one of its workers is killed. Outputs must be identical. The result is a dated
Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure.machine import machine
from benchmarks.measure.memory import peak_bytes

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "compat" / "format-2"  # a stored bundle that was trained to reverse letters
_POLL_SECONDS = 0.05


@dataclass
class Row:
    """What a way of translating took.

    Attributes:
        name: How the file was translated.
        kills: What was killed.
        seconds: Processor seconds of all processes.
        peak: Largest peak of resident memory of one process, in bytes.
        identical: Whether the output equals that of one process, and no other file remains.
    """

    name: str
    kills: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0
    identical: bool = True


def main() -> None:
    args = _arguments()
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        source, expected = Path(folder) / "text", Path(folder) / "one"
        _write_text(source, args.lines, args.seed)
        rows = [_run_once("one process", _translate(args.run, source, expected))]
        for row in _others(args, source, expected):
            print(row, flush=True)
            rows.append(row)
    date = time.strftime("%Y-%m-%d")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{date}-bulk.md"
    path.write_text(_page(date, args, rows), encoding="utf-8")
    print(path)
    sys.exit(not all(row.identical for row in rows))


def _others(args: argparse.Namespace, source: Path, expected: Path) -> Iterator[Row]:
    found = source.with_name("found")
    row = _run_killed(args, source, found, expected.stat().st_size)
    yield _compared(row, found, expected)
    found.unlink()
    if args.ray:
        yield _compared(_run_ray(args, source, found, expected.stat().st_size), found, expected)


def _write_text(path: Path, lines: int, seed: int) -> None:
    """Write short lines of letters, a fifth of them repeated, some empty."""
    rng = random.Random(seed)
    some = ["", *(" ".join(rng.choices("abcdefgh", k=rng.randint(1, 6))) for _ in range(lines // 5))]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{rng.choice(some)}\n" for _ in range(lines))


def _translate(run: Path, source: Path, output: Path) -> list[str]:
    return ["-m", "allyouneed", "translate", str(run), str(source), "-o", str(output), "--lines", "--beam-size", "1"]


def _run_once(name: str, arguments: Sequence[str]) -> Row:
    row = Row(name)
    process = _start([sys.executable, *arguments])
    if not _watch(process, row, lambda: False):
        raise SystemExit(f"{name}: exit code {process.returncode}")
    return row


def _run_killed(args: argparse.Namespace, source: Path, output: Path, size: int) -> Row:
    """Translate with torchrun; at each of some sizes of the output, kill one process or all."""
    row, rng = Row("torchrun"), random.Random(args.seed)
    sizes = [int(size * (kill + rng.random()) / (args.kills + 1)) for kill in range(args.kills)]
    processes = 2
    while True:
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "--max-restarts=100"]
        process = _start([sys.executable, *launch, *_translate(args.run, source, output)])
        ended = False
        while sizes and not ended:
            written = sizes.pop(0)
            ended = _watch(process, row, lambda written=written: _size(output) > written)
            workers = _children(process.pid)
            if ended or not workers:
                continue
            if rng.random() < 0.5:
                rank = rng.randrange(len(workers))
                os.kill(workers[rank], signal.SIGKILL)
                row.kills.append(f"one of {processes}")
            else:
                for each in [process.pid, *workers]:
                    with suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)
                process.wait()
                row.kills.append(f"all {processes}")
                processes = rng.choice([1, 2, 3])
                break
        else:
            if not ended:
                _watch(process, row, lambda: False)
            if process.returncode == 0:
                return row
            raise SystemExit(f"torchrun: exit code {process.returncode}")


def _run_ray(args: argparse.Namespace, source: Path, output: Path, size: int) -> Row:
    """Translate with the example; when a third of the output is written, kill a worker."""
    row = Row("Ray Data, 2 workers")
    example = str(ROOT / "examples" / "ray_translate.py")
    process = _start([args.ray, example, str(args.run), str(source), str(output), "2"])
    if not _watch(process, row, lambda: _size(output) > size / 3):
        workers = [each for each in _tree(process.pid) if "Translate" in _title(each)]
        os.kill(workers[0], signal.SIGKILL)
        row.kills.append("one of 2")
        _watch(process, row, lambda: False)
    if process.returncode != 0:
        raise SystemExit(f"Ray: exit code {process.returncode}")
    return row


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    paths = os.pathsep.join(filter(None, [str(ROOT / "src"), *sys.path]))
    more = {"PYTHONPATH": paths, "GLOO_SOCKET_IFNAME": "lo", "RAY_USAGE_STATS_ENABLED": "0"}
    return subprocess.Popen(command, env={**os.environ, **more})


def _watch(process: subprocess.Popen[bytes], row: Row, until: Callable[[], bool]) -> bool:
    """Record the peak of memory until a condition is met; return whether the process has ended."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    while process.poll() is None and not until():
        row.peak = max([row.peak, *map(peak_bytes, _tree(process.pid))])
        time.sleep(_POLL_SECONDS)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    row.seconds += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return process.poll() is not None


def _children(process: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def _tree(process: int) -> list[int]:
    return [process, *(each for child in _children(process) for each in _tree(child))]


def _title(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _compared(row: Row, found: Path, expected: Path) -> Row:
    digests = {hashlib.sha256(path.read_bytes()).digest() for path in (found, expected)}
    row.identical = len(digests) == 1 and {path.name for path in found.parent.iterdir()} == {"text", "one", "found"}
    return row


def _page(date: str, args: argparse.Namespace, rows: Sequence[Row]) -> str:
    shown = [Path(each).name if each.startswith("/") else each for each in sys.argv[1:]]
    lines = [
        f"# Translation of a large file, {date}",
        f"{machine()}; {args.lines:,} lines of 1 to 6 letters, greedy search, other programs running.",
        "",
        f"`{' '.join(['python -m benchmarks.bulk', *shown])}`",
        "",
        "| | killed with SIGKILL | processor seconds | peak memory of a process | output |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        same = "identical, no other files" if row.identical else "DIFFERENT"
        kills = ", ".join(row.kills) or "–"
        lines.append(f"| {row.name} | {kills} | {row.seconds:,.0f} | {row.peak / 1e6:,.0f} MB | {same} |")
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", default=TINY)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--ray", metavar="PYTHON", help="an interpreter with Ray; without it, Ray is not tried")
    parser.add_argument("--work", type=Path, help="folder for the files")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
