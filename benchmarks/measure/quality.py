"""Quality of a recipe, from raw text to scored bundles: one training per seed, held-out text, loss, BLEU, chrF, COMET.

A choice among configurations is made on validation and held-out text. Test sets are scored only on request.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.errors import UserError
from allyouneed.files import write_file
from allyouneed.translation.evaluation.comet import CometMetric
from allyouneed.translation.evaluation.data import read_test_set
from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.evaluation.metrics import COMET, DEFAULT_METRICS, METRICS
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.scoring import score_pairs
from allyouneed.translation.translator import Translator
from benchmarks.measure.quality_data import VALID, hold_out, names_of_test_sets, text_files

LOSS = "loss"
BEAM_SIZE = 5
_PLAN, _SCORES = "plan.json", "scores"  # in the folder of all runs, and in each of them


@dataclass(frozen=True)
class Plan:
    """A configuration: everything but the seed.

    Attributes:
        recipe: Name of the recipe.
        languages: Source and target.
        minutes: Wall-clock time of each training; None if `steps` is given.
        steps: Updates of each training; None if `minutes` is given.
        held_out: Number of training pairs that are held out.
        settings: Overrides `SECTION.NAME=VALUE`.
    """

    recipe: str
    languages: tuple[str, str]
    minutes: float | None
    steps: int | None
    held_out: int = 0
    settings: tuple[str, ...] = ()

    def __str__(self) -> str:
        budget = f"{self.steps:,} steps" if self.steps else f"{self.minutes:g} minutes"
        return ", ".join([f"{self.recipe} {'-'.join(self.languages)}", budget, *self.settings])

    def keep(self, runs: Path) -> None:
        """Store the plan with its runs; a folder has the runs of one plan only."""
        if (runs / _PLAN).exists() and Plan.load(runs) != self:
            raise SystemExit(f"{runs} has runs of another configuration ({Plan.load(runs)}): use another --runs.")
        write_file(runs / _PLAN, json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, runs: Path) -> Plan:
        """Read the plan of a folder of runs."""
        try:
            stored = json.loads((runs / _PLAN).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SystemExit(f"{runs}: no {_PLAN}. Give the --runs folder of an earlier `quality` call.") from None
        return cls(**stored | {name: tuple(stored[name]) for name in ("languages", "settings")})


@dataclass(frozen=True)
class Quality:
    """Result of one seed.

    Attributes:
        seed: Seed of the training.
        seconds: Wall-clock time of `allyouneed train`; of the last call if it was interrupted.
        steps: Steps of the bundle.
        parameters: Number of parameters.
        scores: By text, then by measure: loss in nats per word of the reference (the end of the sentence counts as a
            word), so that vocabularies can be compared; BLEU, chrF and COMET with beam 5 on tokenised text.
        signatures: sacreBLEU's, by metric.
    """

    seed: int
    seconds: float
    steps: int
    parameters: int
    scores: Mapping[str, Mapping[str, float]]
    signatures: Mapping[str, str]


def texts(plan: Plan, data: Path, runs: Path, with_test: bool) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return the files of the training text, and those of each text to score."""
    parts = hold_out(text_files(data, "train", plan.languages), plan.held_out, runs / "text")
    train = parts.pop("train")
    names = [VALID, *(names_of_test_sets(data, plan.languages) if with_test else [])]
    return train, parts | {name: text_files(data, name, plan.languages) for name in names}


def measure_quality(
    plan: Plan, data: Path, seeds: Sequence[int], runs: Path, with_test: bool, log: Callable[[str], None]
) -> list[Quality]:
    """Train and score one seed after the other; what `runs` has is neither trained nor translated again."""
    plan.keep(runs)
    train, files = texts(plan, data, runs, with_test)
    metrics = _metrics(log)
    results = []
    for seed in seeds:
        run = run_folder(runs, seed)
        facts = stored(run / _SCORES / "training.json", lambda run=run, seed=seed: _train(plan, train, data, seed, run))
        scores, signatures = {}, {}
        for name in files:
            path = run / _SCORES / f"{name}.json"
            found = stored(path, lambda run=run, name=name: score_text(run, name, files[name], metrics))
            scores[name] = found["scores"]
            signatures |= found["signatures"]
        results.append(Quality(seed=seed, **facts, scores=scores, signatures=signatures))
        log(f"seed {seed}, {facts['seconds'] / 60:.1f} minutes: {_brief(scores)}")
    return results


def run_folder(runs: Path, seed: int) -> Path:
    return runs / f"seed-{seed}"


