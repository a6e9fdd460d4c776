"""How good translations are, by sacreBLEU, never without the signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from allyouneed.data.tokenizer import to_nfc
from allyouneed.errors import UserError


@dataclass(frozen=True)
class Scores:
    """bleu, chrf: 0 to 100; exact_match: the share of sentences translated as the reference, in percent."""

    sentences: int
    bleu: float
    chrf: float
    exact_match: float
    bleu_signature: str
    chrf_signature: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def score(
    translations: Sequence[str], references: Sequence[str], tokenized: bool = False, tokenize: str = "13a"
) -> Scores:
    """Corpus BLEU (Papineni et al. 2002) and chrF2 (Popović 2015) against one reference, both in Unicode's form NFC.

    `tokenized`: both sides are tokenised already, the metric does not tokenise again. `tokenize`: sacreBLEU's
    tokeniser, for example "zh", "ja-mecab", "ko-mecab" or "char" for languages without spaces. Errors: `UserError` as
    `bleu_metric`.
    """
    bleu, chrf = bleu_metric(tokenized, tokenize), CHRF()
    said, meant = ([to_nfc(text) for text in texts] for texts in (translations, references))
    bleu_score, chrf_score = (metric.corpus_score(said, [meant]) for metric in (bleu, chrf))
    same = sum(one == other for one, other in zip(said, meant, strict=True))
    return Scores(
        sentences=len(references),
        bleu=bleu_score.score,
        chrf=chrf_score.score,
        exact_match=100 * same / max(1, len(references)),
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )


def bleu_metric(tokenized: bool = False, tokenize: str = "13a") -> BLEU:
    """sacreBLEU's BLEU. Errors: `UserError` for a tokeniser that does not exist, is not installed, or is not wanted."""
    if tokenized and tokenize != "13a":
        raise UserError(f"tokenizer {tokenize}: tokenised text is not tokenised again. Leave one of the two out.")
    try:
        return BLEU(tokenize="none" if tokenized else tokenize, force=True)
    except KeyError as error:
        raise UserError(f"tokenizer {tokenize}: sacreBLEU has {', '.join(BLEU.TOKENIZERS)}.") from error
    except (RuntimeError, ImportError, ValueError) as error:
        raise UserError(f"tokenizer {tokenize}: {' '.join(str(error).split())}") from error
