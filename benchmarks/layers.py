"""Measure what the layers hold: `python benchmarks/layers.py RUN [RUN ...] [--test SOURCE TARGET]`.

For each RUN, over validation pairs: how often the logit lens already shows the final prediction after each layer, and
the share of active feed-forward units. For one sentence of at most 20 tokens: size and CPU time of the data of both
views. --test is for runs without validation text. The result is a dated Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from allyouneed import Translator
from allyouneed.data.files.formats import read_pairs
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.insight.layers.inside import inside_data
from allyouneed.insight.layers.lens import agreement, lens_data
from allyouneed.insight.layers.states import validation_pairs
from allyouneed.insight.layers.units import STACKS, exciting_tokens
from allyouneed.insight.variants.variant import TokenPair

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.machine import machine  # noqa: E402

LENGTH = 20


def measure(run: Path, test: list[Path], count: int) -> list[str]:
    """Return lines of Markdown for one run."""
    translator = Translator.load(run)
    pairs = validation_pairs(run, translator, count) or encoded(translator, test, count)
    config = translator.model.config
    lens = agreement(translator, pairs, multiplications=1e15)
    if lens is None:
        raise SystemExit(f"{run} has no validation text: give --test SOURCE TARGET")
    sizes = {"encoder": config.encoder_layers, "decoder": config.decoder_layers}
    sites = {(stack, layer): [0] for stack in STACKS for layer in range(sizes[stack])}
    excited = exciting_tokens(translator, pairs, sites, 1)
    active = {stack: [f"{100 * excited[stack, i].active:.1f} %" for i in range(sizes[stack])] for stack in STACKS}
    never = sum(found.never for found in excited.values())
    pair = max(pairs, key=lambda each: (longest(each) <= LENGTH, len(each.source) + len(each.target)))
    timed = [seconds_and_bytes(lambda data=data: data(translator, pair, pairs)) for data in (lens_data, inside_data)]
    names = ["embedding", *(f"layer {i + 1}" for i in range(config.decoder_layers))]
    return [
        f"## {run.name}: {config.norm}-norm, {translator.bundle.described()}",
        f"{len(pairs)} pairs, {lens['tokens']:,} target tokens.\n",
        f"| | {' | '.join(names)} |",
        f"| --- |{' --- |' * len(names)}",
        f"| most likely token is the final one | {' | '.join(f'{100 * x:.1f} %' for x in lens['share'])} |",
        f"| active units, encoder | – | {' | '.join(active['encoder'])} |",
        f"| active units, decoder | – | {' | '.join(active['decoder'])} |",
        f"\nUnits that are never active: {never} of {len(sites) * config.d_ff}.",
        f"\nA sentence of {longest(pair)} tokens: lens {timed[0]}, inside {timed[1]}.\n",
    ]


def longest(pair: TokenPair) -> int:
    return max(len(pair.source), len(pair.target) + 1)


def encoded(translator: Translator, test: list[Path], count: int) -> list[TokenPair]:
    encode = translator.tokenizer.encode, translator.tokenizer.target.encode
    pairs = islice(read_pairs(test), count) if test else ()
    return [TokenPair([*encode[0](pair.source), EOS], encode[1](pair.target)) for pair in pairs]


def seconds_and_bytes(compute: Callable[[], Any]) -> str:
    compute()  # warms up
    start = time.process_time()
    data = compute()
    return f"{time.process_time() - start:.2f} s, {len(json.dumps(data)):,} bytes"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--test", nargs=2, type=Path, default=[])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    date = time.strftime("%Y-%m-%d")
    lines = [f"# What the layers hold, {date}", f"{machine()}; one thread, CPU seconds.\n"]
    lines.append(f"`python benchmarks/layers.py {' '.join(run.name for run in options.runs)}`\n")
    for run in options.runs:
        lines += measure(run, options.test, options.pairs)
    path = options.out / f"{date}-layers.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    main()
