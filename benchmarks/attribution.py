"""Measure how faithful attributions are: `python benchmarks/attribution.py RUN --test FILE`.

FILE has sentences in the source language. The model's own translation of each of the first ones is examined at a few
random positions: why this token and not the next most probable one? All tokens are ranked by each method and removed
from the first to the last, and the drop of the log-probability difference is averaged (area under the drop, in nats).
There are three variants: the content of a token is set to zero, the baseline of integrated gradients; the token is also
hidden from every attention; only source tokens are removed. The result is a dated Markdown file in --out or
benchmarks/results.
"""

from __future__ import annotations

import argparse
import gzip
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from allyouneed import Translator
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.insight.attribution.attribute import METHODS, answer
from allyouneed.insight.attribution.deletion import RANDOM, DeletionTest, deletion_test
from allyouneed.insight.attribution.removal import PartialInputs, Question

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.machine import machine  # noqa: E402

NAMES = {
    "ig": "integrated gradients",
    "loo": "leave one out",
    "alti": "ALTI+",
    "rollout": "attention rollout",
    "attention": "raw attention",
    RANDOM: "random order (mean of 8)",
}
VARIANTS = {
    "content removed": {},
    "hidden as well": {"hidden": True},
    "source tokens only": {"removable": True},
}


class Measured(NamedTuple):
    """One question: the index of its sentence, its tests by variant, and the gap and steps of integrated gradients."""

    sentence: int
    tests: dict[str, DeletionTest]
    gap: float
    steps: int


def main() -> None:
    args = _arguments()
    torch.set_num_threads(1)
    translator = Translator.load(args.run)
    started, found = time.perf_counter(), []
    for number, text in enumerate(_lines(args.test, args.sentences)):
        found += list(_measure(translator, text, number, args.questions))
        print(
            f"\r{number + 1}/{args.sentences} sentences, {time.perf_counter() - started:.0f} s", end="", file=sys.stderr
        )
    print(file=sys.stderr)
    date = time.strftime("%Y-%m-%d")
    args.out.mkdir(parents=True, exist_ok=True)
    result = args.out / f"{date}-attribution.md"
    result.write_text(_page(date, translator, args, found), encoding="utf-8")
    print(result.read_text(encoding="utf-8"))


def _measure(translator: Translator, text: str, number: int, count: int) -> Iterator[Measured]:
    source = [*translator.tokenizer.encode(text), EOS]
    best = [*translator.tokenizer.target.encode(translator.translate(text).text), EOS]
    target = [BOS, *best[:-1]]
    inputs = PartialInputs(translator.model, source, target)
    with torch.no_grad():
        logits = translator.model(inputs.source, inputs.target)[0].cpu().numpy()
    positions = np.random.default_rng(number).permutation(len(best))[:count]
    questions = [_question(int(position), best[position], logits[position]) for position in positions]
    answers = answer(translator, source, target, questions, deletion=0, by_preference=True)
    for question, each in zip(questions, answers, strict=True):
        tests = {}
        for name, options in VARIANTS.items():
            chosen: dict[str, Any] = {**options, **({"removable": len(source)} if "removable" in options else {})}
            tests[name] = deletion_test(
                inputs, _oriented(translator, question, each.candidate), each.values, 8, **chosen
            )
        error = abs(each.values["ig"].sum() - (each.difference - each.baseline)) / np.abs(each.values["ig"]).sum()
        yield Measured(number, tests, float(error), each.steps)


def _question(position: int, token: int, logits: np.ndarray) -> Question:
    [other] = [int(i) for i in np.argsort(-logits)[:2] if i != token][:1]
    return Question(position, token, other)


def _oriented(translator: Translator, question: Question, candidate: str) -> Question:
    """Return the question with the preferred token first."""
    [piece] = translator.tokenizer.target.pieces([question.candidate])
    return question if piece == candidate else Question(question.position, question.instead_of, question.candidate)


def _page(date: str, translator: Translator, args: argparse.Namespace, found: list[Measured]) -> str:
    config = translator.model.config
    gaps, steps = np.array([each.gap for each in found]), np.array([each.steps for each in found])
    command = f"python benchmarks/attribution.py {args.run.name} --test {args.test.name}"
    command += f" --sentences {args.sentences} --questions {args.questions}"
    lines = [
        f"# How faithful attributions are, {date}",
        f"{machine()}; {config.encoder_layers} + {config.decoder_layers} layers, {config.num_heads} heads, d_model "
        f"{config.d_model}; {len(found)} questions about {len({each.sentence for each in found})} sentences.",
        "",
        f"`{command}`",
        "",
        f"Integrated gradients: the sum of attributions misses the difference by {np.median(gaps):.2%} of the sum of "
        f"their magnitudes in the median, {gaps.max():.2%} at most, with {np.median(steps):.0f} points in the median, "
        f"{steps.max()} at most.",
        "",
        "Measured after 0, 1, 2, 3, 5, 8, 13, ... and all removals, and interpolated in between.",
    ]
    for variant in VARIANTS:
        lines += ["", f"## {variant.capitalize()}", "", *_table(variant, found)]
    return "\n".join(lines) + "\n"


def _table(variant: str, found: list[Measured]) -> Iterator[str]:
    """Yield the rows; standard errors take the sentence as the unit, since its questions are related."""
    yield "| order | mean drop, nats | standard error | better than random order | until the other token is preferred |"
    yield "| --- | --- | --- | --- | --- |"
    tests = [each.tests[variant] for each in found]
    sentences = np.array([each.sentence for each in found])
    random = np.array([test.drop(RANDOM) for test in tests])
    for name in (*METHODS, RANDOM):
        drops = np.array([test.drop(name) for test in tests])
        means = np.array([drops[sentences == each].mean() for each in np.unique(sentences)])
        error = means.std(ddof=1) / np.sqrt(len(means))
        counts = [test.until_changed(name) or np.inf for test in tests]
        median = np.median(counts)
        if name == RANDOM:  # its mean curve has no number of removed tokens
            yield f"| {NAMES[name]} | {drops.mean():.2f} | {error:.2f} | | |"
            continue
        better = f"{(drops > random).mean():.0%}"
        until = f"{median:.0f} (median), never: {np.isinf(counts).mean():.0%}"
        until = until.replace("inf (median)", "more than all (median)")
        yield f"| {NAMES[name]} | {drops.mean():.2f} | {error:.2f} | {better} | {until} |"


def _lines(path: Path, count: int) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
        for line, _ in zip(file, range(count), strict=False):
            if line.strip():
                yield line.strip()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a trained model")
    parser.add_argument("--test", type=Path, required=True, help="sentences in its source language, one per line")
    parser.add_argument("--sentences", type=int, default=100)
    parser.add_argument("--questions", type=int, default=3, help="per sentence")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
