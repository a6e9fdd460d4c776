"""Numbers that go wrong: gradients that are not finite, and training that diverges.

An update with a gradient that is NaN or infinite is skipped before the optimizer sees it: one such value would spread
to all weights. After several in a row, the weights or the settings are at fault, and training stops with a diagnosis.
Finite losses above that of a uniform distribution over the vocabulary, or far above the lowest, are reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from allyouneed.config import TrainingConfig

if TYPE_CHECKING:
    from allyouneed.training.planning.schedule import TrainingPlan
    from allyouneed.training.reporting.log import RunLog
    from allyouneed.training.step import TrainingState

_MEMORY = 0.9  # decay of the smoothed training loss
_FAR_ABOVE = 1.0  # nats per token above the lowest smoothed loss: batches differ by less
_GRACE = 0.1  # share of the steps after warm-up in which a falling loss may still be above ln(vocabulary)


@dataclass
class Health:
    """What is known about the course of a training run. Part of checkpoints.

    Attributes:
        skipped: Number of updates that were skipped because the gradient was not finite.
        skipped_in_a_row: Number of skipped updates since the last one that was not.
        smoothed: Exponentially smoothed training loss (negative log-likelihood) in nats per token; None before step 1.
        lowest: Lowest value of `smoothed`.
        diverged_at: Step at which divergence was reported; None if training has not diverged, or has recovered.
    """

    skipped: int = 0
    skipped_in_a_row: int = 0
    smoothed: float | None = None
    lowest: float | None = None
    diverged_at: int | None = None

    def add(self, nll: float, skipped: bool) -> None:
        """Take an update into account."""
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        self.skipped += skipped
        if not skipped:
            self.smoothed = nll if self.smoothed is None else _MEMORY * self.smoothed + (1 - _MEMORY) * nll
            self.lowest = self.smoothed if self.lowest is None else min(self.lowest, self.smoothed)

    @property
    def has_risen(self) -> bool:
        """Whether the smoothed loss is far above its lowest value; a model that never learned stays near it."""
        return self.smoothed is not None and self.lowest is not None and self.smoothed > self.lowest + _FAR_ABOVE

    @property
    def verdict(self) -> str:
        """What to call a loss for which `divergence` returns a description."""
        return "training has diverged" if self.has_risen else "the model has not learned to translate"

    def divergence(self, step: int, warmup: int, steps: int, vocab_size: int) -> str:
        """Describe the training loss if training has diverged or the model has not learned; return "" otherwise.

        Args:
            step: Number of steps so far.
            warmup: Steps of warm-up, in which nothing is reported.
            steps: Planned number of steps.
            vocab_size: Number of tokens in the vocabulary.
        """
        if self.smoothed is None or self.lowest is None or step < warmup:
            return ""
        chance, rises = math.log(vocab_size), self.has_risen
        if self.smoothed > chance and (rises or step >= warmup + _GRACE * (steps - warmup)):
            return f"the training loss is {self.smoothed:.4g}, above ln(vocabulary) = {chance:.2f}, a random guess"
        return f"the training loss rose from {self.lowest:.4g} to {self.smoothed:.4g}" if rises else ""

    def summary(self, training: TrainingConfig) -> str:
        """Describe what went wrong and the remedy, to append to the last line of a run; empty if all went well."""
        counted = "1 update was" if self.skipped == 1 else f"{self.skipped:,} updates were"
        skipped = f"; {counted} skipped, because the loss or the gradient was not finite" if self.skipped else ""
        if self.diverged_at is None:
            return skipped
        return f"{skipped}; {self.verdict} (reported at step {self.diverged_at:,}). {advice(training, self.has_risen)}"


def report_divergence(
    log: RunLog, state: TrainingState, training: TrainingConfig, plan: TrainingPlan, vocab_size: int
) -> None:
    """Log and show that training has diverged, or that it has recovered, once each.

    Args:
        log: Log of the run.
        state: Training state.
        training: Training settings.
        plan: Plan of the run.
        vocab_size: Number of tokens in the vocabulary.
    """
    health, step = state.health, state.step
    reason = health.divergence(step, plan.warmup, plan.steps, vocab_size)
    if reason and health.diverged_at is None:
        health.diverged_at = step
        remedy = advice(training, health.has_risen)
        log.record("diverged" if health.has_risen else "not_learned", step=step, why=reason, remedy=remedy)
        log.show(f"step {step:,}: {health.verdict}: {reason}. {remedy}")
    elif not reason and health.diverged_at is not None:
        health.diverged_at = None
        log.record("recovered", step=step)
        log.show(f"step {step:,}: the training loss has recovered")


def validation_warning(loss: float, health: Health, vocab_size: int) -> str:
    """Explain a validation loss above that of a random guess; empty for a lower loss."""
    chance = math.log(vocab_size)
    if loss <= chance:
        return ""
    text = f"the validation loss is {loss:.4g}, above ln(vocabulary) = {chance:.2f}, a random guess"
    if health.smoothed is not None and health.smoothed < chance:
        return f"{text}, the training loss is {health.smoothed:.3g}: the model fits the training text only"
    return text


def advice(training: TrainingConfig, has_risen: bool = True) -> str:
    """Return what to do after a divergence, or if the loss has never fallen."""
    rates = "training.learning_rate" + (" and training.matrix_learning_rate" if training.optimizer == "muon" else "")
    if not has_risen:
        return f"Train longer, or start again with another --out and another {rates}."
    clip = "" if training.clip_norm else " or training.clip_norm=1"
    return f"Start again with another --out and a lower {rates}, a longer training.warmup{clip}."
