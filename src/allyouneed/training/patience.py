"""The quality of a model on the validation text: the best validation so far, and patience.

`training.quality` selects the metric. It decides on the best validation, on early stopping and between the candidates
for the final weights. Without translations (`training.bleu_sentences` = 0) it is the loss.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from allyouneed.config import TrainingConfig
from allyouneed.training.planning.schedule import TrainingPlan
from allyouneed.training.step import TrainingState

_NAMES = {"bleu": "BLEU", "chrf": "chrF"}
_NEAR_ZERO = {"bleu": 2.0, "chrf": 15.0}  # scores of models that have not learned to translate yet
_STILL_FALLS = 0.01  # nats per token; smaller changes of the validation loss are noise


def metric_of(training: TrainingConfig) -> str:
    """Return the metric of quality: "bleu", "chrf" or "loss"."""
    return training.quality if training.bleu_sentences else "loss"


def quality_of(scores: Mapping[str, Any], metric: str) -> float:
    """Return the quality of a model, larger is better: BLEU, chrF, or the negative loss.

    A model whose loss is not finite is the worst, whatever its translations.
    """
    if not math.isfinite(scores["loss"]):
        return -math.inf
    return -scores["loss"] if metric == "loss" else scores[metric]


def show_quality(quality: float, metric: str) -> str:
    """Format a quality, for example "BLEU 31.2" or "loss 1.234"."""
    return f"loss {-quality:.3f}" if metric == "loss" else f"{_NAMES[metric]} {quality:.1f}"


def count_validation(state: TrainingState, scores: Mapping[str, Any], metric: str, plan: TrainingPlan) -> bool:
    """Update `state.best` and `state.validations_without_gain`.

    Validations before the end of warm-up do not count, nor do validations at which BLEU or chrF is near zero while the
    loss falls, since translations improve later than the loss.

    Args:
        state: Training state, which is updated.
        scores: `loss` of the validation, and `bleu` and `chrf` if there are translations.
        metric: Metric of quality.
        plan: Plan with the warm-up.

    Returns:
        Whether the validation is the best so far.
    """
    quality, loss = quality_of(scores, metric), scores["loss"]
    is_best = quality > state.best.get("quality", -math.inf)
    begins = quality < _NEAR_ZERO.get(metric, -math.inf)
    is_learning = begins and loss < state.best.get("loss", math.inf) - _STILL_FALLS
    if is_best:
        state.best |= {"step": state.step, "quality": quality}
    if is_best or is_learning or state.step < plan.warmup:
        state.validations_without_gain = 0
        if math.isfinite(loss):
            state.best["loss"] = loss
    else:
        state.validations_without_gain += 1
    return is_best


def is_out_of_patience(state: TrainingState, training: TrainingConfig) -> bool:
    """Return whether `training.patience` is used up."""
    return training.patience is not None and state.validations_without_gain >= training.patience


def describe_early_stop(state: TrainingState, training: TrainingConfig, plan: TrainingPlan) -> str:
    """Describe the end of a run that is out of patience, for example "stopped early at step 30 of 400: ..."."""
    count, metric = state.validations_without_gain, metric_of(training)
    better = "lower loss" if metric == "loss" else f"better {_NAMES[metric]}"
    best = state.best
    value = show_quality(best["quality"], metric).partition(" ")[2] if "quality" in best else ""
    than = f" than {value} at step {best['step']:,}" if value else ""
    return (
        f"stopped early at step {state.step:,} of {plan.steps:,}: {count} validation{'s'[: count > 1]} without a "
        f"{better}{than} (training.patience = {training.patience})"
    )
