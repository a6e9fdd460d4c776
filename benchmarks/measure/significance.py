"""Whether a configuration is better than another: paired bootstrap over sentences and seeds, and a page of sentences.

Both configurations are scored on the same random resamples of the sentences (Koehn 2004). For all seeds together, the
seeds are resampled too (Sellam et al. 2022), because three seeds of one configuration already differ: a difference is
one of the configurations only if it is larger than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from allyouneed.translation.evaluation.comparison import compare
from allyouneed.translation.evaluation.data import read_test, read_translations
from allyouneed.translation.evaluation.metrics import DEFAULT_METRICS, sacrebleu_metric
from benchmarks.measure.quality import LOSS, Plan, losses_file, run_folder, shown, title, translations_file

RESAMPLES, SEED = 1000, 12345  # sacreBLEU's defaults


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of a measure.

    Attributes:
        systems: For both systems, the statistics of each sentence; shape [seed, sentence, statistic].
        score: Computes the score from the sum of the sentences' statistics.
    """

    systems: tuple[np.ndarray, np.ndarray]
    score: Callable[[np.ndarray], float]

    def scores(self) -> np.ndarray:
        """Return the scores of both systems; shape [system, seed]."""
        return np.array([[self.score(each.sum(0)) for each in system] for system in self.systems])


@dataclass(frozen=True)
class Difference:
    """A difference of two systems.

    Attributes:
        scores: Scores of both; means over the seeds if there are several.
        interval: 95 % confidence interval of the difference, from percentiles.
        p_value: Two-sided: the share of resamples, centred at 0, whose difference is at least as large.
    """

    scores: tuple[float, float]
    interval: tuple[float, float]
    p_value: float

    @classmethod
    def of(cls, first: float, second: float, resampled: np.ndarray) -> Difference:
        """Make it from both scores and the differences of the resamples."""
        low, high = np.percentile(resampled, (2.5, 97.5))
        beyond = np.abs(resampled - resampled.mean()) >= abs(second - first)
        p_value = (int(beyond.sum()) + 1) / (len(resampled) + 1)
        return cls((first, second), (float(low), float(high)), p_value if first != second else 1.0)


def resampled_differences(statistics: Statistics) -> np.ndarray:
    """Score both systems on the resamples that sacreBLEU draws; second minus first, shape [seed, resample]."""
    first, second = statistics.systems
    sentences = first.shape[1]
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(sentences, size=(RESAMPLES, sentences), replace=True)
    return np.array(
        [
            [statistics.score(new[rows].sum(0)) - statistics.score(old[rows].sum(0)) for rows in drawn]
            for old, new in zip(first, second, strict=True)
        ]
    )


def differences(statistics: Statistics) -> list[Difference]:
    """Compare each seed, and at last all of them with resampled seeds if there are several."""
    scores, resampled = statistics.scores(), resampled_differences(statistics)
    found = [Difference.of(float(old), float(new), row) for old, new, row in zip(*scores, resampled, strict=True)]
    if len(found) > 1:
        found.append(Difference.of(float(scores[0].mean()), float(scores[1].mean()), with_seeds(resampled)))
    return found


def with_seeds(resampled: np.ndarray) -> np.ndarray:
    """Average the differences over resampled seeds; [seed, resample] -> [resample].

    One seed fewer than there are is drawn: the variance of the mean is then that of the sample standard deviation. With
    as many draws as seeds it would be a third too small for three seeds.
    """
    count = len(resampled)
    drawn = np.random.default_rng(SEED).integers(count, size=(count - 1, resampled.shape[1]))
    return np.take_along_axis(resampled, drawn, axis=0).mean(0)