def stored(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Read a JSON file, which is computed and written if it is missing."""
    if not path.exists():
        write_file(path, json.dumps(compute()))
    return json.loads(path.read_text(encoding="utf-8"))


def score_text(run: Path, name: str, files: Sequence[Path], metrics: Sequence[str]) -> dict[str, Any]:
    """Translate and score a text; translations and the loss of each sentence are stored for later comparisons."""
    translator = Translator.load(run, "cpu")
    options = SearchOptions(beam_size=BEAM_SIZE)
    found = evaluate(translator, files, options, tokenizer="none", metrics=metrics, output=translations_file(run, name))
    losses = _losses(translator, files)
    write_file(losses_file(run, name), "".join(f"{loss!r} {words}\n" for loss, words in losses.tolist()))
    loss, words = losses.sum(0)
    return {
        "scores": {LOSS: loss / words, **{metric: each.score for metric, each in found.metrics.items()}},
        "signatures": {metric: each.signature for metric, each in found.metrics.items()},
    }


def translations_file(run: Path, name: str) -> Path:
    return run / _SCORES / f"{name}.translations.txt"


def losses_file(run: Path, name: str) -> Path:
    """Return the file with the negative log probability and the number of words of each reference."""
    return run / _SCORES / f"{name}.losses.txt"


def quality_table(plan: Plan, results: Sequence[Quality]) -> str:
    """Format as Markdown with one row per seed, the means and the sample standard deviations."""
    columns = [
        (name, measure)
        for name, scores in results[0].scores.items()
        for measure in scores
        if all(measure in row.scores[name] for row in results)  # COMET may have come to hand later
    ]
    titles = [f"{name} {title(measure)}" for name, measure in columns]
    held_out = f" {plan.held_out:,} training pairs are held out, with their duplicates on either side."
    lines = [
        f"{plan}; {results[0].parameters / 1e6:.2f} million parameters. Beam {BEAM_SIZE}, tokenised text; loss in nats "
        f"per word of the reference.{held_out if plan.held_out else ''}",
        "",
        *(f"- {title(metric)}: {signature}" for metric, signature in results[0].signatures.items()),
        "",
        "| " + " | ".join(["seed", "minutes, text to bundle", "steps", *titles]) + " |",
        "| " + " | ".join(["---"] * (3 + len(columns))) + " |",
    ]
    for row in results:
        cells = [shown(measure, row.scores[name][measure]) for name, measure in columns]
        lines.append("| " + " | ".join([str(row.seed), f"{row.seconds / 60:.1f}", f"{row.steps:,}", *cells]) + " |")
    for label, summary in (("mean", statistics.mean), ("standard deviation", statistics.stdev)):
        if len(results) > 1:
            values = [(measure, summary(row.scores[name][measure] for row in results)) for name, measure in columns]
            lines.append("| " + " | ".join([label, "", "", *(shown(*value) for value in values)]) + " |")
    return "\n".join(lines)


def title(measure: str) -> str:
    return "chrF2" if measure == "chrf" else METRICS.get(measure, measure)


def shown(measure: str, value: float) -> str:
    return f"{value:.4f}" if measure in (LOSS, COMET) else f"{value:.2f}"


def _brief(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Describe the scores in one line."""
    return "; ".join(
        f"{name} " + ", ".join(f"{title(measure)} {shown(measure, value)}" for measure, value in found.items())
        for name, found in scores.items()
    )


def _metrics(log: Callable[[str], None]) -> list[str]:
    """Return the metrics, with COMET if its package and model are on this machine."""
    try:
        CometMetric()
    except UserError as error:
        log(f"without COMET: {error}")
        return list(DEFAULT_METRICS)
    return [*DEFAULT_METRICS, COMET]


def _train(plan: Plan, train: Sequence[Path], data: Path, seed: int, run: Path) -> dict[str, Any]:
    source, target = plan.languages
    settings = [f"training.seed={seed}", *([f"training.steps={plan.steps}"] if plan.steps else []), *plan.settings]
    command = [sys.executable, "-m", "allyouneed", "train", "--from", source, "--to", target, "--recipe", plan.recipe]
    command += ["--train", *map(str, train), "--valid", *map(str, text_files(data, VALID, plan.languages))]
    command += ["--out", str(run), *(option for setting in settings for option in ("--set", setting))]
    command += [] if plan.steps else ["--minutes", f"{plan.minutes:g}"]
    start = time.perf_counter()
    if subprocess.run(command, env={"OMP_NUM_THREADS": "2", **os.environ}).returncode != 0:
        raise SystemExit("allyouneed train failed; see the output above.")
    seconds = time.perf_counter() - start
    bundle = Translator.load(run, "cpu").bundle
    return {"seconds": seconds, "steps": bundle.notes["steps"], "parameters": bundle.model.num_parameters()}


def _losses(translator: Translator, files: Sequence[Path]) -> np.ndarray:
    """Compute the negative log probability and the number of words of each reference; shape [sentence, 2]."""
    pairs = read_test_set(files, translator.bundle.config.data.columns)
    scored = score_pairs(translator, [pair.source for pair in pairs], [pair.target for pair in pairs])
    return np.array(
        [[-sum(each.log_probs), len(pair.target.split()) + 1] for pair, each in zip(pairs, scored, strict=True)]
    )
