"""Corpus scores by sacreBLEU with their signatures: BLEU, chrF, chrF++ and TER; COMET by its own package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from allyouneed.data.tokens.tokenizer import to_nfc
from allyouneed.errors import UserError
from allyouneed.suggest import did_you_mean
from allyouneed.translation.evaluation.bleu_tokenizers import DEFAULT, bleu_metric, for_text

BLEU, CHRF_NAME, CHRF_PLUS, TER_NAME, COMET = "bleu", "chrf", "chrf++", "ter", "comet"
METRICS = {BLEU: "BLEU", CHRF_NAME: "chrF", CHRF_PLUS: "chrF++", TER_NAME: "TER", COMET: "COMET"}  # titles by name
DEFAULT_METRICS = (BLEU, CHRF_NAME)
LOWER_IS_BETTER = frozenset({TER_NAME})
_RESAMPLES = 1000  # sacreBLEU's default


@dataclass(frozen=True)
class MetricScore:
    """A score of one metric.

    Attributes:
        score: The score, 0 to 100 (TER: 0 is best, and more than 100 is possible; COMET: about 0 to 1).
        signature: sacreBLEU's signature: everything that the score depends on.
        mean: Mean over bootstrap resamples; None if none were drawn.
        interval: Half the width of the 95 % confidence interval around the mean; None without resamples.
    """

    score: float
    signature: str
    mean: float | None = None
    interval: float | None = None


@dataclass(frozen=True)
class CorpusScores:
    """Scores of a translated test set.

    Attributes:
        sentences: Number of sentences.
        exact_match: Percentage of translations that equal a reference.
        metrics: Scores by name: "bleu", "chrf", "chrf++", "ter", "comet".
        directions: Scores of each direction of a multilingual model, by name; empty for one direction.
    """

    sentences: int
    exact_match: float
    metrics: Mapping[str, MetricScore] = field(default_factory=dict)
    directions: Mapping[str, CorpusScores] = field(default_factory=dict)

    @property
    def bleu(self) -> float:
        """Corpus BLEU, 0 to 100; `KeyError` if BLEU was not computed."""
        return self.metrics[BLEU].score

    @property
    def chrf(self) -> float:
        """Corpus chrF2, 0 to 100; `KeyError` if chrF was not computed."""
        return self.metrics[CHRF_NAME].score

    @property
    def bleu_signature(self) -> str:
        """sacreBLEU's signature of the BLEU score."""
        return self.metrics[BLEU].signature

    @property
    def chrf_signature(self) -> str:
        """sacreBLEU's signature of the chrF score."""
        return self.metrics[CHRF_NAME].signature

    def as_dict(self) -> dict[str, Any]:
        """Return the scores and signatures by name, for JSON."""
        scores = {name: each.score for name, each in self.metrics.items()}
        signatures = {f"{name}_signature": each.signature for name, each in self.metrics.items()}
        resampled = {name: each for name, each in self.metrics.items() if each.mean is not None}
        means = {f"{name}_mean": each.mean for name, each in resampled.items()}
        intervals = {f"{name}_interval": each.interval for name, each in resampled.items()}
        return {
            "sentences": self.sentences,
            **scores,
            "exact_match": self.exact_match,
            **signatures,
            **means,
            **intervals,
            **self.by_direction(),
        }

    def by_direction(self) -> dict[str, float]:
        """Return the scores of each direction of a multilingual model, for example {"bleu de→en": 31.2}."""
        return {
            f"{metric} {name}": each.score
            for name, scores in self.directions.items()
            for metric, each in scores.metrics.items()
        }

    def lines(self) -> list[str]:
        """Return readable lines, one per metric, and one for exact matches."""
        lines = [metric_line(name, each) for name, each in self.metrics.items()]
        return [*lines, f"exact match {self.exact_match:.1f} %  of {self.sentences:,} sentences"]


def mean_scores(directions: Mapping[str, CorpusScores]) -> CorpusScores:
    """Return the means of the scores of several directions.

    Args:
        directions: Scores with the same metrics by the name of the direction, at least one.
    """
    each = list(directions.values())
    metrics = {
        name: MetricScore(
            sum(scores.metrics[name].score for scores in each) / len(each),
            " / ".join(dict.fromkeys(scores.metrics[name].signature for scores in each)),
        )
        for name in each[0].metrics
    }
    exact_match = sum(scores.exact_match for scores in each) / len(each)
    return CorpusScores(sum(scores.sentences for scores in each), exact_match, metrics, directions)


