"""Time to quality: BLEU on test_2016_flickr of a recipe that was given so many minutes, from raw text to the bundle."""

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

from allyouneed.translation.evaluation import evaluate
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

SCORED = ("val", "test_2016_flickr")


@dataclass(frozen=True)
class Quality:
    """Of one seed. seconds: wall clock of the whole `allyouneed train`; BLEU: beam 5, tokenised, of val and test."""

    seed: int
    seconds: float
    steps: int
    parameters: int
    valid_bleu: float
    test_bleu: float
    test_chrf: float
    signature: str


def measure_quality(
    data: Path, recipe: str, minutes: float, seeds: Sequence[int], runs: Path, settings: Sequence[str], say: Callable
) -> list[Quality]:
    """Trains and scores one seed after the other; a seed whose score is in `runs` already is not trained again."""
    found = []
    for seed in seeds:
        run = runs / f"{recipe.replace('/', '-')}-{minutes:g}-minutes-seed-{seed}"
        kept = run / "quality.json"
        if not kept.exists():
            kept.write_text(json.dumps(_train_and_score(data, recipe, minutes, seed, run, settings)), encoding="utf-8")
        found.append(Quality(**json.loads(kept.read_text(encoding="utf-8"))))
        say(f"seed {seed}: {found[-1].test_bleu:.2f} BLEU after {found[-1].seconds / 60:.1f} minutes")
    return found


def quality_table(recipe: str, found: Sequence[Quality]) -> str:
    """Markdown: a row a seed, and the median."""
    lines = [
        f"Recipe `{recipe}`, {found[0].parameters / 1e6:.2f} million parameters; {found[0].signature}",
        "",
        "| seed | minutes, text to bundle | steps | validation BLEU | test_2016_flickr BLEU | chrF2 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in found:
        lines.append(
            f"| {row.seed} | {row.seconds / 60:.1f} | {row.steps:,} | {row.valid_bleu:.2f} | {row.test_bleu:.2f} | "
            f"{row.test_chrf:.2f} |"
        )
    middle = [statistics.median(getattr(row, name) for row in found) for name in ("valid_bleu", "test_bleu")]
    lines.append(f"| median | | | {middle[0]:.2f} | {middle[1]:.2f} | |")
    return "\n".join(lines)


def _train_and_score(data: Path, recipe: str, minutes: float, seed: int, run: Path, settings: Sequence[str]) -> dict:
    def pair(name: str) -> list[str]:
        return [str(data / f"{name}.lc.norm.tok.{language}.gz") for language in ("en", "de")]

    given = [f"training.seed={seed}", *settings]
    options = [option for setting in given for option in ("--set", setting)]
    begun = time.perf_counter()
    command = [sys.executable, "-m", "allyouneed", "train", "--from", "en", "--to", "de", "--recipe", recipe]
    command += ["--train", *pair("train"), "--valid", *pair("val"), "--minutes", f"{minutes:g}", "--out", str(run)]
    done = subprocess.run([*command, *options], env={**os.environ, "OMP_NUM_THREADS": "2"})
    if done.returncode != 0:
        raise SystemExit("allyouneed train failed: see above.")
    seconds = time.perf_counter() - begun
    translator = Translator.load(run, "cpu")
    valid, test = (
        evaluate(translator, [Path(p) for p in pair(name)], SearchOptions(beam_size=5), tokenized=True)
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
