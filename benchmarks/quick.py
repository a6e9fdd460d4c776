"""Measure the headline ratios in about five minutes: `python benchmarks/quick.py [DATA] [--peers PEERS] [--run RUN]`.

Training speed (size tiny) compared with the trainers that are set up in PEERS, translation and start-up compared with
CTranslate2, and memory. DATA is a folder with the Multi30k files (see README.md); without it, the text is synthetic,
and only `plain` is compared in training, since the other trainers' text was prepared from Multi30k. RUN is the
translator to measure with; without it, one is trained for a minute. Everything alternates; a cell has the median and
the range.

The result is one page, in Markdown and as HTML without external parts, in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import itertools
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

import torch  # noqa: E402

from allyouneed import Translator, UserError  # noqa: E402
from allyouneed.bundle import find_bundle  # noqa: E402
from allyouneed.exchange.ctranslate2.export import export_ctranslate2  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.quick_page import Comparison, Section, as_html, as_markdown  # noqa: E402
from benchmarks.measure.throughput import OURS, TRAINERS, Runs, measure_throughput  # noqa: E402
from benchmarks.scale import synthetic_lines  # noqa: E402
from benchmarks.translation import Engine, ctranslate2_engine, our_engine  # noqa: E402

CTRANSLATE2 = "CTranslate2"
INSTALL_CTRANSLATE2 = "pip install ctranslate2"
UPDATES = 30  # of each trainer and round
LENGTHS = {"train": 29_000, "val": 1_000, "test_2016_flickr": 1_000}  # pairs of the synthetic text
SENTENCES, LATENCIES = 400, 40
PRECISIONS = ("float32", "int8")
_PREPARED = {"fairseq": "bin", "marian": "data", "eole": "data"}  # folders that `prepare` writes
_SLOW = "joeynmt"  # a round takes minutes
_MEMORY = 'print(open("/proc/self/status").read())'  # VmHWM of this process; that of `wait4` includes its parent's
_OUR_START = f"""
from allyouneed.cli import main
try:
    main()
finally:
    {_MEMORY}
