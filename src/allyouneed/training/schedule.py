"""The learning rate over the steps (section 5.3), and the plan that fixes it for a run.

A plan is made before the first step, and stored. A budget in minutes becomes steps by a short measurement; since a
processor is faster or slower half an hour later, validations correct their number, which is stored before what follows.
Resuming goes on with the stored plan.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from allyouneed.config import Config

_AVERAGED_SHARE = 0.1  # of a budgeted run: the last tenth is averaged
_VALIDATIONS = 20
_VALIDATION_SHARE = 0.08  # of the budget at most
_VALIDATION_DISTANCE = 15  # seconds, at least
_WARMUP_SHARE = 0.08
_KEPT_FREE = 0.02  # of the time for steps
_CORRECTED = 0.85  # of the steps: then their number stands
_LEAST_CHANGE = 0.01


@dataclass(frozen=True)
class TrainingPlan:
    """All that depends on time or on the number of steps. Learning rates are factors of their peak, see `factor`.

    budget: seconds for all steps and the validations between them, where minutes were given; turned_at, turned_factor:
    where the line to zero was turned, to end at another step than planned before.
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
        """The share of the peak rate at a step (from 1): linear warm-up, then 1/√step (5.3) or a line to zero."""
        if step < self.warmup:
            return step / self.warmup
        if self.decay == "inverse_sqrt":
            return (self.warmup / step) ** 0.5
        begin = max(self.warmup, self.turned_at)
        return max(0.0, self.turned_factor * (self.steps - step) / max(1, self.steps - begin))

    def in_time(self, step: int, seconds: float) -> TrainingPlan:
        """As many steps as the budget has room for, if all go as those so far, up to this one, which took `seconds`.

        The line to zero goes on from where it is. Nothing changes before warm-up has ended and in the last part.
        """
        if self.budget is None or not self.warmup <= step <= _CORRECTED * self.steps:
            return self
        steps = max(int(step * self.budget / seconds), int(step / _CORRECTED))
        if abs(steps - self.steps) < _LEAST_CHANGE * self.steps:
            return self
        return replace(self, steps=steps, turned_at=step, turned_factor=self.factor(step))

    def as_dict(self) -> dict[str, Any]:
        """As `run.json` and the log have it."""
        return asdict(self)


class Speed(NamedTuple):
    """Wall-clock seconds of an update, of a validation, and of the scoring at the end."""

    step_seconds: float
    validation_seconds: float
    final_seconds: float


def paper_peak(d_model: int, warmup: int) -> float:
    """d_model^-0.5 · warmup^-0.5: the highest value of the paper's schedule, reached when warm-up ends."""
    return (d_model * warmup) ** -0.5


def plan_for_steps(config: Config) -> TrainingPlan:
    """The recipe as it stands; but where the rate falls to zero, it first rises for a quarter of the steps at most."""
    training = config.training
    longest_warmup = max(1, training.steps // 4) if training.decay == "linear" else training.warmup
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
    """As many steps as fit into what is left of the budget, decaying to zero, beside validations and a final scoring.

    Warm-up and averaging shrink with a small budget; the peak learning rate stays the recipe's. Settings that the user
    gave one by one (`explicit`, as "training.warmup") hold.
    """
    training = config.training
    affordable = min(_VALIDATION_SHARE * seconds_left / speed.validation_seconds, seconds_left / _VALIDATION_DISTANCE)
    validations = max(2, min(_VALIDATIONS, int(affordable)))
    budget = (1 - _KEPT_FREE) * (seconds_left - speed.final_seconds)
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
