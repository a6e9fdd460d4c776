"""Serving, measured on loopback: `python benchmarks/serving.py RUN SENTENCES`, nothing else beside it.

64 clients send single sentences, as fast as they are answered, to `allyouneed serve`; then `allyouneed translate` gets
the same sentences as a file, five times over, its start not counted. The load comes from wrk (`apt-get install wrk`).
With --ctranslate2 DIR (an export of the same RUN) also LibreTranslate's way of serving: see peers/wsgi.py. Each arm
runs --seconds long, --rounds times in turn; the table has every round. The result is a dated Markdown file: --out, or
benchmarks/results.
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
sys.path.insert(0, str(ROOT))  # so that `benchmarks.measure` is found, whatever the working folder

from benchmarks.measure.machine import machine  # noqa: E402

_ALLYOUNEED = [sys.executable, "-m", "allyouneed"]
_TIMES_OVER = 5  # else a start that takes a little longer is much of the time
_WRK = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local turn = 0
function init(arguments) math.randomseed(os.time()); turn = math.random(#bodies) end
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
    """Times in milliseconds; failed: requests without an answer of 200."""

    sentences_a_second: float
    median: float
    p99: float
    failed: int


def main() -> None:
    asked = _arguments()
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    asked.out.mkdir(parents=True, exist_ok=True)
    sentences = [line for line in asked.sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
    rows: list[tuple[str, int, Load | float]] = []
    for number in range(1, asked.rounds + 1):
        for name, measure in _arms(asked, sentences):
            found = measure()
            rows.append((name, number, found))
            print(name, number, found, flush=True)
    date = time.strftime("%Y-%m-%d")
    page = asked.out / f"{date}-serving.md"
    page.write_text(_page(date, asked, len(sentences), rows), encoding="utf-8")
    print(page)


def _arms(asked: argparse.Namespace, sentences: list[str]):
    yield "allyouneed translate", lambda: _offline(asked.run, sentences)
    serve = [*_ALLYOUNEED, "serve", str(asked.run), "--port"]
    yield "allyouneed serve", lambda: _served(serve, [], sentences, asked)
    if asked.ctranslate2:
        peer = [sys.executable, str(ROOT / "benchmarks/peers/wsgi.py"), str(asked.ctranslate2)]
        after = [str(asked.beam)]
        yield (
            "CTranslate2 + waitress",
            lambda: _served([*peer, str(_bundle(asked.run) / "tokenizer.model")], after, sentences, asked),
        )


def _offline(run: Path, sentences: list[str]) -> float:
    """Sentences a second of the command, less the time that it takes for one sentence."""

    def seconds(lines: list[str]) -> float:
        begun = time.perf_counter()
        text = "".join(f"{line}\n" for line in lines)
        subprocess.run([*_ALLYOUNEED, "translate", str(run)], input=text.encode(), check=True, capture_output=True)
        return time.perf_counter() - begun

    start = seconds(sentences[:1])
    many = sentences * _TIMES_OVER
    return (len(many) - 1) / (seconds(many) - start)


def _served(before: list[str], after: list[str], sentences: list[str], asked: argparse.Namespace) -> Load:
    source, target = json.loads((_bundle(asked.run) / "config.json").read_text())["languages"]
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
            _load(script, port, asked.clients, 3)  # warm
            return _load(script, port, asked.clients, asked.seconds)
        finally:
            server.terminate()
            server.wait()


def _request(sentence: str, source: str, target: str) -> bytes:
    return json.dumps({"q": sentence, "source": source, "target": target}).encode()


def _load(script: Path, port: int, clients: int, seconds: int) -> Load:
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run([*command, f"http://127.0.0.1:{port}"], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.partition("RESULT ")[2].splitlines()[0])
    return Load(found["requests"] / found["seconds"], found["median"], found["p99"], found["failed"])


def _wait_for(url: str, body: bytes) -> None:
    for _ in range(240):
        try:
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.25)
    sys.exit(f"{url} does not answer")


def _bundle(run: Path) -> Path:
    return run / "bundle" if (run / "bundle").is_dir() else run


def _page(date: str, asked: argparse.Namespace, count: int, rows: list[tuple[str, int, Load | float]]) -> str:
    command = " ".join([Path(sys.executable).name, "benchmarks/serving.py", *map(_shown, sys.argv[1:])])
    lines = [
        f"# Serving, {date}",
        f"{machine()}; {count:,} sentences, {asked.clients} clients that send one sentence at a time, "
        f"{asked.seconds} s a round.",
        "",
        f"`{command}`",
        "",
        "| what | round | sentences/s | median, ms | p99, ms | failed |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, number, found in rows:
        cells = f"{found:.0f} | | |" if isinstance(found, float) else (
            f"{found.sentences_a_second:.0f} | {found.median:.0f} | {found.p99:.0f} | {found.failed}"
        )  # fmt: skip
        lines.append(f"| {name} | {number} | {cells} |")
    offline = statistics.median(found for _, _, found in rows if isinstance(found, float))
    loads = [found for name, _, found in rows if name == "allyouneed serve"]
    served = statistics.median(load.sentences_a_second for load in loads)
    tail = max(load.p99 / load.median for load in loads)
    lines += [
        "",
        f"Medians: serving gives {100 * served / offline:.0f} % of the offline command's sentences a second; ",
    ]
    lines[-1] += f"p99 is at most {tail:.1f} times the median."
    return "\n".join(lines) + "\n"


def _shown(argument: str) -> str:
    """Without this machine's folders."""
    return Path(argument).name if "/" in argument else argument


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("sentences", type=Path, help="a sentence a line")
    parser.add_argument("--ctranslate2", type=Path, metavar="DIR", help="an export of the same RUN")
    parser.add_argument("--beam", type=int, default=4, help="of CTranslate2; give the RUN's own")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
