"""Seconds from the start of a process to its first result, without and with compiled kernels."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure.servers import running_server

ALLYOUNEED = [sys.executable, "-m", "allyouneed"]
_REPEATS = 3
_STEPS = 2
_PAIRS = 2000  # of synthetic text to train on


class Start(NamedTuple):
    """Seconds of a command until its first result.

    Attributes:
        what: The command and its first result.
        cold: With an empty kernel cache; the median of three for `train`, whose processes end at the first step.
        warm: After `allyouneed warm`, the median of three.
    """

    what: str
    cold: float
    warm: float


def measure_starts(run: Path, sentence: str, body: bytes) -> list[Start]:
    """Measure each command with a new kernel cache, then with all kernels compiled.

    Args:
        run: A RUN or a bundle.
        sentence: A source sentence.
        body: A request of the sentence for `/translate`.
    """
    measures: dict[str, Callable[[dict[str, str]], float]] = {
        "`serve`, first answer": lambda environment: _serve(run, body, environment),
        "`translate`, first line": lambda environment: _translate(run, sentence, environment),
        "`train`, first step": _train,
    }
    starts = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        warm = {**os.environ, "NUMBA_CACHE_DIR": f"{name}/warm"}
        subprocess.run([*ALLYOUNEED, "warm"], env=warm, check=True, capture_output=True)
        for number, (what, measure) in enumerate(measures.items()):
            colds = []
            for repeat in range(_REPEATS if measure is _train else 1):
                cold = {**os.environ, "NUMBA_CACHE_DIR": f"{name}/cold{number}-{repeat}"}
                colds.append(measure(cold))
            if measure is not _train:  # waits for compilation in the background
                subprocess.run([*ALLYOUNEED, "warm"], env=cold, check=True, capture_output=True)
            measure(warm)  # reads the files of the program
            warms = [measure(warm) for _ in range(_REPEATS)]
            starts.append(Start(what, statistics.median(colds), statistics.median(warms)))
    return starts


def _serve(run: Path, body: bytes, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    with running_server([*ALLYOUNEED, "serve", str(run), "--port"], body, environment):
        return time.perf_counter() - started


def _translate(run: Path, sentence: str, environment: dict[str, str]) -> float:
    started = time.perf_counter()
    command = [*ALLYOUNEED, "translate", str(run)]
    subprocess.run(command, input=f"{sentence}\n".encode(), env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def _train(environment: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        text, out = Path(name) / "text.tsv", Path(name) / "run"
        write_text(text)
        command = [*ALLYOUNEED, "train", "--from", "aa", "--to", "bb", "--train", str(text), "--out", str(out)]
        for setting in (f"training.steps={_STEPS}", "training.log_every=1", "data.vocab_size=400"):
            command += ["--set", setting]
        return first_step(command, out, environment)


def write_text(path: Path) -> None:
    """Write synthetic text to train on, as a TSV file."""
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in "aeiou"]
    lines = (" ".join(words[(7 * i + j * j) % len(words)] for j in range(3 + i % 9)) for i in range(_PAIRS))
    path.write_text("".join(f"{line}\t{line.upper()}\n" for line in lines), encoding="utf-8")


def first_step(command: Sequence[str], run: Path, environment: dict[str, str]) -> float:
    """Return the seconds from the start of a training until its log has the first step; it is then ended."""
    started = time.perf_counter()
    training = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    log = run / "log.jsonl"
    while not (log.exists() and '"event": "train"' in log.read_text(encoding="utf-8")):
        if training.poll() is not None:
            sys.exit("the training of the start benchmark failed")
        time.sleep(0.05)
    seconds = time.perf_counter() - started
    training.kill()
    training.wait()
    return seconds
