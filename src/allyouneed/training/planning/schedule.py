"""Learning rate schedule (section 5.3), and the plan that fixes it for a run.

A plan is made and stored before the first step. Under a budget of minutes, `pacing.py` plans again during the training,
since the speed of a machine varies. Each new plan is stored before it is used, and earlier plans are kept, so that a
resumed run repeats its steps exactly.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field

from allyouneed.config import Config, TrainingConfig

Positive = Annotated[int, Field(strict=True, ge=1, le=10**10)]
_Step = Annotated[int, Field(strict=True, ge=0, le=10**10)]
_AVERAGED_SHARE = 0.1  # share of the steps that is averaged under a budget: the last tenth
_VALIDATIONS = 20
_VALIDATION_SHARE = 0.08  # maximum share of the budget for validations
_VALIDATION_DISTANCE = 15  # minimum number of seconds between validations
_COSTLY = 0.125  # share of the budget above which there is no validation but the last
_WARMUP_SHARE = 0.08
_MIN_WARMUP = 10  # steps of warm-up, if the run is at least four times as long
_MIN_STEPS = 10
_MIN_DECAY = 0.1  # minimum length of a decay from the peak to zero, as a share of the steps so far
_MIN_TRAINING = 0.25  # share of the minutes for training that neither preparation nor final scoring may use
_MIN_CHANGE = 0.01  # share of the remaining steps; smaller corrections are skipped
_RESERVE = 0.005  # share of the budget that is kept in reserve
_REWARM_SHARE = 0.05  # share of the additional steps in which an extended run returns to a higher learning rate
_ADAPTED = ("warmup", "validate_every", "average_every")  # settings that a budget scales, unless the user set them


@dataclass(frozen=True)
class TrainingPlan:
    """Values that depend on the time or the number of steps. `run.json` and the log store these fields.

    Attributes:
        steps: Total number of updates.
        warmup: Step at which linear warm-up ends.
        decay: "inverse_sqrt" or "linear".
        learning_rate: Peak learning rate.
        validate_every: Steps between validations.
        average_every: Steps between snapshots for the average.
        minutes: The user's budget, if any.
        budget: Seconds from the first step to the end of the run, final scoring included, if there is a budget.
        turned_at: Step at which this plan replaced an earlier one; 0 for the first plan.
        turned_factor: Learning rate at `turned_at` as a factor of the peak.
        top: Factor at the end of warm-up: 1, or less in an extended run.
        validate_from: Step from which `validate_every` is counted.
        validation_cost: Time of a validation, in steps; 0 without a budget.
        final_cost: Time of the final scoring, in steps; 0 without a budget.
        fixed: Settings of a plan that the user set, for example "warmup", which stay as they are.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # of a stored plan

    steps: Positive
    warmup: Positive
    decay: Literal["inverse_sqrt", "linear"]
    learning_rate: float
    validate_every: Positive
    average_every: Positive
    minutes: float | None = None
    budget: float | None = None
    turned_at: _Step = 0
    turned_factor: float = 1.0
    top: float = 1.0
    validate_from: _Step = 0
    validation_cost: float = 0.0
    final_cost: float = 0.0
    fixed: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixed", tuple(self.fixed))  # JSON has lists only

    def factor(self, step: int) -> float:
        """Compute the learning rate as a factor of its peak: linear warm-up, then 1/√step (5.3) or linear decay.

        Args:
            step: The step, from 1; not before `turned_at`.
        """
        if step < self.warmup:
            begin, low = (self.turned_at, self.turned_factor) if self.turned_at else (0, 0.0)
            return low + (self.top - low) * (step - begin) / (self.warmup - begin)
        if self.decay == "inverse_sqrt":
            return (self.warmup / step) ** 0.5
        start, high = max(self.warmup, self.turned_at), self.top if self.turned_at < self.warmup else self.turned_factor
        return max(0.0, high * (self.steps - step) / max(1, self.steps - start))

    def validates(self, step: int) -> bool:
        """Return whether to validate after a step; a budget has no time for one shortly before the last step."""
        if step == self.steps:
            return True
        is_late = self.budget is not None and self.steps - step < self.validate_every / 2
        return (step - self.validate_from) % self.validate_every == 0 and not is_late

    def averages(self, step: int) -> bool:
        """Return whether the weights after a step are a snapshot for the average."""
        return (self.steps - step) % self.average_every == 0

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary, as `run.json` and the log store it."""
        return asdict(self)


class PlanHistory:
    """All plans of a run in order: each is in effect after the step at which it replaced the one before it.

    Args:
        plans: The plans; the last one is in effect until a later one is added.
    """

    def __init__(self, plans: Sequence[TrainingPlan] = ()):
        self.plans = list(plans)

    @property
    def last(self) -> TrainingPlan:
        """The newest plan."""
        return self.plans[-1]

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> PlanHistory:
        """Read the plans of `run.json`; raises `TypeError` or `KeyError` for another format."""
        return cls([TrainingPlan(**plan) for plan in (*stored.get("earlier_plans", ()), stored["plan"])])

    def as_dict(self) -> dict[str, Any]:
        """Convert to the fields of `run.json`: `plan`, the newest, and `earlier_plans` (None if there are none)."""
        *earlier, last = (plan.as_dict() for plan in self.plans)
        return {"plan": last, "earlier_plans": earlier or None}

    def after(self, step: int) -> TrainingPlan:
        """Return the plan of the update after `step`."""
        return next((plan for plan in reversed(self.plans) if plan.turned_at <= step), self.plans[0])

    def at(self, step: int) -> TrainingPlan:
        """Return the plan that was in effect when `step` was reached."""
        return self.after(max(0, step - 1))

    def add(self, plan: TrainingPlan) -> None:
        """Add a plan that replaces the last one after step `plan.turned_at`."""
        self.plans.append(plan)


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
        seconds_left: Remaining seconds of the budget. Training gets a quarter of the minutes even if less is left.
        speed: The measured speed.
        explicit: Settings that the user gave, which are not changed, see `request.explicit_settings`.
    """
    training = config.training
    fixed = _fixed(explicit)
    first = TrainingPlan(
        steps=_MIN_STEPS,
        warmup=training.warmup,
        decay=training.decay if "decay" in fixed else "linear",
        learning_rate=training.learning_rate or paper_peak(config.model.d_model, training.warmup),
        validate_every=training.validate_every,
        average_every=training.average_every,
        minutes=training.minutes,
        budget=max(seconds_left, least_seconds(training.minutes)),
        validation_cost=speed.validation_seconds / speed.step_seconds,
        final_cost=speed.final_seconds / speed.step_seconds,
        fixed=fixed,
    )
    return plan_again(first, training, 0, 0.0, speed.step_seconds)


