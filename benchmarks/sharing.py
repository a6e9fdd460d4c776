"""Measure how long short texts wait beside other work: `python benchmarks/sharing.py RUN SENTENCES`.

A client sends single sentences to `allyouneed serve`, one after the other, while it has files, long texts and hostile
ones translated, too. Nothing else runs. The result is a dated Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import string
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import NamedTuple

import requests

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.machine import machine  # noqa: E402
from benchmarks.measure.servers import running_server  # noqa: E402

_SECONDS = 10.0  # for each load, at least one sentence
_FILE_BYTES = 1_900_000


class Row(NamedTuple):
    """Waiting times of short texts beside a load, in milliseconds."""

    load: str
    sentences: int
    median: float
    longest: float


def main() -> None:
    args = _arguments()
    sentences = [line for line in args.sentences.read_text(encoding="utf-8").splitlines() if line.strip()]
    folder = args.run / "bundle" if (args.run / "bundle").is_dir() else args.run
    source, target = json.loads((folder / "config.json").read_text())["languages"]
    form = {"source": source, "target": target}
    body = json.dumps({"q": sentences[0], **form}).encode()
    rows = []
    with (
        running_server([sys.executable, "-m", "allyouneed", "serve", str(args.run), "--port"], body) as server,
        ThreadPoolExecutor() as pool,
    ):
        address = f"http://127.0.0.1:{server.port}"
        for name, start in _loads(address, form, sentences, pool):
            stop = start()
            rows.append(_measured(name, address, form, sentences))
            stop()
            print(rows[-1], flush=True)
    date = time.strftime("%Y-%m-%d")
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{date}-sharing.md"
    path.write_text(_page(date, rows), encoding="utf-8")
    print(path)


def _loads(
    address: str, form: dict[str, str], sentences: Sequence[str], pool: ThreadPoolExecutor
) -> Iterator[tuple[str, Callable[[], Callable[[], None]]]]:
    """Yield the name of each load, and a function that starts it and returns a function that stops it."""

    def files(name: str, text: str, number: int) -> Callable[[], Callable[[], None]]:
        def start() -> Callable[[], None]:
            data = text.encode()[:_FILE_BYTES]
            upload = partial(
                requests.post, f"{address}/api/documents", data=form, files={"file": (name, data)}, timeout=600
            )
            sent = [pool.submit(upload) for _ in range(number)]

            def stop() -> None:
                for answer in [each.result() for each in sent]:
                    if answer.ok:
                        requests.delete(f"{address}/api/documents/{answer.json()['id']}", timeout=60)

            return stop

        return start

    def texts(text: str, **more: str) -> Callable[[], Callable[[], None]]:
        def start() -> Callable[[], None]:
            body = {"q": text, **form, **more}
            sent = [pool.submit(requests.post, f"{address}/translate", json=body, timeout=600) for _ in range(4)]
            return lambda: wait(sent) and None

        return start

    yield "none", lambda: lambda: None
    yield "three files of sentences, 1.9 MB each", files("a.txt", "\n".join(sentences * 1000), 3)
    letters = "".join(random.Random(1).choices(string.ascii_lowercase, k=_FILE_BYTES))
    yield "a file of one word of 1.9 MB", files("a.txt", letters, 1)
    yield "a file of `[` in Markdown, 1.9 MB", files("a.md", "[" * _FILE_BYTES, 1)
    yield "four texts of 20,000 letters without a space", texts(letters[:20_000])
    yield "four texts of `<a `, 20,000 characters, as HTML", texts("<a " * 6666, format="html")


def _measured(name: str, address: str, form: dict[str, str], sentences: Sequence[str]) -> Row:
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    with requests.Session() as session:
        while not times or time.perf_counter() < end:
            started = time.perf_counter()
            body = {"q": sentences[len(times) % len(sentences)], **form}
            session.post(f"{address}/translate", json=body, timeout=600).raise_for_status()
            times.append(1000 * (time.perf_counter() - started))
    return Row(name, len(times), statistics.median(times), max(times))


def _page(date: str, rows: Sequence[Row]) -> str:
    lines = [
        f"# Short texts beside other work, {date}",
        f"{machine()}; one client sends a sentence at a time for {_SECONDS:g} s.",
        "",
        f"`{Path(sys.executable).name} benchmarks/sharing.py {' '.join(Path(each).name for each in sys.argv[1:])}`",
        "",
        "| load | sentences | median, ms | longest, ms |",
        "| --- | --- | --- | --- |",
    ]
    lines += [f"| {each.load} | {each.sentences} | {each.median:.0f} | {each.longest:.0f} |" for each in rows]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("sentences", type=Path, help="one sentence per line")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