"""
_THEIR_START = f"""
import sys, ctranslate2
model, *pieces = sys.argv[1:]
ctranslate2.Translator(model, intra_threads=2).translate_batch([pieces], beam_size=1)
{_MEMORY}
"""


class Ready(NamedTuple):
    """Trainers that can run, and a reason with the remedy for each of the others."""

    names: list[str]
    skipped: list[str]


def ready_trainers(data: Path | None, peers: Path) -> Ready:
    """Find the trainers that are set up."""
    ready = Ready([], [])
    for name in TRAINERS:
        script = f"benchmarks/peers/{name}.sh"
        setup = f"{script} setup {peers / name} && {script} prepare {peers / name} DATA"
        if name == _SLOW:
            ready.skipped.append(f"{name} takes too long: `benchmarks/training.py throughput DATA --against {name}`")
        elif name == "plain":
            ready.names.append(name)
        elif not (peers / name / "venv").exists() or not (peers / name / _PREPARED[name]).exists():
            ready.skipped.append(f"{name} is not set up: `{setup}`")
        elif data is None:
            ready.skipped.append(f"{name} needs DATA, the Multi30k files it was prepared with")
        else:
            ready.names.append(name)
    return ready


def text_file(data: Path, name: str, language: str) -> Path:
    """Return the path of a file of Multi30k."""
    return data / f"{name}.lc.norm.tok.{language}.gz"


def write_text(folder: Path) -> Path:
    """Write synthetic text under the names of the Multi30k files."""
    for seed, (name, count) in enumerate(LENGTHS.items()):
        lines = b"".join(synthetic_lines(count, seed)).decode().splitlines()
        pairs = [line.split("\t") for line in lines]
        for column, language in enumerate(("en", "de")):
            with gzip.open(text_file(folder, name, language), "wt", encoding="utf-8") as file:
                file.write("".join(f"{pair[column]}\n" for pair in pairs))
    return folder


def train_translator(data: Path, run: Path) -> Path:
    """Train a translator for a minute; its quality does not matter here."""
    files = {name: [str(text_file(data, name, language)) for language in ("en", "de")] for name in LENGTHS}
    command = [sys.executable, "-m", "allyouneed", "train", "--from", "en", "--to", "de", "--recipe", "tiny"]
    command += ["--train", *files["train"], "--valid", *files["val"], "--minutes", "1", "--out", str(run)]
    done = subprocess.run([*command, "--set", "training.bleu_sentences=0"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"training failed:\n{done.stderr[-1000:]}")
    return run


def training_section(data: Path, ready: Ready, peers: Path, seconds: float) -> Section:
    """Compare training speeds, in as many rounds as fit into the given time, at least one."""
    runs: dict[str, Runs] = {name: Runs() for name in (OURS, *ready.names)}
    start, rounds = time.perf_counter(), 0
    while not rounds or (time.perf_counter() - start) * (rounds + 1) / rounds < seconds:
        measured, _ = measure_throughput(data, "tiny", ready.names, peers, UPDATES, 1, say, ours=[OURS])
        for name, run in measured.items():
            runs[name].rates += run.rates
            runs[name].memory += run.memory
        rounds += 1
    title = f"Training, size tiny, target tokens per second (rounds: {rounds}, of {UPDATES} updates)"
    rates = [Comparison("speed", name, runs[OURS].rates, runs[name].rates, True, "tokens/s") for name in ready.names]
    memory = [Comparison("memory", name, runs[OURS].memory, runs[name].memory, False, "MiB") for name in ready.names]
    return Section(title, [*rates, *memory], ready.skipped)


def translation_section(translator: Translator, run: Path, lines: list[str], rounds: int) -> Section:
    """Compare translation with CTranslate2 and the same weights on two threads, and single sentences on one."""
    title = f"Translation, {len(lines)} sentences of equal weights ({rounds} rounds)"
    if importlib.util.find_spec("ctranslate2") is None:
        return Section(title, [], [f"{CTRANSLATE2} is not installed: `{INSTALL_CTRANSLATE2}`"])
    rows = []
    settings = argparse.Namespace(run=run, threads=2, intra_threads=1, batch=64)
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            ours = our_engine(Translator.load(run, inter_threads=2, compute_type=precision))
            theirs = ctranslate2_engine(translator, Path(folder) / precision, precision, settings)
            for beam, search in ((1, "greedy"), (4, "beam 4")):
                for engine in (ours, theirs):
                    engine.many(lines[:64], beam)  # warm up
                rates = alternate(rounds, *(_rate(engine, lines, beam) for engine in (ours, theirs)))
                rows.append(Comparison(f"{search}, {precision}", CTRANSLATE2, *rates, True, "tokens/s"))
                waits = alternate(rounds, *(_latency(engine, lines, beam) for engine in (ours, theirs)))
                rows.append(Comparison(f"one sentence, {search}, {precision}", CTRANSLATE2, *waits, False, "ms"))
    return Section(title, rows, [])


def start_section(translator: Translator, run: Path, line: str, rounds: int) -> Section:
    """Compare whole processes that translate one sentence, with compiled kernels."""
    title = f"One sentence as a whole process, ours with compiled kernels, theirs from tokens ({rounds} rounds)"
    if importlib.util.find_spec("ctranslate2") is None:
        return Section(title, [], [f"{CTRANSLATE2} is not installed: `{INSTALL_CTRANSLATE2}`"])
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        export_ctranslate2(translator.bundle, model)
        pieces = translator.tokenizer.pieces(translator.tokenizer.encode(line))
        commands = (
            ([sys.executable, "-c", _OUR_START, "translate", str(run), "--beam-size", "1"], f"{line}\n"),
            ([sys.executable, "-c", _THEIR_START, str(model), *pieces], ""),
        )
        for command in commands:
            _process(*command)  # reads the files, and compiles what is missing
        both = alternate(rounds, *(lambda command=command: _process(*command) for command in commands))
    seconds, memory = ([[each[i] for each in side] for side in both] for i in (0, 1))
    return Section(
        title,
        [
            Comparison("start to result", CTRANSLATE2, *seconds, False, "s"),
            Comparison("memory", CTRANSLATE2, *memory, False, "MiB"),
        ],
        [],
    )


def alternate(rounds: int, *measures: Callable[[], object]) -> list[list]:
    """Call each of the measures in turn, `rounds` times; returns the results by measure."""
    results: list[list] = [[] for _ in measures]
    for _ in range(rounds):
        for values, measure in zip(results, measures, strict=True):
            values.append(measure())
    return results


def _rate(engine: Engine, lines: list[str], beam: int) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        outputs = engine.many(lines, beam)
        return sum(count for _, count in outputs) / (time.perf_counter() - start)

    return measure


def _latency(engine: Engine, lines: list[str], beam: int) -> Callable[[], float]:
    """Measure the median of single sentences in milliseconds."""

    def measure() -> float:
        waits = []
        for line in lines[:LATENCIES]:
            start = time.perf_counter()
            engine.one([line], beam)
            waits.append(time.perf_counter() - start)
        return 1000 * statistics.median(waits)

    return measure


def _process(command: Sequence[str], text: str) -> tuple[float, float]:
    """Run a process; returns its seconds and its peak memory in MiB."""
    start = time.perf_counter()
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8")
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command[3:5])} failed:\n{done.stderr[-1000:]}")
    return seconds, int(re.search(r"VmHWM:\s*(\d+) kB", done.stdout)[1]) / 1024


def first_lines(path: Path, count: int) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in itertools.islice(lines, count)]


def say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    ready = ready_trainers(args.data, args.peers)
    say(f"training: {', '.join(ready.names)}; skipped: {'; '.join(ready.skipped) or 'nothing'}")
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or write_text(Path(folder))
        run = args.run or train_translator(data, Path(folder) / "run")
        translator = Translator.load(run)
        lines = first_lines(text_file(data, "test_2016_flickr", "en"), SENTENCES)
        start = time.perf_counter()
        sections = [translation_section(translator, run, lines, args.rounds)]
        sections.append(start_section(translator, run, lines[0], args.rounds))
        left = 60 * args.minutes - 80 * (args.run is None) - (time.perf_counter() - start)
        sections.insert(0, training_section(data, ready, args.peers, left))
    text = "Multi30k en-de" if args.data else "synthetic text"
    described = f"{text}; translator: {translator.bundle.described()}"
    for page in _write(args.out, sections, described):
        say(str(page))
    print(as_markdown(sections))


def _write(out: Path, sections: Iterable[Section], described: str) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    date = time.strftime("%Y-%m-%d")
    title = f"Headline ratios, {date}"
    head = f"# {title}\n{machine()}\n\n`python benchmarks/quick.py`: {described}\n\n"
    pages = [out / f"{date}-quick.md", out / f"{date}-quick.html"]
    pages[0].write_text(f"{head}{as_markdown(sections)}\n", encoding="utf-8")
    pages[1].write_text(as_html(title, f"{machine()} · {described}", sections), encoding="utf-8")
    return pages


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder with Multi30k's *.lc.norm.tok.{en,de}.gz")
    parser.add_argument("--peers", type=Path, default=Path("peers"), help="folder with one subfolder per peer")
    parser.add_argument("--run", type=Path, help="translator from English to measure (default: train for a minute)")
    parser.add_argument("--minutes", type=float, default=5, help="minutes in total (one round may take longer)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of translation and start-up")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder for the page")
    args = parser.parse_args()
    files = [text_file(args.data, name, language) for name in LENGTHS for language in ("en", "de")] if args.data else []
    if missing := [str(file) for file in files if not file.is_file()]:
        parser.error(f"{missing[0]}: no such file")
    try:
        if args.run:
            find_bundle(args.run)
    except UserError as error:
        parser.error(str(error))
    return args


if __name__ == "__main__":
    main()
