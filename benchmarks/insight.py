"""Measure the explorer's pages in a real browser: `python benchmarks/insight.py`, with nothing else running.

Creates a page for a sentence of 20 tokens and a model with 6 + 6 layers, 8 heads, d_model 512 and random weights, opens
it from disk in headless Chromium seven times, and clicks a head, each tab and each switch. The same for an adversarial
sentence of 512 tokens, and for RUN with a sentence. A page with a single word shows the browser's own share of the
time. Times run from the start of the navigation or from the click until the page's script has finished, and until the
browser has painted. The result is a dated Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from playwright.sync_api import Browser, sync_playwright

from allyouneed import Transformer, Translator
from allyouneed.bundle import Bundle
from allyouneed.config import Config
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.machine import machine  # noqa: E402

TEXT = ["a dog runs in the green park", "the cat sleeps on a red chair", "two words, and more."]
TOKENS, LONG = 20, 512
ADVERSARIAL = "<script>alert(1)</script> \u202eשלום مرحبا\u202c 😀 👨‍👩‍👧 "
LARGE = {"d_model": 512, "d_ff": 2048, "num_heads": 8, "encoder_layers": 6, "decoder_layers": 6}
BROWSERS = ("chromium", "google-chrome", "chrome")
ARGUMENTS = ["--headless", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-background-networking"]
EMPTY = '<!doctype html><html lang="en"><meta charset="utf-8"><title>word</title><p>word</p></html>'
CLICKS = {
    "select a head": "[data-head='encoder.0.1']",
    "encoder-decoder attention": "[data-kind=cross]",
    "as a matrix": "[data-view=matrix]",
    "step by step": "#tab-steps",
    "mask of this head": "#local-mask",
    "switches": "#tab-switches",
    "scale off": "[data-switch=scale]",
    "future mask off": "[data-switch=future_mask]",
    "positional encoding off": "[data-switch=positions]",
    "twins": "#tab-twins",
    "logit lens": "#tab-lens",
    "inside a layer": "#tab-inside",
    "the translation": "#tab-search",
    "why this word": "#tab-attribution",
    "attributions by ALTI+": "[data-method=alti]",
    "start here": "#tab-guide",
}
PREPARATION = {"#local-mask": "[data-kind=decoder]"}  # clicked first, not timed
# Time to the end of the next frame: its message arrives after layout and paint.
CLICK = """selector => new Promise(done => {
  const start = performance.now();
  document.querySelector(selector).click();
  const handled = performance.now() - start;
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => done([handled, performance.now() - start]);
    channel.port2.postMessage(0);
  });
})"""
OPENED = """() => new Promise(done => {
  const check = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const { domContentLoadedEventEnd: ready } = performance.getEntriesByType("navigation")[0];
    if (paint && ready) done([ready, paint.startTime]);
    else setTimeout(check, 5);
  };
  check();
})"""


class Creation(NamedTuple):
    """Seconds to create a page: elapsed, and of processor time, which other work on the machine affects less."""

    elapsed: float
    processor: float


class Measurement(NamedTuple):
    """Median milliseconds until the script has finished and until the page is painted, for opening and each click."""

    opened: tuple[float, float]
    clicks: dict[str, tuple[float, float]]


def main() -> None:
    args = _arguments()
    date = time.strftime("%Y-%m-%d")
    pages: list[tuple[str, Path, Creation | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.html")
        empty.write_text(EMPTY, encoding="utf-8")
        pages.append(("one word, no script", empty, None))
        if args.run:
            translator = Translator.load(args.run)
            pages.append((_sizes(translator), *_make(translator, args.sentence, None, Path(folder, "run.html"))))
        large, text = random_translator(), _sentence()
        pages.append((_sizes(large), *_make(large, text, text, Path(folder, "large.html"))))
        if not args.short:
            adversarial = _adversarial_sentence()
            page = _make(large, adversarial, adversarial, Path(folder, "long.html"))
            pages.append((f"the same, {LONG} tokens", *page))
        with _chromium() as browser:
            rows = [
                (name, path.stat().st_size, made, _measure(browser, path, args.rounds)) for name, path, made in pages
            ]
    args.out.mkdir(parents=True, exist_ok=True)
    result = args.out / f"{date}-insight.md"
    result.write_text(_page(date, args, rows), encoding="utf-8")
    print(result.read_text(encoding="utf-8"))


def random_translator() -> Translator:
    tokenizer = learn_tokenizer(TEXT * 30, 400)
    config = Config().replace(model=LARGE)
    torch.manual_seed(3)
    return Translator(Bundle(Transformer(config.model, len(tokenizer)).eval(), tokenizer, config, ("de", "en"), 100))


def _sentence() -> str:
    """Return a sentence of `TOKENS` tokens including the end."""
    tokenizer, text = learn_tokenizer(TEXT * 30, 400), TEXT[0]
    while len(tokenizer.encode(text)) < TOKENS - 1:
        text += " a"
    return text


def _adversarial_sentence() -> str:
    """Return a sentence of `LONG` tokens including the end: markup, right-to-left text, emoji, then words."""
    tokenizer, text = learn_tokenizer(TEXT * 30, 400), ADVERSARIAL
    while (missing := LONG - 1 - len(tokenizer.encode(text))) > 0:
        text += f" {TEXT[0]}" if missing > 20 else " a"
    return text


def _sizes(translator: Translator) -> str:
    model = translator.model.config
    return f"{model.encoder_layers} + {model.decoder_layers} layers, {model.num_heads} heads, d_model {model.d_model}"


def _make(translator: Translator, text: str, translation: str | None, path: Path) -> tuple[Path, Creation]:
    """Write the page and return its path and the seconds it took."""
    start, processor = time.perf_counter(), time.process_time()
    path.write_text(html(explorer_data(translator, text, translation=translation)), encoding="utf-8")
    return path, Creation(time.perf_counter() - start, time.process_time() - processor)


@contextmanager
def _chromium() -> Iterator[Browser]:
    executable = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if executable is None:
        sys.exit("Chromium not found: install it, for example with `make .venv/browser` as root.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield browser
        browser.close()


def _measure(browser: Browser, path: Path, rounds: int) -> Measurement:
    opened, clicks = [], {name: [] for name in CLICKS}
    for number in range(rounds + 1):  # the first round warms up the browser and is not counted
        context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
        page = context.new_page()
        page.goto(path.as_uri())
        times = page.evaluate(OPENED)
        opened += [times] if number else []
        for name, selector in CLICKS.items():
            if selector in PREPARATION and page.query_selector(PREPARATION[selector]):
                page.evaluate(CLICK, PREPARATION[selector])
            if page.query_selector(selector):
                times = page.evaluate(CLICK, selector)
                clicks[name] += [times] if number else []
        context.close()
    return Measurement(_medians(opened), {name: _medians(times) for name, times in clicks.items() if times})


def _medians(pairs: list[list[float]]) -> tuple[float, float]:
    first, second = (statistics.median(times) for times in zip(*pairs, strict=True))
    return first, second


def _page(date: str, args: argparse.Namespace, rows: list[tuple[str, int, Creation | None, Measurement]]) -> str:
    command = " ".join(
        ["python benchmarks/insight.py", *(f'"{x}"' if " " in x else Path(x).name for x in sys.argv[1:])]
    )
    cell = lambda pair: f"{pair[0]:.0f} / {pair[1]:.0f}" if pair else ""  # noqa: E731
    lines = [
        f"# The explorer's pages, {date}",
        f"{machine()}; {torch.get_num_threads()} threads; headless Chromium, 1280 × 900, medians of "
        f"{args.rounds}, in milliseconds: until the page's script finished / until the browser had painted it.",
        "",
        f"`{command}`",
        "",
        "| |" + "".join(f" {name} |" for name, *_ in rows),
        "| --- |" + " --- |" * len(rows),
        "| bytes |" + "".join(f" {size:,} |" for _, size, *_ in rows),
        "| seconds to create it |" + "".join(f" {made.elapsed:.1f} |" if made else " |" for *_, made, _ in rows),
        "| processor seconds for it |" + "".join(f" {made.processor:.1f} |" if made else " |" for *_, made, _ in rows),
        "| opening |" + "".join(f" {cell(times.opened)} |" for *_, times in rows),
    ]
    lines += [f"| {name} |" + "".join(f" {cell(times.clicks.get(name))} |" for *_, times in rows) for name in CLICKS]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a trained model to measure as well")
    parser.add_argument("sentence", nargs="?", default="", help="in its source language")
    parser.add_argument("--short", action="store_true", help=f"leave out the sentence of {LONG} tokens")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
