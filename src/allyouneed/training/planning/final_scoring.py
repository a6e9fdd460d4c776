"""Scope and duration of the final scoring, estimated from a validation and a sample of beam search."""

from __future__ import annotations

from allyouneed.bundle import Bundle
from allyouneed.training.planning.clock import Now
from allyouneed.training.validation import ValidationSet, validation_scores

FINAL_SENTENCES = 2000  # validation sentences scored with beam search at the end
_FEWEST_SENTENCES = 100
_SHARE = 0.03  # maximum share of a budget for beam search on them, so that a slow moment at the end costs little time
_SAMPLED = 64  # sentences whose beam search is timed
_REFERENCES = 60  # sentences of reference outputs, each translated twice
_FILES = 1.5  # seconds for the bundle, the report and the end of the process (benchmarks/budget.py)


def plan_final(per_sentence: float, available: int, validation_seconds: float, budget: float) -> float:
    """Estimate the seconds for everything at the end: both candidates, the final score, reference outputs, files.

    Args:
        per_sentence: Seconds of beam search per sentence.
        available: Number of validation sentences.
        validation_seconds: Duration of a validation.
        budget: Seconds of the budget, of which beam search takes at most 3 %, if that suffices for 100 sentences.
    """
    affordable = max(_FEWEST_SENTENCES, int(_SHARE * budget / max(1e-9, per_sentence)))
    sentences = min(FINAL_SENTENCES, available, affordable)
    translated = min(_SAMPLED, available) + sentences + 2 * min(_REFERENCES, available)
    return 2 * validation_seconds + per_sentence * translated + _FILES


def affordable_sentences(per_sentence: float, seconds: float) -> int:
    """Return the number of sentences to score in the time that is left before the end, reference outputs included."""
    affordable = int(max(0.0, seconds - _FILES) / max(1e-9, per_sentence)) - 2 * _REFERENCES
    return max(_FEWEST_SENTENCES, min(FINAL_SENTENCES, affordable))


def time_beam_search(bundle: Bundle, valid: ValidationSet, now: Now) -> float:
    """Measure the seconds of beam search per sentence on a few validation sentences."""
    sampled, started = min(_SAMPLED, len(valid.texts)), now()
    validation_scores(bundle, valid, sampled, bundle.config.search.beam_size)
    return (now() - started) / sampled
