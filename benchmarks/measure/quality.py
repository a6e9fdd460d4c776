"""BLEU on test_2016_flickr of a recipe trained for a number of minutes, from raw text to the bundle."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

SCORED = ("val", "test_2016_flickr")


@dataclass(frozen=True)
class Quality:
    """Result of one seed. seconds: Wall-clock time of `allyouneed train`. BLEU is with beam 5 on tokenised text."""

    seed: int
    seconds: float
    steps: int
    parameters: int
    valid_bleu: float
    test_bleu: float
    test_chrf: float
    signature: str


def measure_quality(
    data: Path, recipe: str, minutes: float, seeds: Sequence[int], runs: Path, settings: Sequence[str], log: Callable
) -> list[Quality]:
    """Train and score one seed after the other; seeds with a stored score in `runs` are not trained again."""
    results = []
    for seed in seeds:
        run = runs / f"{recipe.replace('/', '-')}-{minutes:g}-minutes-seed-{seed}"
        stored = run / "quality.json"
        if not stored.exists():
            stored.write_text(
                json.dumps(_train_and_score(data, recipe, minutes, seed, run, settings)), encoding="utf-8"
            )
        results.append(Quality(**json.loads(stored.read_text(encoding="utf-8"))))
        log(f"seed {seed}: {results[-1].test_bleu:.2f} BLEU after {results[-1].seconds / 60:.1f} minutes")
    return results


def quality_table(recipe: str, results: Sequence[Quality]) -> str:
    """Format as Markdown with one row per seed and the median."""
    lines = [
        f"Recipe `{recipe}`, {results[0].parameters / 1e6:.2f} million parameters; {results[0].signature}",
        "",
        "| seed | minutes, text to bundle | steps | validation BLEU | test_2016_flickr BLEU | chrF2 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in results:
        lines.append(
            f"| {row.seed} | {row.seconds / 60:.1f} | {row.steps:,} | {row.valid_bleu:.2f} | {row.test_bleu:.2f} | "
            f"{row.test_chrf:.2f} |"
        )
    medians = [statistics.median(getattr(row, name) for row in results) for name in ("valid_bleu", "test_bleu")]
    lines.append(f"| median | | | {medians[0]:.2f} | {medians[1]:.2f} | |")
    return "\n".join(lines)


def _train_and_score(data: Path, recipe: str, minutes: float, seed: int, run: Path, settings: Sequence[str]) -> dict:
    def pair(name: str) -> list[str]:
        return [str(data / f"{name}.lc.norm.tok.{language}.gz") for language in ("en", "de")]

    all_settings = [f"training.seed={seed}", *settings]
    options = [option for setting in all_settings for option in ("--set", setting)]
    start = time.perf_counter()
    command = [sys.executable, "-m", "allyouneed", "train", "--from", "en", "--to", "de", "--recipe", recipe]
    command += ["--train", *pair("train"), "--valid", *pair("val"), "--minutes", f"{minutes:g}", "--out", str(run)]
    done = subprocess.run([*command, *options], env={**os.environ, "OMP_NUM_THREADS": "2"})
    if done.returncode != 0:
        raise SystemExit("allyouneed train failed; see the output above.")
    seconds = time.perf_counter() - start
    translator = Translator.load(run, "cpu")
    valid, test = (
        evaluate(translator, [Path(p) for p in pair(name)], SearchOptions(beam_size=5), tokenizer="none")
        for name in SCORED
    )
    return {
        "seed": seed,
        "seconds": seconds,
        "steps": translator.bundle.notes["steps"],
        "parameters": translator.bundle.model.num_parameters(),
        "valid_bleu": valid.bleu,
        "test_bleu": test.bleu,
        "test_chrf": test.chrf,
        "signature": test.bleu_signature,
    }