def statistics_of(runs: Sequence[Sequence[Path]], name: str, files: Sequence[Path]) -> dict[str, Statistics]:
    """Read the statistics of loss, BLEU and chrF of a text.

    Args:
        runs: The runs of both systems, in the order of their seeds.
        name: Name of the text.
        files: Its source and reference.
    """
    test = read_test(files).normalised()
    found = {LOSS: Statistics(_stacked(runs, lambda run: np.loadtxt(losses_file(run, name), ndmin=2)), _ratio)}
    for metric_name in DEFAULT_METRICS:
        metric = sacrebleu_metric(metric_name, "none")

        def read(run: Path, metric=metric) -> np.ndarray:
            translations = read_translations(translations_file(run, name), test)
            return np.array(metric._extract_corpus_statistics(translations, test.references))

        def score(sums: np.ndarray, metric=metric) -> float:
            return metric._compute_score_from_stats(sums).score

        found[metric_name] = Statistics(_stacked(runs, read), score)
    return found


def check_comparable(plan: Plan, against: Path) -> Plan:
    """Return the plan of earlier runs; exit if its languages or held-out pairs differ."""
    old = Plan.load(against)
    if (old.languages, old.held_out) != (plan.languages, plan.held_out):
        raise SystemExit(
            f"{against} has {'-'.join(old.languages)} with {old.held_out:,} pairs held out, not "
            f"{'-'.join(plan.languages)} with {plan.held_out:,}: compare with runs of the same text."
        )
    return old


def significance_report(
    plan: Plan, runs: Path, against: Path, seeds: Sequence[int], files: Mapping[str, Sequence[Path]], page: Path
) -> str:
    """Compare with an earlier call of `quality`: a Markdown table, and a page with sentences of the last text.

    Args:
        plan: The new configuration.
        runs: Its runs.
        against: Folder of the earlier call's runs.
        seeds: Seeds of the new configuration; those that both have are compared.
        files: The texts to compare, by name.
        page: Path of the page.
    """
    old = check_comparable(plan, against)
    names = _without_common_settings(old, plan)
    lines = [
        f"Old: {names[0]}; new: {names[1]}; settings in common left out. {RESAMPLES:,} paired bootstrap resamples of "
        "the sentences, for all seeds together of sentences and seeds; p two-sided. A lower loss is better.",
        "",
        "| text | measure | seed | old | new | difference | 95 % interval | p |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, paths in files.items():
        common = [seed for seed in seeds if translations_file(run_folder(against, seed), name).exists()]
        if not common:
            raise SystemExit(f"{against} has no translations of {name} with these seeds: run its `quality` call again.")
        both = [[run_folder(folder, seed) for seed in common] for folder in (against, runs)]
        for measure, statistics in statistics_of(both, name, paths).items():
            labels = [*map(str, common), f"all {len(common)}"]
            for label, found in zip(labels, differences(statistics), strict=False):
                lines.append(_row(name, measure, label, found))
    outputs = [translations_file(folder[0], name) for folder in both]
    old_name, new_name = (f"{name}, seed {common[0]}" for name in names)
    compared = compare(*outputs, paths, tokenizer="none", names=(old_name, new_name))
    replace(compared, test=name, languages=plan.languages).save(page)
    return "\n".join([*lines, "", f"[Sentences of {name} side by side]({page.name}), seed {common[0]}"])


def _without_common_settings(*plans: Plan) -> list[str]:
    common = set.intersection(*(set(plan.settings) for plan in plans))
    return [str(replace(plan, settings=tuple(each for each in plan.settings if each not in common))) for plan in plans]


def _row(name: str, measure: str, label: str, found: Difference) -> str:
    old, new = found.scores
    low, high = (signed(measure, end) for end in found.interval)
    cells = [shown(measure, old), shown(measure, new), signed(measure, new - old), f"{low} to {high}"]
    return "| " + " | ".join([name, title(measure), label, *cells, f"{found.p_value:.3f}"]) + " |"


def signed(measure: str, value: float) -> str:
    return ("+" if value >= 0 else "−") + shown(measure, abs(value))


def _stacked(runs: Sequence[Sequence[Path]], read: Callable[[Path], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    first, second = (np.stack([read(run) for run in each]) for each in runs)
    return first, second


def _ratio(sums: np.ndarray) -> float:
    return float(sums[0] / sums[1])
