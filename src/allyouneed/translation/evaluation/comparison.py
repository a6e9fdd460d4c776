"""Comparison of two systems on one test set: scores, significance, and the sentences in which they differ most.

A system is a RUN, a bundle, a loaded translator, or a file of translations. Significance is sacreBLEU's paired
bootstrap test (Koehn 2004): both systems are scored on the same 1,000 random resamples of the test set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sacrebleu.significance import PairedTest

from allyouneed.errors import UserError
from allyouneed.files import TextFiles, as_paths, check_output, write_file
from allyouneed.languages import same_language
from allyouneed.translation.evaluation.bleu_tokenizers import AUTO
from allyouneed.translation.evaluation.comparison_page import comparison_html
from allyouneed.translation.evaluation.data import TestSet, read_test, read_translations
from allyouneed.translation.evaluation.evaluator import MetricOptions, Scoring, target_language, translate_test
from allyouneed.translation.evaluation.metrics import (
    BLEU,
    CHRF_NAME,
    COMET,
    DEFAULT_METRICS,
    LOWER_IS_BETTER,
    METRICS,
    MetricScore,
    sacrebleu_metric,
)
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

LETTERS = ("A", "B")
SIGNIFICANT = 0.05
MOST_SENTENCES = 20_000  # the resamples of sacreBLEU take about 70 kB of memory per sentence
_PAGE_SENTENCES = 5000  # on a page, those that differ most
_SAMPLE = 50  # sentences of the sample on a page


class SentencePair(NamedTuple):
    """Both translations of a sentence.

    Attributes:
        line: Line number in the test set, from 1.
        source: The source sentence; None if the test set has references only.
        references: The references.
        translations: The translations of A and B.
        chrf: Sentence chrF of both.
        bleu: Sentence BLEU of both, without n-gram orders that have no match.
    """

    line: int
    source: str | None
    references: list[str]
    translations: tuple[str, str]
    chrf: tuple[float, float]
    bleu: tuple[float, float]

    @property
    def difference(self) -> float:
        """chrF of B minus chrF of A."""
        return self.chrf[1] - self.chrf[0]


@dataclass(frozen=True)
class MetricComparison:
    """A metric for both systems.

    Attributes:
        name: Name of the metric, see `metrics.METRICS`.
        signature: sacreBLEU's signature, with the number of resamples and the seed.
        scores: Scores of A and B, with mean and 95 % confidence interval.
        p_value: Probability of a difference at least as large in this direction if both systems were equally good;
            sacreBLEU counts one direction, a two-sided p-value is about twice as large.
        lower_is_better: Whether lower scores are better, as for TER.
    """

    name: str
    signature: str
    scores: tuple[MetricScore, MetricScore]
    p_value: float
    lower_is_better: bool

    @property
    def difference(self) -> float:
        """Score of B minus score of A."""
        return self.scores[1].score - self.scores[0].score

    @property
    def is_significant(self) -> bool:
        """Whether p is below 0.05; sacreBLEU's p is 0.001 for a system against itself, which does not differ."""
        return self.p_value < SIGNIFICANT and self.difference != 0


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`.

    Attributes:
        systems: Names of A and B.
        test: Name of the test set.
        languages: Codes of source and target, where they are known.
        metrics: Scores and significance by metric.
        sentences: All sentences in the order of the test set.
    """

    systems: tuple[str, str]
    test: str
    languages: tuple[str | None, str | None]
    metrics: list[MetricComparison]
    sentences: list[SentencePair]

    def most_different(self) -> list[SentencePair]:
        """Return the sentences by absolute difference in chrF, the largest first."""
        return sorted(self.sentences, key=lambda pair: -abs(pair.difference))

    def sample(self, size: int = _SAMPLE) -> list[SentencePair]:
        """Return sentences at equal distances through the test set, which no score chose; all if there are fewer."""
        count = len(self.sentences)
        size = min(size, count)
        return [self.sentences[(2 * number + 1) * count // (2 * size)] for number in range(size)]

    def better(self) -> tuple[int, int]:
        """Return the number of sentences with the higher chrF in A, and in B."""
        differences = [pair.difference for pair in self.sentences]
        return sum(each < 0 for each in differences), sum(each > 0 for each in differences)

    def as_dict(self, sentences: int | None = None) -> dict[str, Any]:
        """Return the comparison for JSON.

        Args:
            sentences: Number of sentences to include, those that differ most first; None for all.
        """
        better = self.better()
        return {
            "systems": list(self.systems),
            "test": self.test,
            "languages": list(self.languages),
            "sentences": len(self.sentences),
            "metrics": [_facts(metric) for metric in self.metrics],
            "better": {"A": better[0], "B": better[1], "equal": len(self.sentences) - sum(better)},
            "most_different": [_sentence_facts(pair) for pair in self.most_different()[:sentences]],
        }

    def lines(self, sentences: int = 3) -> Iterator[str]:
        """Yield the lines of a readable summary.

        Args:
            sentences: Number of sentences to show, those that differ most.
        """
        yield from (f"{letter}: {name}" for letter, name in zip(LETTERS, self.systems, strict=True))
        yield f"{len(self.sentences):,} sentences of {self.test}; paired bootstrap, mean ± 95 % confidence interval"
        for metric in self.metrics:
            shown = "  ".join(
                f"{letter} {score.score:.2f} ({score.mean:.2f} ± {score.interval:.2f})"
                for letter, score in zip(LETTERS, metric.scores, strict=True)
            )
            mark = "significant" if metric.is_significant else "not significant"
            p_value = f"p = {metric.p_value:.4f}, {mark}" if metric.difference else "equal"
            better = "  (lower is better)" if metric.lower_is_better else ""
            yield f"{METRICS[metric.name]:6}  {shown}  {metric.difference:+.2f}, {p_value}{better}"
        yield from (f"{METRICS[metric.name]:6}  {metric.signature}" for metric in self.metrics)
        first, second = self.better()
        equal = len(self.sentences) - first - second
        yield f"sentences with the higher chrF: A {first:,}, B {second:,}, equal {equal:,}"
        for pair in [pair for pair in self.most_different() if len(set(pair.translations)) > 1][:sentences]:
            yield f"line {pair.line:,}: chrF {pair.chrf[0]:.1f} and {pair.chrf[1]:.1f} ({pair.difference:+.1f})"
            yield from ([f"  source     {pair.source}"] if pair.source is not None else [])
            yield from (f"  reference  {reference}" for reference in pair.references)
            yield from (f"  {letter}          {text}" for letter, text in zip(LETTERS, pair.translations, strict=True))

    def html(self) -> str:
        """Make a self-contained page with the scores and the sentences side by side, first those of the sample."""
        sample = [_sentence_facts(pair) for pair in self.sample()]
        return comparison_html(self.as_dict(_PAGE_SENTENCES) | {"sample": sample})

    def save(self, path: str | Path) -> Path:
        """Write the page to a file and return its path.

        Raises:
            UserError: If the file cannot be written.
        """
        write_file(Path(path), self.html())
        return Path(path)


def compare(
    first: str | Path | Translator,
    second: str | Path | Translator,
    test: TextFiles = (),
    options: SearchOptions | None = None,
    *,
    references: TextFiles = (),
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    tokenizer: str = AUTO,
    names: tuple[str, str] | None = None,
    device: str | torch.device = "auto",
    report: Callable[[str], None] | None = None,
) -> Comparison:
    """Compare two systems on a test set, as `allyouneed compare` does.

    Args:
        first: The baseline, A: a RUN, a bundle, a loaded translator, or a plain file of translations, one per line.
        second: The other system, B.
        test: As for `evaluate`: a source and one or several references, one TSV, or a test set of sacreBLEU by name.
        options: Search options; None means each bundle's settings.
        references: Plain files of further references; of all references if `test` is the source alone, or is omitted.
        metrics: Names of metrics, as a list or as text such as "bleu,chrf,ter"; not COMET.
        tokenizer: sacreBLEU's tokenizer for BLEU; "auto" follows the target language.
        names: Names of A and B for the result. Default: the paths.
        device: Device of the models: "auto" (CUDA if there is a GPU), "cpu" or "cuda".
        report: Called with messages about progress, lines that are too long and unfit tokenizers.

    Returns:
        Scores, p-values and sentences. With two files the numbers are those of `sacrebleu --paired-bs`.

    Raises:
        UserError: If a system or a file cannot be read, an option is invalid, or the systems have different languages.
    """
    report = report or _ignore
    files, more = as_paths(test), as_paths(references)
    names = names or (_name(first, "A"), _name(second, "B"))
    translators = [_load(system, device) for system in (first, second)]
    loaded = [translator for translator in translators if translator]
    _check_languages(loaded)
    found = read_test(files, loaded[0].bundle.config.data.columns if loaded else (1, 2), more)
    for each in loaded:
        found.check_direction(each.bundle.languages)
    if loaded:
        found = found.normalised()
    _check_size(found)
    language = target_language(loaded[0]) if loaded else None
    scoring = Scoring.prepare(MetricOptions(metrics), tokenizer, found, language, report)
    if COMET in scoring.names:
        raise UserError("compare has no significance test for COMET. Choose from bleu, chrf, chrf++, ter.")
    outputs = []
    for system, translator, name in zip((first, second), translators, names, strict=True):
        if translator:
            report(f"{name} translates {len(found.lines):,} sentences ...")
            outputs.append(translate_test(translator, found, files, options, report))
        else:
            outputs.append(read_translations(Path(str(system)), found))
    source = loaded[0].bundle.languages[0] if loaded else None
    return Comparison(
        systems=names,
        test=found.name,
        languages=(source, found.language or language),
        metrics=_significance(outputs, scoring),
        sentences=_sentences(outputs, scoring),
    )


def _facts(metric: MetricComparison) -> dict[str, Any]:
    return asdict(metric) | {"difference": metric.difference, "is_significant": metric.is_significant}


def _sentence_facts(pair: SentencePair) -> dict[str, Any]:
    return pair._asdict() | {"difference": pair.difference}


def check_page(path: Path, inputs: Sequence[Path]) -> None:
    """Check, before the translation, that a page can be written; raises `UserError` if not."""
    check_output(path, *inputs)


def _load(system: str | Path | Translator, device: str | torch.device) -> Translator | None:
    """Load a system; None for a file of translations."""
    if isinstance(system, Translator):
        return system
    path = Path(system)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder. Give a RUN, a bundle or a file of translations.")
    return Translator.load(path, device) if path.is_dir() else None


def _name(system: str | Path | Translator, letter: str) -> str:
    return f"translator {letter}" if isinstance(system, Translator) else str(system)


def _check_languages(translators: Sequence[Translator]) -> None:
    targets = [translator.bundle.languages[1] for translator in translators]
    if len(targets) == 2 and not same_language(*targets):
        raise UserError(f"A translates to {targets[0]}, B to {targets[1]}: compare systems of one target language.")


def _check_size(test: TestSet) -> None:
    if len(test.lines) > MOST_SENTENCES:
        raise UserError(f"{test.name}: {len(test.lines):,} sentences; compare takes at most {MOST_SENTENCES:,}.")


def _significance(outputs: Sequence[Sequence[str]], scoring: Scoring) -> list[MetricComparison]:
    """Run sacreBLEU's paired bootstrap test with its defaults."""
    metrics = {name: sacrebleu_metric(name, scoring.tokenizer) for name in scoring.names}
    systems = list(zip(LETTERS, outputs, strict=True))
    try:
        test = PairedTest(systems, metrics, scoring.test.references, test_type="bs")
    except ValueError as error:
        raise UserError("the environment variable SACREBLEU_SEED is not a number. Set one, or unset it.") from error
    signatures, scores = test()
    compared = []
    for name, title in zip(scoring.names, signatures, strict=True):  # both in the order of the metrics
        signature, results = str(signatures[title]), [result for result in scores[title] if not isinstance(result, str)]
        first, second = (
            MetricScore(each.score, signature, float(each.mean or 0), float(each.ci or 0)) for each in results
        )
        p_value = float(results[1].p_value or 0)
        compared.append(MetricComparison(name, signature, (first, second), p_value, name in LOWER_IS_BETTER))
    return compared


def _sentences(outputs: Sequence[Sequence[str]], scoring: Scoring) -> list[SentencePair]:
    test = scoring.test
    chrf, bleu = (sacrebleu_metric(name, scoring.tokenizer, for_sentences=True) for name in (CHRF_NAME, BLEU))
    pairs = []
    for index, (line, first, second) in enumerate(zip(test.lines, *outputs, strict=True)):
        references = [texts[index] for texts in test.references]
        scores = [
            tuple(metric.sentence_score(output, references).score for output in (first, second))
            for metric in (chrf, bleu)
        ]
        source = None if test.sources is None else test.sources[index]
        pairs.append(SentencePair(line, source, references, (first, second), scores[0], scores[1]))
    return pairs


def _ignore(message: str) -> None:
    pass
