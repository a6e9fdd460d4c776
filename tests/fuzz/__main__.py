"""Damage files and feed them to all readers and writers: `python -m tests.fuzz --minutes 60 [--folder FOLDER]`.

Failing files are stored in --failures, each beside its traceback; `--repeat FILE` runs one again. Exit code 1 if
something failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.runner import Case, Failure, Report, run, run_case
from tests.fuzz.samples import Target, targets


def main() -> int:
    args = _arguments()
    if args.repeat:
        return repeat(args.repeat)
    chosen = [each for each in targets(args.folder) if args.only in f"{each.kind}/{each.name}"]
    if not chosen:
        print(f"no target contains {args.only!r}", file=sys.stderr)
        return 2
    print(f"{len(chosen)} targets, {args.minutes:g} minutes, {args.processes} processes, seed {args.seed}", flush=True)
    report = run(chosen, args.seed, args.minutes, args.processes, lambda failure: store(failure, args.failures))
    print(page(report))
    return 1 if report.failures else 0


def store(failure: Failure, folder: Path) -> None:
    """Store a failing file with its traceback."""
    target, data = failure.case
    path = folder / target.kind / str(failure.number) / target.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_name("failure.txt").write_text(failure.text, encoding="utf-8", errors="backslashreplace")
    last = failure.text.strip().splitlines()[-1:]
    print(f"FAILED {path} ({len(data):,} bytes): {''.join(last)[:300]}", flush=True)


def repeat(path: Path) -> int:
    """Check a stored file again, in this process."""
    case = Case(Target(path.parts[-3], path.name, [], []), path.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        found = run_case(case, 0, Path(folder))
    print(found.failure[1] if found.failure else f"{found.outcome} in {found.seconds:.2f} s of processor time")
    return 1 if found.failure else 0


def page(report: Report) -> str:
    """The page of results."""
    lines = ["| fed with | cases | read | refused | failed | slowest, s of processor time |", "| --- " * 6 + "|"]
    total = [0, 0, 0, 0]
    for (kind, name), outcome in sorted(report.outcomes.items()):
        counts = [outcome.cases.total(), *(outcome.cases[each] for each in ("read", "refused", "failed"))]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        lines.append(f"| {kind} {name} | {' | '.join(f'{n:,}' for n in counts)} | {outcome.slowest:.2f} |")
    lines.append(f"| all | {' | '.join(f'{n:,}' for n in total)} | |")
    lines += ["", f"{len(report.failures)} failures"]
    for (kind, name, place), failure in report.failures.items():
        lines.append(f"- {kind} {name}, {place}: {failure.count:,} cases, the first is {failure.number}")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="Duration (1).")
    parser.add_argument("--folder", type=Path, help="Folder of documents that are damaged as well.")
    parser.add_argument("--only", default="", help="Only targets that contain this, such as document/a.po.")
    parser.add_argument("--processes", type=int, default=1, help="Number of processes (1).")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="Seed of the cases (the time).")
    parser.add_argument(
        "--failures", type=Path, default=Path("runs/fuzz"), help="Folder for failing files (runs/fuzz)."
    )
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="Check one stored file again.")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
