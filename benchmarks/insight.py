"""The explorer's pages, measured in a real browser: `python benchmarks/insight.py`, nothing else beside it.

A page of a 20-token sentence of a 6 + 6-layer, 8-head model with d_model 512 and random weights (what the weights are
costs no time) is made, and opened from disk by a headless Chromium, seven times; then what a reader does: another head,
each tab, each switch. Likewise of a hostile sentence of 512 tokens, and with RUN and a sentence of that model. A page
with one word in it shows how much of opening is the browser's own. Times count from the start of the navigation, or
from the click: until the page's script was done, and until the browser had drawn it. The result is a dated Markdown
file: --out, or benchmarks/results.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from allyouneed import Transformer, Translator
from allyouneed.bundle import Bundle
from allyouneed.config import Config
from allyouneed.data.tokenizer import learn_tokenizer
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import html

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # so that `benchmarks.measure` is found, whatever the working folder

from benchmarks.measure.machine import machine  # noqa: E402

TEXT = ["a dog runs in the green park", "the cat sleeps on a red chair", "two words, and more."]
TOKENS, LONG = 20, 512
HOSTILE = "<script>alert(1)</script> \u202eשלום مرحبا\u202c 😀 👨‍👩‍👧 "
LARGE = {"d_model": 512, "d_ff": 2048, "num_heads": 8, "encoder_layers": 6, "decoder_layers": 6}
BROWSERS = ("chromium", "google-chrome", "chrome")
ARGUMENTS = ["--headless", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-background-networking"]
EMPTY = '<!doctype html><html lang="en"><meta charset="utf-8"><title>word</title><p>word</p></html>'
CLICKS = {
    "another head": "[data-head='encoder.0.1']",
    "encoder-decoder attention": "[data-kind=cross]",
    "as a matrix": "[data-view=matrix]",
    "step by step": "#tab-steps",
    "the mask there": "#local-mask",
    "switches": "#tab-switches",
    "scale off": "[data-switch=scale]",
    "mask of the future off": "[data-switch=future_mask]",
    "positions off": "[data-switch=positions]",
    "the translation": "#tab-search",
}
BEFORE = {"#local-mask": "[data-kind=decoder]"}  # clicked first, not timed
# From the click to the frame after it: layout and paint are done when the message that the frame sends arrives.
CLICK = """selector => new Promise(done => {
  const start = performance.now();
  document.querySelector(selector).click();
  const answered = performance.now() - start;
  requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => done([answered, performance.now() - start]);
    channel.port2.postMessage(0);
  });
})"""
OPENED = """() => new Promise(done => {
  const found = () => {
    const [paint] = performance.getEntriesByName("first-contentful-paint");
    const { domContentLoadedEventEnd: ready } = performance.getEntriesByType("navigation")[0];
    if (paint && ready) done([ready, paint.startTime]);
    else setTimeout(found, 5);
  };
  found();
})"""


class Measured(NamedTuple):
    """Milliseconds, each a median: until the page's script was done, until it was painted; of each click likewise."""

    opened: tuple[float, float]
    clicks: dict[str, tuple[float, float]]


def main() -> None:
    asked = _arguments()
    date = time.strftime("%Y-%m-%d")
    pages: list[tuple[str, Path, float | None]] = []
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty.html")
        empty.write_text(EMPTY, encoding="utf-8")
        pages.append(("one word, no script", empty, None))
        if asked.run:
            translator = Translator.load(asked.run)
            pages.append((_sizes(translator), *_make(translator, asked.sentence, None, Path(folder, "run.html"))))
        large, text = random_translator(), _sentence()
        pages.append((_sizes(large), *_make(large, text, text, Path(folder, "large.html"))))
        hostile = _long_and_hostile()
        pages.append((f"the same, {LONG} tokens", *_make(large, hostile, hostile, Path(folder, "long.html"))))
        with _playwright() as browser:
            rows = [
                (name, path.stat().st_size, made, _measure(browser, path, asked.rounds)) for name, path, made in pages
            ]
    asked.out.mkdir(parents=True, exist_ok=True)
    result = asked.out / f"{date}-insight.md"
    result.write_text(_page(date, asked, rows), encoding="utf-8")
    print(result.read_text(encoding="utf-8"))


