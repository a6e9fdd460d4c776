"""Measure the server on loopback: `python benchmarks/serving.py RUN SENTENCES`, with nothing else running.

64 clients send single sentences to `allyouneed serve`, each waiting for its response; `allyouneed translate` gets the
same sentences as a file, five times, without its start-up time. The server has one to four models, which are copies of
RUN under other language codes, and one process or several. wrk generates the load (`apt-get install wrk`). With
--ctranslate2 DIR (an export of the same RUN), CTranslate2 behind a WSGI server is measured too, see peers/wsgi.py.
Each program runs for --seconds in --rounds alternating rounds; the table lists every round. Finally, the first answers
of `serve`, `translate` and `train` are timed with an empty kernel cache and with compiled kernels (only these with
--rounds 0). The result is a dated Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed.bundle import load_bundle, save_bundle  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.servers import running_server  # noqa: E402
from benchmarks.measure.starts import ALLYOUNEED, Start, measure_starts  # noqa: E402

_REPETITIONS = 5  # so that variations of the start-up time have little weight
_OTHER_SOURCES = ("fr", "es", "it")  # languages that the copies of the model claim to translate from
_WRK = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local turn = 0
function init(args) math.randomseed(os.time()); turn = math.random(#bodies) end
function request()
  turn = turn %% #bodies + 1
  return wrk.format("POST", "/translate", {["Content-Type"] = "application/json"}, bodies[turn])
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %%d, "seconds": %%f, "median": %%f, "p90": %%f, "p99": %%f, "failed": %%d}\\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(90) / 1e3, latency:percentile(99) / 1e3,
    e.status + e.connect + e.read + e.write + e.timeout))
end
"""


class Load(NamedTuple):
    """Result of a load test.

    Attributes:
        sentences_per_second: Rate.
        cpu: Processor seconds of the program per 1,000 sentences; NaN if unknown.
        median: Median latency in milliseconds; NaN for the offline command, as the other percentiles.
        p90: 90th percentile.
        p99: 99th percentile.
        failed: Responses other than 200.
    """

    sentences_per_second: float
    cpu: float
    median: float = float("nan")
    p90: float = float("nan")
    p99: float = float("nan")
    failed: int = 0


OFFLINE, SERVE = "allyouneed translate", "allyouneed serve"
Programs = dict[str, Callable[[], Load]]


