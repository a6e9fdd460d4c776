"""Corpus BLEU and chrF by sacreBLEU, with their signatures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sacrebleu.metrics.chrf import CHRF

from allyouneed.data.tokenizer import to_nfc
from allyouneed.translation.bleu_tokenizers import DEFAULT, bleu_metric


@dataclass(frozen=True)
class CorpusScores:
    """Scores of a translated test set.

    Attributes:
        sentences: Number of sentences.
        bleu: Corpus BLEU, 0 to 100.
        chrf: Corpus chrF2, 0 to 100.
        exact_match: Percentage of translations that equal their reference.
        bleu_signature: sacreBLEU's signature of the BLEU score.
        chrf_signature: sacreBLEU's signature of the chrF score.
    """

    sentences: int
    bleu: float
    chrf: float
    exact_match: float
    bleu_signature: str
    chrf_signature: str

    def as_dict(self) -> dict[str, Any]:
        """Return the scores by name, for JSON."""
        return asdict(self)


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
    bleu, chrf = bleu_metric(tokenized, tokenize), CHRF()
    outputs, targets = ([to_nfc(text) for text in texts] for texts in (translations, references))
    bleu_score, chrf_score = (metric.corpus_score(outputs, [targets]) for metric in (bleu, chrf))
    matches = sum(output == target for output, target in zip(outputs, targets, strict=True))
    return CorpusScores(
        sentences=len(references),
        bleu=bleu_score.score,
        chrf=chrf_score.score,
        exact_match=100 * matches / max(1, len(references)),
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )
