"""Instruction counts of fixed kernels and of one translation, compared with the stored table.

    python -m benchmarks.instructions [--update]

Valgrind's Callgrind counts the instructions, so that the numbers depend neither on the machine's load nor on its speed:
a kernel that becomes slower by more than 5 % is noticed on any machine. Valgrind has no AVX-512. The counted code is
therefore that for Intel's Haswell, with AVX2, on every processor; the paths for AVX-512 and VNNI are not counted, and
neither are cache misses.

The table, `results/instructions.json`, holds for the versions that it names: another version of LLVM chooses other
instructions. After a change of a kernel that is meant to change its count, run the command with `--update`, and store
the table with the change.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import callgrind

TABLE = Path(__file__).parent / "results" / "instructions.json"
TOLERANCE = 0.05
UPDATE = "python -m benchmarks.instructions --update"
_ROOT = Path(__file__).parents[1]
_WORK = ["-m", "benchmarks.measure.fixed_work"]
ENVIRONMENT = {
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "+avx2,+fma",  # otherwise Numba adds those of this machine
    "NUMBA_CACHE_DIR": str(Path(__file__).parent / "__pycache__" / "kernels"),
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONPATH": os.pathsep.join((str(_ROOT / "src"), str(_ROOT))),
}
Counts = dict[str, int]


def main() -> None:
    """Print the counts beside the stored ones; exit with 1 if they differ by more than 5 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--update", action="store_true", help="replace the stored table")
    is_update = parser.parse_args().update
    if (reason := obstacle()) or (not is_update and (reason := outdated())):
        raise SystemExit(reason)
    found, stored = counts(), json.loads(TABLE.read_text())["instructions"] if TABLE.exists() else {}
    for name in sorted(found):
        change = f"{found[name] / stored[name] - 1:+.1%}" if name in stored else "new"
        print(f"{found[name]:>12,}  {change:>7}  {name}")
    if is_update:
        table = {"versions": versions(), "instructions": dict(sorted(found.items()))}
        TABLE.write_text(json.dumps(table, indent=2) + "\n")
    elif lines := differences(found, stored):
        raise SystemExit("\n".join(lines))


def obstacle() -> str | None:
    """Return why instructions cannot be counted on this machine, or None if they can."""
    if platform.machine() != "x86_64":
        return "Instructions are counted on x86-64 only."
    if shutil.which("valgrind") is None:
        return "Valgrind is missing: as root, `make .venv/valgrind` installs it with apt-get."
    return None


def outdated() -> str | None:
    """Return why the stored table does not hold for this environment, or None if it does."""
    known, here = json.loads(TABLE.read_text())["versions"], versions()
    if known == here:
        return None
    others = ", ".join(
        f"{name} {known.get(name)} instead of {here[name]}" for name in here if known.get(name) != here[name]
    )
    return f"The stored table is for {others}. Replace it: {UPDATE}"


def versions() -> dict[str, str]:
    """Return the versions that the counts depend on."""
    packages = {name: version(name) for name in ("llvmlite", "numba", "numpy", "sentencepiece", "torch")}
    python = f"{platform.python_version()} ({platform.python_compiler()})"
    valgrind = subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return {**packages, "python": python, "valgrind": valgrind.removeprefix("valgrind-")}


def compile_kernels() -> None:
    """Compile the counted kernels, unless they are in the cache."""
    subprocess.run([sys.executable, *_WORK], env={**os.environ, **ENVIRONMENT}, check=True)


def counts() -> Counts:
    """Compile the kernels, then count the instructions of `fixed_work.py`."""
    compile_kernels()
    return callgrind.count(_WORK, {**os.environ, **ENVIRONMENT})


def differences(found: Counts, stored: Counts) -> list[str]:
    """Return a line for each count that differs from the stored one by more than 5 %, and what to do about it."""
    lines = []
    for name in sorted({*found, *stored}):
        old, new = stored.get(name), found.get(name)
        if old is None or new is None:
            lines.append(f"{name}: {'not in the stored table' if old is None else 'no longer counted'}")
        elif abs(new / old - 1) > TOLERANCE:
            lines.append(f"{name}: {new:,} instructions instead of {old:,} ({new / old - 1:+.1%})")
    return [*lines, f"If this is intended, update the table: {UPDATE}"] if lines else []


if __name__ == "__main__":
    main()
