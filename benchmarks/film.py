"""Measure the film of heads over training: `python benchmarks/film.py RUN SENTENCE`, with nothing else running.

RUN was trained with `training.keep_snapshots`. Measures how long a snapshot takes to write and its size, creates the
page, opens it in headless Chromium, and moves the slider over all frames. The result is a dated Markdown file in --out
or benchmarks/results.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from allyouneed import Translator
from allyouneed.insight.page import film_html
from allyouneed.insight.statistics.over_training import film_data, film_page
from allyouneed.snapshots import Snapshots

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.insight import ARGUMENTS, BROWSERS, OPENED  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

# Milliseconds of each slider position: until the script has finished, and until the end of the next frame.
SLIDE = """async () => {
  const slider = document.querySelector("#film");
  const times = [];
  for (let place = 0; place <= Number(slider.max); place++) {
    const start = performance.now();
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    const handled = performance.now() - start;
    await new Promise((done) => requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = done;
      channel.port2.postMessage(0);
    }));
    times.push([handled, performance.now() - start]);
  }
  return times;
}"""


def main() -> None:
    args = _arguments()
    translator = Translator.load(args.run)
    with tempfile.TemporaryDirectory() as folder:
        snapshots = Snapshots(Path(folder, "snapshots"))
        writing = [_seconds(lambda step=step: snapshots.save(step, translator.model)) for step in range(args.rounds)]
        size = (snapshots.path(0) / "model.safetensors").stat().st_size
        page = Path(folder, "film.html")
        making = _seconds(lambda: page.write_text(film_html(film_page(film_data(translator, args.run, args.sentence)))))
        opened, slides = _browse(page, args.rounds)
        rows = {
            "a snapshot: seconds to write, bytes": f"{statistics.median(writing):.3f}, {size:,}",
            "page: seconds to create, bytes": f"{making:.1f}, {page.stat().st_size:,}",
            "opening, ms": _pair(opened),
            "a step of the slider, ms": _pair(slides),
            "the slowest step of the slider, ms": f"{max(x for x, _ in slides):.0f} / {max(x for _, x in slides):.0f}",
        }
    model, frames = translator.model.config, len(Snapshots(args.run / "snapshots").steps())
    tokens = len(translator.tokenizer.encode(args.sentence)) + 1
    lines = [
        f"# The film of heads over training, {time.strftime('%Y-%m-%d')}",
        f"{machine()}; {torch.get_num_threads()} threads; headless Chromium, 1280 × 900, medians of {args.rounds} "
        "openings: until the page's script finished / until the browser had painted.",
        "",
        f"Model: {model.encoder_layers} + {model.decoder_layers} layers, {model.num_heads} heads, d_model "
        f"{model.d_model}, {translator.model.num_parameters():,} parameters; {frames} snapshots, {tokens} source "
        "tokens.",
        "",
        f'`python benchmarks/film.py {args.run.name} "{args.sentence}"`',
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    result = args.out / f"{time.strftime('%Y-%m-%d')}-film.md"
    result.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(result.read_text(encoding="utf-8"))


def _browse(path: Path, rounds: int) -> tuple[list[list[float]], list[list[float]]]:
    opened, slides = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=next(filter(None, map(shutil.which, BROWSERS))), args=ARGUMENTS
        )
        for number in range(rounds + 1):  # the first round warms up the browser and is not counted
            context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
            page = context.new_page()
            page.goto(path.as_uri())
            times = page.evaluate(OPENED), page.evaluate(SLIDE)
            if number:
                opened.append(times[0])
                slides += times[1]
            context.close()
        browser.close()
    return opened, slides


def _pair(times: list[list[float]]) -> str:
    return " / ".join(f"{statistics.median(column):.0f}" for column in zip(*times, strict=True))


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("sentence")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