def main() -> None:
    args = _arguments()
    if args.rounds and not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt-get install wrk")
    args.out.mkdir(parents=True, exist_ok=True)
    sentences = [line for line in args.sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows: list[tuple[str, int, Load]] = []
    with tempfile.TemporaryDirectory() as folder:
        programs = _programs(args, sentences, Path(folder))
        for number in range(1, args.rounds + 1):
            for name, measure in programs.items():
                rows.append((name, number, measure()))
                print(*rows[-1], flush=True)
        starts = [] if args.no_starts else _starts(args.run, sentences[0])
    date = time.strftime("%Y-%m-%d")
    page = args.out / f"{date}-serving.md"
    page.write_text(_page(date, args, len(sentences), rows, starts), encoding="utf-8")
    print(page)


def _programs(args: argparse.Namespace, sentences: Sequence[str], folder: Path) -> Programs:
    source, target = _languages(args.run)
    sources = [source, *(code for code in _OTHER_SOURCES if code not in (source, target))]
    runs = [args.run, *(_copy(args.run, folder / code, code) for code in sources[1 : max(args.models)])]
    programs: Programs = {OFFLINE: lambda: _offline(args.run, sentences)}
    for models, processes in [(each, 1) for each in args.models] + [(1, each) for each in args.processes if each > 1]:
        command = [*ALLYOUNEED, "serve", *map(str, runs[:models]), "--processes", str(processes), "--port"]
        bodies = _bodies(sentences, sources[:models], target)
        named = ", ".join(f"{n} {what}" for n, what in ((models, "models"), (processes, "processes")) if n > 1)
        programs[f"{SERVE}, {named}" if named else SERVE] = lambda command=command, bodies=bodies: _served(  # type: ignore[misc]
            command, [], bodies, args
        )
    if args.ctranslate2:
        peer = [sys.executable, str(ROOT / "benchmarks/peers/wsgi.py"), str(args.ctranslate2)]
        command, after = [*peer, str(_bundle(args.run) / "tokenizer.model")], [str(args.beam)]
        bodies = _bodies(sentences, [source], target)
        programs["CTranslate2 + waitress"] = lambda: _served(command, after, bodies, args)
    return programs


def _copy(run: Path, folder: Path, source: str) -> Path:
    """Store a copy of a model that claims to translate from another language."""
    bundle = load_bundle(run)
    bundle.languages = source, bundle.languages[1]
    save_bundle(bundle, folder)
    return folder


def _offline(run: Path, sentences: Sequence[str]) -> Load:
    """Measure the command, excluding the time for a single sentence."""

    def seconds(lines: Sequence[str]) -> tuple[float, float]:
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        text = "".join(f"{line}\n" for line in lines)
        subprocess.run([*ALLYOUNEED, "translate", str(run)], input=text.encode(), check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return time.perf_counter() - started, cpu

    start, start_cpu = seconds(sentences[:1])
    many = list(sentences) * _REPETITIONS
    total, cpu = seconds(many)
    return Load((len(many) - 1) / (total - start), 1000 * (cpu - start_cpu) / (len(many) - 1))


def _served(command: Sequence[str], after: Sequence[str], bodies: Sequence[bytes], args: argparse.Namespace) -> Load:
    with tempfile.TemporaryDirectory() as folder, running_server(command, bodies[0], after=after) as server:
        path, script = Path(folder) / "bodies", Path(folder) / "load.lua"
        path.write_bytes(b"".join(body + b"\n" for body in bodies))
        script.write_text(_WRK % path)
        _load(script, server.port, args.clients, 3)  # warm
        before = server.cpu_seconds()
        result = _load(script, server.port, args.clients, args.seconds)
        cpu = 1000 * (server.cpu_seconds() - before) / max(1, result["requests"])
    rate = result["requests"] / result["seconds"]
    return Load(rate, cpu, result["median"], result["p90"], result["p99"], result["failed"])


def _bodies(sentences: Sequence[str], sources: Sequence[str], target: str) -> list[bytes]:
    """Make a request of each sentence, for all models in turn."""
    return [_request(sentence, sources[i % len(sources)], target) for i, sentence in enumerate(sentences)]


def _request(sentence: str, source: str, target: str) -> bytes:
    return json.dumps({"q": sentence, "source": source, "target": target}).encode()


def _load(script: Path, port: int, clients: int, seconds: int) -> dict:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.partition("RESULT ")[2].splitlines()[0])


def _starts(run: Path, sentence: str) -> list[Start]:
    return measure_starts(run, sentence, _request(sentence, *_languages(run)))


def _languages(run: Path) -> tuple[str, str]:
    source, target = json.loads((_bundle(run) / "config.json").read_text())["languages"]
    return source, target


def _bundle(run: Path) -> Path:
    return run / "bundle" if (run / "bundle").is_dir() else run


def _page(
    date: str, args: argparse.Namespace, count: int, rows: Sequence[tuple[str, int, Load]], starts: Sequence[Start]
) -> str:
    command = " ".join([Path(sys.executable).name, "benchmarks/serving.py", *map(_shown, sys.argv[1:])])
    lines = [
        f"# Serving, {date}",
        f"{machine()}; {count:,} sentences, {args.clients} clients sending one sentence at a time, "
        f"{args.seconds} s per round. CPU: processor seconds of the program per 1,000 sentences.",
        "",
        f"`{command}`",
        "",
        "| program | round | sentences/s | CPU, s | median, ms | p90, ms | p99, ms | failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, number, load in rows:
        latencies = (
            "| | |" if name == OFFLINE else f"{load.median:.0f} | {load.p90:.0f} | {load.p99:.0f} | {load.failed}"
        )
        lines.append(f"| {name} | {number} | {load.sentences_per_second:.0f} | {load.cpu:.2f} | {latencies} |")
    lines += ["", "Medians of the rounds:", *_summary(rows)]
    if starts:
        lines += ["", "Seconds from the start of the process:", "", "| | empty kernel cache | compiled kernels |"]
        lines += ["| --- | --- | --- |", *(f"| {each.what} | {each.cold:.1f} | {each.warm:.1f} |" for each in starts)]
    return "\n".join(lines) + "\n"


def _summary(rows: Sequence[tuple[str, int, Load]]) -> Iterator[str]:
    """Compare each server with the offline command."""

    def rate(wanted: str) -> float:
        return statistics.median(load.sentences_per_second for name, _, load in rows if name == wanted)

    for name in dict.fromkeys(name for name, _, _ in rows if name != OFFLINE):
        tail = max(load.p99 / load.median for other, _, load in rows if other == name)
        yield (
            f"- {name}: {100 * rate(name) / rate(OFFLINE):.0f} % of the offline command's sentences per second; "
            f"p99 is at most {tail:.1f} times the median."
        )


def _shown(argument: str) -> str:
    """Remove the folders of this machine."""
    return Path(argument).name if "/" in argument else argument


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("sentences", type=Path, help="one sentence per line")
    parser.add_argument("--models", type=int, nargs="+", default=[1, 2, 4], help="numbers of models, at most 4")
    parser.add_argument("--processes", type=int, nargs="+", default=[2], help="numbers of model processes")
    parser.add_argument("--ctranslate2", type=Path, metavar="DIR", help="an export of the same RUN")
    parser.add_argument("--beam", type=int, default=4, help="beam size of CTranslate2; use that of RUN")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-starts", action="store_true", help="skip the times until the first answers")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