def metric_line(name: str, score: MetricScore) -> str:
    """Format a score, its confidence interval and its signature."""
    digits = 4 if name == COMET else 2
    interval = "" if score.mean is None else f" (μ = {score.mean:.{digits}f} ± {score.interval:.{digits}f})"
    better = "  (lower is better)" if name in LOWER_IS_BETTER else ""
    return f"{METRICS[name]} {score.score:.{digits}f}{interval}  {score.signature}{better}"


def metric_names(metrics: str | Sequence[str]) -> list[str]:
    """Return the names of metrics, given as a list or as text such as "bleu,chrf,ter".

    Raises:
        UserError: If a name is unknown, or there is none.
    """
    given = [metrics] if isinstance(metrics, str) else metrics
    names = list(dict.fromkeys(name.strip().lower() for text in given for name in text.split(",") if name.strip()))
    if not names:
        raise UserError(f"no metric is named. Choose from {', '.join(METRICS)}.")
    for name in names:
        if name not in METRICS:
            raise UserError(f"metric {name}{did_you_mean(name, METRICS)} Choose from {', '.join(METRICS)}.")
    return names


def sacrebleu_metric(name: str, tokenize: str = DEFAULT, for_sentences: bool = False) -> Metric:
    """Make a metric of sacreBLEU with the defaults of its command line.

    Args:
        name: "bleu", "chrf", "chrf++" or "ter".
        tokenize: BLEU's tokenizer, see `bleu_tokenizers.choose_tokenizer`.
        for_sentences: Whether it scores single sentences: BLEU leaves out n-gram orders without a match.

    Raises:
        UserError: As for `bleu_metric`.
    """
    if name == BLEU:
        return bleu_metric(tokenize, effective_order=for_sentences)
    return TER() if name == TER_NAME else CHRF(word_order=2 if name == CHRF_PLUS else 0)


def score_corpus(
    translations: Sequence[str],
    references: Sequence[Sequence[str]],
    metrics: Mapping[str, Metric],
    confidence: bool = False,
) -> CorpusScores:
    """Compute corpus scores as the command line of sacreBLEU does; the text is taken as it is.

    Args:
        translations: Translations, one per sentence.
        references: One or several references: [reference][sentence].
        metrics: Metrics by name.
        confidence: Whether to estimate confidence intervals by bootstrap resampling (Koehn 2004).
    """
    found = {}
    for name, metric in metrics.items():
        score = metric.corpus_score(translations, references, n_bootstrap=_RESAMPLES if confidence else 1)
        resampled = (float(score._mean), float(score._ci)) if confidence else (None, None)
        found[name] = MetricScore(score.score, str(metric.get_signature()), *resampled)
    return CorpusScores(len(translations), exact_match(translations, references), found)


def exact_match(translations: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the percentage of translations that equal a reference."""
    matches = sum(
        output in targets for output, targets in zip(translations, zip(*references, strict=True), strict=True)
    )
    return 100 * matches / max(1, len(translations))


def corpus_scores(
    translations: Sequence[str], references: Sequence[str], tokenized: bool = False, tokenize: str = DEFAULT
) -> CorpusScores:
    """Compute corpus BLEU (Papineni et al. 2002) and chrF2 (Popović 2015) against one reference.

    Args:
        translations: Translations, one per sentence; translations and references are normalised to Unicode NFC.
        references: References in the same order.
        tokenized: Whether both sides are already tokenized, so that BLEU must not tokenize them again.
        tokenize: sacreBLEU's tokenizer, see `bleu_tokenizers.choose_tokenizer`.

    Raises:
        UserError: If the tokenizer is unknown or not installed, or is given for tokenized text.
    """
    tokenizer = for_text(tokenized, tokenize)
    metrics = {name: sacrebleu_metric(name, tokenizer) for name in DEFAULT_METRICS}
    outputs, targets = ([to_nfc(text) for text in texts] for texts in (translations, references))
    return score_corpus(outputs, [targets], metrics)
