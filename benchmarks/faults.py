"""Faults by the thousand: killed processes, failing disks, damaged files, signals, clocks and losses of power.

    python -m benchmarks.faults [--cases N] [--commands train,...] [--only TEXT] [--case NUMBER] [--seed 1] [--jobs 1]

Each case disturbs a command on a tiny model and repeats it as a user would, following the advice of error messages. The
result must equal that of the undisturbed command: weights bit for bit, translations byte for byte. Outcomes:

- finished: the disturbed command ended with the right result;
- exact: the same command, repeated, ended with the right result;
- advised: one line named the damaged file and what to do, and after that the result was right;
- failed: anything else, such as a traceback, another result, or advice to delete an intact file.

A case is determined by the seed and its number. Prints each failed case, and tables, also after Ctrl-C. The exit code
is 1 if a case has failed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from benchmarks.measure.machine import machine

if TYPE_CHECKING:
    from benchmarks.faults_cases import Case

_MEMORY = Path("/dev/shm")
_LOADED = "FAULTS_FOLDER"  # variable of the process that has loaded the library
_COMMANDS = "train,resume,translate,clean,export,import,evaluate,drafts,distil"
_cases: list[Case] = []  # of a worker process


def main() -> NoReturn:
    """Start this program again with the library, or run the cases."""
    arguments = _arguments()
    if _LOADED in os.environ:
        sys.exit(run(arguments, Path(os.environ[_LOADED])))
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        variables = {**os.environ, _LOADED: folder, "OMP_NUM_THREADS": "1"}
        if problem := preload(Path(folder), variables):
            print(f"without faults at single calls and loss of power: {problem}", file=sys.stderr)
        command = [sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]]
        process = subprocess.Popen(command, env=variables)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # after Ctrl-C, the other process prints its tables and ends
        sys.exit(process.wait())


def preload(folder: Path, variables: dict[str, str]) -> str:
    """Compile the library, and set the variables with which a process loads it.

    Returns:
        Why that is not possible; an empty string if it is.
    """
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        return "they need Linux and a C compiler (cc)"
    library, source = folder / "faults.so", Path(__file__).with_name("faults.c")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"{source.name} does not compile: {done.stderr.strip()[-300:]}"
    variables["LD_PRELOAD"] = str(library)
    return ""


def run(arguments: argparse.Namespace, folder: Path) -> int:
    """Run the chosen cases in a folder, and print their results."""
    from rich.console import Console

    from allyouneed.progress import track_progress
    from benchmarks.faults_cases import OUTCOMES, Bench, plan  # load PyTorch, which `main` does not need

    (folder / "first").mkdir()
    os.chdir(folder / "first")
    bench = Bench(arguments.commands.split(","))
    bench.prepare()
    cases = list(plan(bench, arguments.seed, "LD_PRELOAD" in os.environ, _can_mount()))
    numbers = [n for n, case in enumerate(cases) if arguments.only in f"{case.fault}, {case.command}: {case.detail}"]
    if arguments.case is not None:
        numbers = [arguments.case]
    elif arguments.cases and arguments.cases < len(numbers):
        numbers = sorted(random.Random(arguments.seed).sample(numbers, arguments.cases))
    counts: Counter[tuple[str, str, str]] = Counter()
    context = multiprocessing.get_context("fork")
    progress = track_progress(Console(stderr=True), "cases")
    with context.Pool(arguments.jobs, _enter, (folder, cases)) as pool, suppress(KeyboardInterrupt), progress as update:
        print(f"{len(numbers):,} of {len(cases):,} cases", file=sys.stderr)
        for done, (number, outcome, description) in enumerate(pool.imap_unordered(_judge, numbers), 1):
            case = cases[number]
            update(done, len(numbers))
            counts[case.fault, case.command, outcome] += 1
            if outcome == "failed" or arguments.case is not None:
                place = f"case {number}: {case.fault}, {case.command}: {case.detail}"
                print(f"{place}\n{outcome}: {description}\n", flush=True)
    print(f"{machine()}; seed {arguments.seed}\n")
    print_tables(counts, OUTCOMES)
    return 1 if any(outcome == "failed" for _, _, outcome in counts) else 0


def print_tables(counts: Counter[tuple[str, str, str]], outcomes: tuple[str, ...]) -> None:
    """Print Markdown tables of the cases by fault and by command.

    Args:
        counts: Number of cases by fault, command and outcome.
        outcomes: All outcomes.
    """
    for title, column in (("fault", 0), ("command", 1)):
        print(f"| {title} | cases | {' | '.join(outcomes)} |\n| --- |" + " ---: |" * (1 + len(outcomes)))
        for name in [*dict.fromkeys(key[column] for key in counts), "all"]:
            chosen = {key: count for key, count in counts.items() if name in ("all", key[column])}
            cells = (sum(count for key, count in chosen.items() if key[2] == outcome) for outcome in outcomes)
            print(f"| {name} | {sum(chosen.values()):,} | {' | '.join(f'{cell:,}' for cell in cells)} |")
        print(flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, help="cases, chosen at random; default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--commands", default=_COMMANDS, help="disturbed commands, train among them; default: %(default)s"
    )
    parser.add_argument("--only", default="", help='cases with this text in "FAULT, COMMAND: DETAIL"')
    parser.add_argument("--case", type=int, help="one case, by its number")
    parser.add_argument("--jobs", type=int, default=1, help="cases at the same time")
    arguments = parser.parse_args()
    chosen = set(arguments.commands.split(","))
    if "train" not in chosen or not chosen <= set(_COMMANDS.split(",")):
        parser.error(f"--commands {arguments.commands}: choose some of {_COMMANDS}, train among them.")
    return arguments


def _can_mount() -> bool:
    """Return whether this process may mount file systems."""
    Path("probe").mkdir()
    mount = ["mount", "-t", "tmpfs", "none", "probe"]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        print("without full and read-only file systems: mounting is not permitted", file=sys.stderr)
        return False
    subprocess.run(["umount", "probe"], check=True)
    return True


def _enter(folder: Path, cases: Sequence[Case]) -> None:
    """Start a worker process with its own folder."""
    own = folder / str(os.getpid())
    own.mkdir()
    os.chdir(own)
    _cases.extend(cases)


def _judge(number: int) -> tuple[int, str, str]:
    try:
        return number, *_cases[number].judge()
    except Exception:  # such as a result that cannot be read
        return number, "failed", traceback.format_exc()


if __name__ == "__main__":
    main()