def random_translator() -> Translator:
    tokenizer = learn_tokenizer(TEXT * 30, 400)
    config = Config().override([f"model.{name}={value}" for name, value in LARGE.items()])
    torch.manual_seed(3)
    return Translator(Bundle(Transformer(config.model, len(tokenizer)).eval(), tokenizer, config, ("de", "en"), 100))


def _sentence() -> str:
    """Of `TOKENS` subwords, its end counted."""
    tokenizer, text = learn_tokenizer(TEXT * 30, 400), TEXT[0]
    while len(tokenizer.encode(text)) < TOKENS - 1:
        text += " a"
    return text


def _long_and_hostile() -> str:
    """Of `LONG` subwords, its end counted: markup, right to left, emoji, then words."""
    tokenizer, text = learn_tokenizer(TEXT * 30, 400), HOSTILE
    while (missing := LONG - 1 - len(tokenizer.encode(text))) > 0:
        text += f" {TEXT[0]}" if missing > 20 else " a"
    return text


def _sizes(translator: Translator) -> str:
    model = translator.model.config
    return f"{model.encoder_layers} + {model.decoder_layers} layers, {model.num_heads} heads, d_model {model.d_model}"


def _make(translator: Translator, text: str, translation: str | None, path: Path) -> tuple[Path, float]:
    """-> the page, and the seconds that it took."""
    start = time.perf_counter()
    path.write_text(html(explorer_data(translator, text, translation=translation)), encoding="utf-8")
    return path, time.perf_counter() - start


def _playwright() -> Any:
    """A context with the browser."""
    from contextlib import contextmanager

    from playwright.sync_api import sync_playwright

    @contextmanager
    def started() -> Any:
        found = next((path for path in map(shutil.which, BROWSERS) if path), None)
        if found is None:
            sys.exit("no Chromium here: as root, `make .venv/browser` installs one with apt-get")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
            yield browser
            browser.close()

    return started()


def _measure(browser: Any, path: Path, rounds: int) -> Measured:
    opened, clicks = [], {name: [] for name in CLICKS}
    for number in range(rounds + 1):  # the first warms up the browser, and does not count
        context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
        page = context.new_page()
        page.goto(path.as_uri())
        times = page.evaluate(OPENED)
        opened += [times] if number else []
        for name, selector in CLICKS.items():
            if selector in BEFORE and page.query_selector(BEFORE[selector]):
                page.evaluate(CLICK, BEFORE[selector])
            if page.query_selector(selector):
                times = page.evaluate(CLICK, selector)
                clicks[name] += [times] if number else []
        context.close()
    return Measured(_medians(opened), {name: _medians(times) for name, times in clicks.items() if times})


def _medians(pairs: list[list[float]]) -> tuple[float, float]:
    first, second = (statistics.median(times) for times in zip(*pairs, strict=True))
    return first, second


def _page(date: str, asked: argparse.Namespace, rows: list[tuple[str, int, float | None, Measured]]) -> str:
    command = " ".join(
        ["python benchmarks/insight.py", *(f'"{x}"' if " " in x else Path(x).name for x in sys.argv[1:])]
    )
    cell = lambda times: f"{times[0]:.0f} / {times[1]:.0f}" if times else ""  # noqa: E731
    lines = [
        f"# The explorer's pages, {date}",
        f"{machine()}; {torch.get_num_threads()} threads; Chromium, headless, 1280 × 900, medians of {asked.rounds}, "
        f"in milliseconds: until the page's script was done / until the browser had drawn it.",
        "",
        f"`{command}`",
        "",
        "| |" + "".join(f" {name} |" for name, *_ in rows),
        "| --- |" + " --- |" * len(rows),
        "| bytes |" + "".join(f" {size:,} |" for _, size, *_ in rows),
        "| seconds to make it |" + "".join(f" {made:.1f} |" if made else " |" for *_, made, _ in rows),
        "| opening |" + "".join(f" {cell(found.opened)} |" for *_, found in rows),
    ]
    lines += [f"| {name} |" + "".join(f" {cell(found.clicks.get(name))} |" for *_, found in rows) for name in CLICKS]
    return "\n".join(lines) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?", help="a trained model to look at, too")
    parser.add_argument("sentence", nargs="?", default="", help="in its source language")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
