"""Measure the server on loopback: `python benchmarks/serving.py RUN SENTENCES`, with nothing else running.

64 clients send single sentences to `allyouneed serve`, each waiting for its response; `allyouneed translate` gets the
same sentences as a file, five times, without its start-up time. wrk generates the load (`apt-get install wrk`). With
--ctranslate2 DIR (an export of the same RUN), CTranslate2 behind a WSGI server is measured too, see peers/wsgi.py.
Each program runs for --seconds in --rounds alternating rounds; the table lists every round. The result is a dated
Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.machine import machine  # noqa: E402

_ALLYOUNEED = [sys.executable, "-m", "allyouneed"]
_REPETITIONS = 5  # so that variations of the start-up time have little weight
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
  io.write(string.format('RESULT {"requests": %%d, "seconds": %%f, "median": %%f, "p99": %%f, "failed": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.status + e.connect + e.read + e.write + e.timeout))
end
"""


class Load(NamedTuple):
    """Result of a load test. Times are in milliseconds; failed counts responses other than 200."""

    sentences_per_second: float
    median: float
    p99: float
    failed: int


def main() -> None:
    args = _arguments()
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: apt-get install wrk")
    args.out.mkdir(parents=True, exist_ok=True)
    sentences = [line for line in args.sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows: list[tuple[str, int, Load | float]] = []
    for number in range(1, args.rounds + 1):
        for name, measure in _programs(args, sentences):
            result = measure()
            rows.append((name, number, result))
            print(name, number, result, flush=True)
    date = time.strftime("%Y-%m-%d")
    page = args.out / f"{date}-serving.md"
    page.write_text(_page(date, args, len(sentences), rows), encoding="utf-8")
    print(page)


def _programs(args: argparse.Namespace, sentences: list[str]):
    yield "allyouneed translate", lambda: _offline(args.run, sentences)
    serve = [*_ALLYOUNEED, "serve", str(args.run), "--port"]
    yield "allyouneed serve", lambda: _served(serve, [], sentences, args)
    if args.ctranslate2:
        peer = [sys.executable, str(ROOT / "benchmarks/peers/wsgi.py"), str(args.ctranslate2)]
        after = [str(args.beam)]
        yield (
            "CTranslate2 + waitress",
            lambda: _served([*peer, str(_bundle(args.run) / "tokenizer.model")], after, sentences, args),
        )


def _offline(run: Path, sentences: list[str]) -> float:
    """Measure sentences per second of the command, excluding the time for a single sentence."""

    def seconds(lines: list[str]) -> float:
        start_time = time.perf_counter()
        text = "".join(f"{line}\n" for line in lines)
        subprocess.run([*_ALLYOUNEED, "translate", str(run)], input=text.encode(), check=True, capture_output=True)
        return time.perf_counter() - start_time

    start = seconds(sentences[:1])
    many = sentences * _REPETITIONS
    return (len(many) - 1) / (seconds(many) - start)


def _served(before: list[str], after: list[str], sentences: list[str], args: argparse.Namespace) -> Load:
    source, target = json.loads((_bundle(args.run) / "config.json").read_text())["languages"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        bodies, script = Path(folder) / "bodies", Path(folder) / "load.lua"
        bodies.write_bytes(b"".join(_request(sentence, source, target) + b"\n" for sentence in sentences))
        script.write_text(_WRK % bodies)
        server = subprocess.Popen([*before, str(port), *after], stderr=subprocess.DEVNULL)
        try:
            _wait_for(f"http://127.0.0.1:{port}/translate", _request(sentences[0], source, target))
            _load(script, port, args.clients, 3)  # warm
            return _load(script, port, args.clients, args.seconds)
        finally:
            server.terminate()
            server.wait()


def _request(sentence: str, source: str, target: str) -> bytes:
    return json.dumps({"q": sentence, "source": source, "target": target}).encode()


def _load(script: Path, port: int, clients: int, seconds: int) -> Load:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True)
    result = json.loads(done.stdout.partition("RESULT ")[2].splitlines()[0])
    return Load(result["requests"] / result["seconds"], result["median"], result["p99"], result["failed"])


def _wait_for(url: str, body: bytes) -> None:
    for _ in range(240):
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.25)
    sys.exit(f"{url} does not respond")


def _bundle(run: Path) -> Path:
    return run / "bundle" if (run / "bundle").is_dir() else run


def _page(date: str, args: argparse.Namespace, count: int, rows: list[tuple[str, int, Load | float]]) -> str:
    command = " ".join([Path(sys.executable).name, "benchmarks/serving.py", *map(_shown, sys.argv[1:])])
    lines = [
        f"# Serving, {date}",
        f"{machine()}; {count:,} sentences, {args.clients} clients sending one sentence at a time, "
        f"{args.seconds} s per round.",
        "",
        f"`{command}`",
        "",
        "| program | round | sentences/s | median, ms | p99, ms | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, number, result in rows:
        cells = f"{result:.0f} | | |" if isinstance(result, float) else (
            f"{result.sentences_per_second:.0f} | {result.median:.0f} | {result.p99:.0f} | {result.failed}"
        )  # fmt: skip
        lines.append(f"| {name} | {number} | {cells} |")
    offline = statistics.median(result for _, _, result in rows if isinstance(result, float))
    loads = [result for name, _, result in rows if name == "allyouneed serve"]
    served = statistics.median(load.sentences_per_second for load in loads)
    tail = max(load.p99 / load.median for load in loads)
    lines += [
        "",
        f"Medians: the server reaches {100 * served / offline:.0f} % of the offline command's sentences per second; "
        f"p99 is at most {tail:.1f} times the median.",
    ]
    return "\n".join(lines) + "\n"


def _shown(argument: str) -> str:
    """Remove the folders of this machine."""
    return Path(argument).name if "/" in argument else argument


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("sentences", type=Path, help="one sentence per line")
    parser.add_argument("--ctranslate2", type=Path, metavar="DIR", help="an export of the same RUN")
    parser.add_argument("--beam", type=int, default=4, help="beam size of CTranslate2; use that of RUN")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