def _fixed(explicit: Collection[str]) -> tuple[str, ...]:
    """Return the values of a plan that the user set."""
    return tuple(name for name in (*_ADAPTED, "decay") if f"training.{name}" in explicit)


def least_seconds(minutes: float | None) -> float:
    """Return the seconds that training gets in any case, however long preparing the text took."""
    return 60 * (minutes or 0.0) * _MIN_TRAINING


def plan_again(
    plan: TrainingPlan, training: TrainingConfig, step: int, seconds: float, step_seconds: float, validated: int = 0
) -> TrainingPlan:
    """Plan the remaining steps of a budget from the recent speed; warm-up, validations and averaging follow.

    The learning rate continues from its current value. If no time is left, it still decays to zero, within a tenth of
    the steps so far.

    Args:
        plan: The plan so far, with costs of validation and final scoring.
        training: The settings, whose warm-up is an upper limit.
        step: Number of steps so far.
        seconds: Training time so far.
        step_seconds: Recent wall-clock seconds per step.
        validated: Step of the last validation.

    Returns:
        The new plan, or the old one if nothing would change noticeably.
    """
    if plan.budget is None:
        return plan
    final_seconds = min(plan.final_cost * step_seconds, (1 - _MIN_TRAINING) * plan.budget)
    left = (1 - _RESERVE) * plan.budget - final_seconds - seconds
    validate_every = _validation_distance(plan, step_seconds)
    remaining = int((left / step_seconds - plan.validation_cost) / (1 + plan.validation_cost / validate_every))
    decay = int(_MIN_DECAY * step * plan.factor(step)) if step and plan.decay == "linear" else 0
    steps = max(_MIN_STEPS, step + max(1, remaining, min(decay, plan.steps - step)))
    too_often = validate_every > plan.validate_every and _validates_last_only(plan, step_seconds)
    if step and not too_often and abs(steps - plan.steps) <= max(1.0, _MIN_CHANGE * (plan.steps - step)):
        return plan
    spacing = min(_AVERAGED_SHARE * steps, steps - step) / training.average
    planned: dict[str, Any] = {
        "validate_every": max(validate_every, step + 1 - validated),
        "average_every": max(1, int(spacing)),
    }
    if step < plan.warmup:
        longest = max(int(_WARMUP_SHARE * steps), min(_MIN_WARMUP, steps // 4))
        planned["warmup"] = max(1, step + 1, min(training.warmup, longest))
    planned = {name: value for name, value in planned.items() if name not in plan.fixed}
    factor = plan.factor(step) if step else 1.0
    return replace(plan, steps=steps, turned_at=step, turned_factor=factor, validate_from=validated, **planned)


def _validation_distance(plan: TrainingPlan, step_seconds: float) -> int:
    """Return the steps between validations: 20 in total, fewer or only the last if they take much of the budget."""
    if "validate_every" in plan.fixed:
        return plan.validate_every
    budget = plan.budget or 0.0
    if _validates_last_only(plan, step_seconds):
        return max(plan.steps, round(budget / step_seconds))
    costly = plan.validation_cost * step_seconds / _VALIDATION_SHARE
    distance = min(budget / 2, max(budget / _VALIDATIONS, _VALIDATION_DISTANCE, costly))
    return max(1, round(distance / step_seconds))


def _validates_last_only(plan: TrainingPlan, step_seconds: float) -> bool:
    """Return whether a validation takes so much of the budget that only the last step is validated."""
    return plan.validation_cost * step_seconds > _COSTLY * (plan.budget or 0.0)


def extend(
    plan: TrainingPlan,
    training: TrainingConfig,
    step: int,
    seconds: float,
    steps: int | None = None,
    minutes: float | None = None,
    explicit: Collection[str] = (),
) -> TrainingPlan:
    """Plan the continuation of a run, finished or not, from its last checkpoint.

    With the paper's decay, the run continues as if it had been planned for the new number of steps. With a linear
    decay, which has ended at zero in a finished run, the learning rate first rises again, within 5 % of the additional
    steps, to the value that a run planned for the new number of steps would have, and then decays to zero. The best
    validation so far remains a candidate for the bundle.

    Args:
        plan: The plan of the run.
        training: The settings of the continued run, with its new number of steps or minutes.
        step: Number of steps so far (that of the last checkpoint).
        seconds: Training time so far.
        steps: The new total number of steps; must exceed `step`.
        minutes: Additional minutes, final scoring included; used if `steps` is None.
        explicit: Settings that the user gave, which a budget does not change, see `request.explicit_settings`.

    Returns:
        The new plan, to be added to the run's `PlanHistory`. With `minutes`, it is corrected during the training.
    """
    extra = steps - step if steps is not None else int(60 * (minutes or 0.0) / max(1e-9, seconds / max(1, step)))
    total = step + max(1, extra)
    budget = None if steps is not None else seconds + 60 * (minutes or 0.0)
    renewed = replace(
        plan,
        steps=total,
        minutes=training.minutes,
        budget=budget,
        turned_at=step,
        turned_factor=plan.factor(step),
        fixed=tuple(sorted({*plan.fixed, *_fixed(explicit)})),
    )
    timed = plan.budget is not None or budget is not None
    if timed:
        renewed = replace(renewed, validate_from=step)
    if timed and "average_every" not in renewed.fixed:
        spacing = int(min(_AVERAGED_SHARE * total, total - step) / training.average)
        renewed = replace(renewed, average_every=max(1, min(training.average_every, spacing)))
    if plan.decay == "inverse_sqrt":
        return renewed
    top = (total - step) / max(1, total - min(plan.warmup, step))
    warmup = max(plan.warmup, step + max(1, int(_REWARM_SHARE * extra)))
    return replace(renewed, top=min(1.0, top), warmup=warmup, fixed=tuple(sorted({*renewed.fixed, "warmup"})))
