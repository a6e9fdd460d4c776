"""Evaluation of a translator, or of a file of translations, on a test set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from allyouneed.data.tokens.tokenizer import to_nfc
from allyouneed.errors import UserError
from allyouneed.files import TextFiles, as_paths, check_output
from allyouneed.translation.evaluation.bleu_tokenizers import AUTO, choose_tokenizer, ter_remark, unfit_remark
from allyouneed.translation.evaluation.comet import DEFAULT_MODEL, CometMetric
from allyouneed.translation.evaluation.data import TestSet, read_test, read_translations
from allyouneed.translation.evaluation.metrics import (
    BLEU,
    COMET,
    DEFAULT_METRICS,
    TER_NAME,
    CorpusScores,
    metric_names,
    sacrebleu_metric,
    score_corpus,
)
from allyouneed.translation.line_translation import LineProgress, translate_lines
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.text_files import write_lines
from allyouneed.translation.translator import Translator


@dataclass(frozen=True)
class MetricOptions:
    """Metrics and how they are computed.

    Attributes:
        names: Names, see `metrics.METRICS`, as a list or as text such as "bleu,chrf,ter".
        confidence: Whether to estimate 95 % confidence intervals by 1,000 bootstrap resamples.
        comet_model: Path of a COMET checkpoint, or the name of a model that is already downloaded.
    """

    names: str | Sequence[str] = DEFAULT_METRICS
    confidence: bool = False
    comet_model: str = DEFAULT_MODEL


def metric_options(names: Sequence[str] | None, confidence: bool, comet_model: str | None) -> MetricOptions:
    """Make the options from those of the command line, where None stands for the default."""
    return MetricOptions(names or DEFAULT_METRICS, confidence, comet_model or DEFAULT_MODEL)


def evaluate(
    run: str | Path | Sequence[str | Path] | Translator | None = None,
    test: TextFiles = (),
    options: SearchOptions | None = None,
    *,
    hypothesis: str | Path | None = None,
    references: TextFiles = (),
    metrics: str | Sequence[str] | MetricOptions = DEFAULT_METRICS,
    tokenizer: str = AUTO,
    output: str | Path | None = None,
    device: str | torch.device = "auto",
    report: Callable[[str], None] | None = None,
) -> CorpusScores:
    """Translate a test set and compute its scores, or score a file of translations, as `allyouneed evaluate` does.

    Args:
        run: A RUN, a bundle, several of them as an ensemble, or a loaded translator; None with `hypothesis`.
        test: A source and one or several references, as plain text files; one TSV; or a test set of sacreBLEU by name,
            for example "wmt14/en-de", if its files are on this machine.
        options: Search options; None means the bundle's settings.
        hypothesis: Plain file with translations of the test set, one per line, to score instead of a run's.
        references: Plain files of further references; of all references if `test` is the source alone, or is omitted.
        metrics: Names of metrics, as a list or as text such as "bleu,chrf,ter", or `MetricOptions`.
        tokenizer: sacreBLEU's tokenizer for BLEU, for example "13a", "zh" or "char"; "none" for tokenized text; "auto"
            follows the target language.
        output: File to write the translations to.
        device: Device of the model: "auto" (CUDA if there is a GPU), "cpu" or "cuda".
        report: Called with messages about progress, lines that are too long and unfit tokenizers.

    Returns:
        The scores with sacreBLEU's signatures. For a file of translations they are those of sacreBLEU's command line;
        for a model, whose translations are in Unicode NFC, the references are normalised to NFC.

    Raises:
        UserError: If the run or a file cannot be read or written, a line is broken, or an option is invalid.
    """
    if not isinstance(options, SearchOptions | None):
        raise TypeError(f"options must be a SearchOptions or None, not {type(options).__name__}")
    if (run is None) == (hypothesis is None):
        raise UserError("give either a RUN to translate with, or a file of translations (--hypothesis FILE).")
    wanted = metrics if isinstance(metrics, MetricOptions) else MetricOptions(metrics)
    report = report or _ignore
    files, more = as_paths(test), as_paths(references)
    if output:
        check_output(Path(output), *files, *more)
    translator = load_translator(run, device) if run is not None else None
    columns = translator.bundle.config.data.columns if translator else (1, 2)
    found = read_test(files, columns, more, translator.bundle.languages if translator else None, report)
    if translator:
        found.check_direction(translator.bundle.languages)
        found = found.normalised()
    scoring = Scoring.prepare(wanted, tokenizer, found, target_language(translator), report)
    if translator:
        translations = translate_test(translator, found, files, options, report)
    else:
        translations = read_translations(Path(hypothesis or ""), found)
    if output:
        write_lines(Path(output), translations)
    return scoring.score(translations)


@dataclass(frozen=True)
class Scoring:
    """Metrics that are ready to score translations of a test set."""

    test: TestSet
    names: list[str]
    tokenizer: str
    confidence: bool
    comet: CometMetric | None

    @classmethod
    def prepare(
        cls, options: MetricOptions, tokenizer: str, test: TestSet, language: str | None, report: Callable[[str], None]
    ) -> Scoring:
        """Check everything that could fail after a long translation, and report what the user should know.

        Args:
            options: The metrics.
            tokenizer: Tokenizer for BLEU, or "auto".
            test: The test set.
            language: Code of the target language, if the test set has none.
            report: Receives remarks about the tokenizer.

        Raises:
            UserError: If a metric is unknown or not installed, or needs sources that the test set lacks.
        """
        names = metric_names(options.names)
        chosen = choose_tokenizer(tokenizer, test.language or language, test.references[0])
        for name in names:
            if name != COMET:
                sacrebleu_metric(name, chosen.name)
        if COMET in names and test.sources is None:
            raise UserError("COMET needs the source sentences: give them with --test.")
        remarks = [chosen.remark, unfit_remark(chosen.name, test.references[0])] if BLEU in names else []
        remarks += [ter_remark(test.references[0])] if TER_NAME in names else []
        for line in filter(None, remarks):
            report(line)
        comet = CometMetric(options.comet_model) if COMET in names else None
        return cls(test, names, chosen.name, options.confidence, comet)

    def score(self, translations: Sequence[str]) -> CorpusScores:
        """Score the translations of the test set."""
        sacrebleu = {name: sacrebleu_metric(name, self.tokenizer) for name in self.names if name != COMET}
        scores = score_corpus(translations, self.test.references, sacrebleu, self.confidence)
        if not self.comet:
            return scores
        learned = self.comet.score(self.test.sources or (), translations, self.test.references)
        found = {name: learned if name == COMET else scores.metrics[name] for name in self.names}
        return CorpusScores(scores.sentences, scores.exact_match, found)


def load_translator(run: str | Path | Sequence[str | Path] | Translator, device: str | torch.device) -> Translator:
    """Load a RUN, a bundle or an ensemble; a translator is returned as it is."""
    return run if isinstance(run, Translator) else Translator.load(run, device)


def target_language(translator: Translator | None) -> str | None:
    """Return the code of a translator's target language."""
    return translator.bundle.languages[1] if translator else None


def translate_test(
    translator: Translator,
    test: TestSet,
    files: Sequence[Path],
    options: SearchOptions | None,
    report: Callable[[str], None],
) -> list[str]:
    """Translate the sources of a test set.

    Args:
        translator: The translator.
        test: The test set.
        files: Its files, for messages.
        options: Search options; None means the bundle's settings.
        report: Called with messages about progress and about lines that are too long.

    Raises:
        UserError: If the test set has no sources.
    """
    if test.sources is None:
        raise UserError("a RUN needs source sentences: give them with --test.")
    options = (options or SearchOptions()).replace({"return_scores": False})
    count = len(test.sources)
    progress, translations = LineProgress(report, lambda: count), list[str]()
    lines: Iterator[tuple[int, str]] = zip(test.lines, test.sources, strict=True)
    for _, block in translate_lines(translator, lines, files[0], options, report):
        translations += [to_nfc(translation.text) for _, translation in block]
        progress.update(len(translations))
    return translations


def _ignore(message: str) -> None:
    pass
