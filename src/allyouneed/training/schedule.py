"""Learning rate schedule (section 5.3), and the plan that fixes it for a run.

A plan is made and stored before the first step. A short measurement converts a budget in minutes to a number of steps.
Since the speed of a machine varies, the number is corrected after validations; the corrected plan is stored before it
is used. A resumed run continues with the stored plan.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from allyouneed.config import Config

_AVERAGED_SHARE = 0.1  # share of the steps that is averaged under a budget: the last tenth
_VALIDATIONS = 20
_VALIDATION_SHARE = 0.08  # maximum share of the budget for validations
_VALIDATION_DISTANCE = 15  # minimum number of seconds between validations
_WARMUP_SHARE = 0.08
_RESERVE = 0.02  # share of the time that is kept in reserve
_LAST_CORRECTION = 0.85  # share of the steps after which their number is fixed
_MIN_CHANGE = 0.01  # share of the steps; smaller corrections are skipped


@dataclass(frozen=True)
class TrainingPlan:
    """Values that depend on the time or the number of steps. `run.json` and the log store these fields.

    Attributes:
        steps: Total number of updates.
        warmup: Steps of linear warm-up.
        decay: "inverse_sqrt" or "linear".
        learning_rate: Peak learning rate.
        validate_every: Steps between validations.
        average_every: Steps between snapshots for the average.
        minutes: The user's budget, if any.
        budget: Seconds for all steps and the validations between them, if there is a budget.
        turned_at: Step at which the linear decay was last corrected to end at a different step.
        turned_factor: Learning rate at `turned_at` as a factor of the peak.
    """

    steps: int
    warmup: int
    decay: str
    learning_rate: float
    validate_every: int
    average_every: int
    minutes: float | None = None
    budget: float | None = None
    turned_at: int = 0
    turned_factor: float = 1.0

    def factor(self, step: int) -> float:
        """Compute the learning rate as a factor of its peak: linear warm-up, then 1/√step (5.3) or linear decay.

        Args:
            step: The step, from 1.
        """
        if step < self.warmup:
            return step / self.warmup
        if self.decay == "inverse_sqrt":
            return (self.warmup / step) ** 0.5
        start = max(self.warmup, self.turned_at)
        return max(0.0, self.turned_factor * (self.steps - step) / max(1, self.steps - start))

    def in_time(self, step: int, seconds: float) -> TrainingPlan:
        """Correct the number of steps to fit the budget, extrapolating the speed so far.

        The linear decay continues from the current learning rate. There is no correction during warm-up and in the last
        part of training.

        Args:
            step: Number of steps so far.
            seconds: Training time so far.

        Returns:
            The corrected plan, or this plan if no correction is needed.
        """
        if self.budget is None or not self.warmup <= step <= _LAST_CORRECTION * self.steps:
            return self
        steps = max(int(step * self.budget / seconds), int(step / _LAST_CORRECTION))
        if abs(steps - self.steps) < _MIN_CHANGE * self.steps:
            return self
        return replace(self, steps=steps, turned_at=step, turned_factor=self.factor(step))

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary, as `run.json` and the log store it."""
        return asdict(self)


class Speed(NamedTuple):
    """Wall-clock seconds per update, per validation, and for the final scoring."""

    step_seconds: float
    validation_seconds: float
    final_seconds: float


@lru_cache(maxsize=8)
def snapshot_steps(steps: int, count: int) -> frozenset[int]:
    """Choose the steps whose weights are kept: evenly spaced on a square-root scale, dense where heads form.

    Args:
        steps: Total number of updates.
        count: Number of snapshots: the initial weights, the last ones, and others between them; 1 for the last alone.

    Returns:
        At most `count` steps from 0 to `steps`.
    """
    if count == 1:
        return frozenset([steps])
    return frozenset(round(steps * (i / (count - 1)) ** 2) for i in range(count))


def paper_peak(d_model: int, warmup: int) -> float:
    """Compute d_model^-0.5 · warmup^-0.5, the maximum of equation 3, reached at the end of warm-up."""
    return (d_model * warmup) ** -0.5


def plan_for_steps(config: Config, explicit: Collection[str] = ()) -> TrainingPlan:
    """Make the plan for a fixed number of steps.

    With linear decay, a recipe's warm-up is shortened to a quarter of the steps; an explicit warm-up is kept.

    Args:
        config: The settings.
        explicit: Settings that the user gave, see `request.explicit_settings`.
    """
    training = config.training
    shortens = training.decay == "linear" and "training.warmup" not in explicit
    longest_warmup = max(1, training.steps // 4) if shortens else training.warmup
    return TrainingPlan(
        steps=training.steps,
        warmup=min(training.warmup, longest_warmup),
        decay=training.decay,
        learning_rate=training.learning_rate or paper_peak(config.model.d_model, training.warmup),
        validate_every=training.validate_every,
        average_every=training.average_every,
    )


def plan_for_minutes(
    config: Config,
    seconds_left: float,
    speed: Speed,
    explicit: Collection[str] = (),
) -> TrainingPlan:
    """Plan as many steps as fit into the budget besides validations and the final scoring, with a decay to zero.

    Warm-up and averaging are shortened for a small budget; the peak learning rate is the recipe's.

    Args:
        config: The settings.
        seconds_left: Remaining seconds of the budget.
        speed: The measured speed.
        explicit: Settings that the user gave, which are not changed, see `request.explicit_settings`.
    """
    training = config.training
    affordable = min(_VALIDATION_SHARE * seconds_left / speed.validation_seconds, seconds_left / _VALIDATION_DISTANCE)
    validations = max(2, min(_VALIDATIONS, int(affordable)))
    budget = (1 - _RESERVE) * (seconds_left - speed.final_seconds)
    steps = max(10, int((budget - validations * speed.validation_seconds) / speed.step_seconds))
    planned: dict[str, Any] = {
        "warmup": max(1, min(training.warmup, int(_WARMUP_SHARE * steps))),
        "decay": "linear",
        "validate_every": max(1, -(-steps // validations)),
        "average_every": max(1, int(_AVERAGED_SHARE * steps / training.average)),
    }
    planned |= {name: getattr(training, name) for name in planned if f"training.{name}" in explicit}
    peak = training.learning_rate or paper_peak(config.model.d_model, training.warmup)
    return TrainingPlan(steps=steps, learning_rate=peak, minutes=training.minutes, budget=max(1.0, budget), **planned)
