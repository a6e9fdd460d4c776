"""Keeps a training run within its minutes: measures the recent speed, and plans the remaining steps again and again.

The speed ahead is predicted from the recent past, over half as much time as is left: a long average far from the end, a
short one near it. Everything that takes time counts, since steps are measured from the end of one to the end of the
next. A single interruption, such as a suspended process, is time lost but says nothing about the speed. Costs of
validations and of the final scoring are in steps, so that they follow the speed of the machine.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import dataclass, replace

from allyouneed.config import TrainingConfig
from allyouneed.training.planning.schedule import TrainingPlan, plan_again

_PLANNED_SHARE = 0.04  # share of the remaining time after which the plan is checked again
_PLANNED_SHARE_WARMUP = 0.01  # the same during warm-up, whose length depends on the number of steps
_PLANNED_STEPS = (
    0.25  # share of the remaining steps after which it is checked too, should they be much faster than planned
)
_HISTORY_SHARE = 0.5  # length of the past that predicts the future, as a share of the remaining time
_FINAL_HISTORY = 0.25  # the same for the final scoring, as a share of the budget, and in seconds
_FINAL_HISTORY_SECONDS = 40.0
_CHUNKS = 2000  # resolution of the history: chunks per budget
_MIN_STEPS = 3
_INTERRUPTION = 0.25  # share of the history in one step that is an interruption rather than a slow step
_VALIDATIONS = 3  # recent validations whose median cost is used


@dataclass
class _Chunk:
    steps: int = 0
    seconds: float = 0.0
    longest: float = 0.0  # of its steps


class Pace:
    """Recent wall-clock time per step."""

    def __init__(self, resolution: float = 0.0):
        self._resolution = resolution
        self._chunks: deque[_Chunk] = deque()

    def add(self, seconds: float) -> None:
        """Add a step."""
        if not self._chunks or self._chunks[-1].seconds >= self._resolution:
            self._chunks.append(_Chunk())
            if len(self._chunks) > 2 * _CHUNKS:
                self._chunks.popleft()
        last = self._chunks[-1]
        last.steps, last.seconds, last.longest = last.steps + 1, last.seconds + seconds, max(last.longest, seconds)

    def step_seconds(self, horizon: float) -> float | None:
        """Return the mean time per step over the last `horizon` seconds; None after too few steps."""
        steps, seconds, longest = 0, 0.0, 0.0
        for chunk in reversed(self._chunks):
            steps, seconds, longest = steps + chunk.steps, seconds + chunk.seconds, max(longest, chunk.longest)
            if seconds >= horizon and steps > _MIN_STEPS:
                break
        if steps <= _MIN_STEPS:
            return None
        if longest > _INTERRUPTION * seconds and longest > 5 * (seconds - longest) / (steps - 1):
            return (seconds - longest) / (steps - 1)
        return seconds / steps


class Pacer:
    """Re-plans a run with a budget; does nothing without one.

    Args:
        training: The settings.
        plan: The plan that the run starts or resumes with.
        seconds: Training time so far.
    """

    def __init__(self, training: TrainingConfig, plan: TrainingPlan, seconds: float = 0.0):
        self._training = training
        self._pace = Pace((plan.budget or 0.0) / _CHUNKS)
        self._validation_costs: deque[float] = deque(maxlen=_VALIDATIONS)
        self._final_costs: deque[float] = deque(maxlen=_VALIDATIONS)
        self._planned_at = seconds
        self._planned_step: int | None = None
        self._validated = plan.validate_from

    def stepped(self, seconds: float) -> None:
        """Record a step with its wall-clock time since the step before it, or since a validation between them."""
        self._pace.add(seconds)

    def validated(self, step: int, seconds: float, final_seconds: float) -> None:
        """Record a validation.

        Args:
            step: The step.
            seconds: Duration, with everything that follows a validation.
            final_seconds: Estimate of the duration of the final scoring, from this validation.
        """
        self._validated = step
        recent = self._pace.step_seconds(seconds)
        if recent is not None:
            self._validation_costs.append(seconds / recent)
            self._final_costs.append(final_seconds / recent)

    def is_due(self, plan: TrainingPlan, step: int, seconds: float) -> bool:
        """Return whether to plan again: after each 4 % of the remaining time, and more often during warm-up.

        A quarter of the remaining steps is enough too: if the speed was measured during a slow moment, the planned
        steps may be over in less time than that.

        Args:
            plan: The current plan.
            step: Number of steps so far.
            seconds: Training time so far.
        """
        if plan.budget is None:
            return False
        if self._planned_step is None:
            self._planned_step = step
        steps = step - self._planned_step
        if steps > _MIN_STEPS and steps >= _PLANNED_STEPS * (plan.steps - self._planned_step):
            return True
        share = _PLANNED_SHARE_WARMUP if step < plan.warmup else _PLANNED_SHARE
        return seconds - self._planned_at >= share * max(0.0, plan.budget - self._planned_at)

    def plan_again(self, plan: TrainingPlan, step: int, seconds: float) -> TrainingPlan:
        """Return a plan for the remaining steps; the same plan if it still fits.

        Args:
            plan: The current plan.
            step: Number of steps so far.
            seconds: Training time so far.
        """
        budget = plan.budget or 0.0
        recent = self._pace.step_seconds(_HISTORY_SHARE * max(0.0, budget - seconds))
        lasting = self._pace.step_seconds(max(_FINAL_HISTORY_SECONDS, _FINAL_HISTORY * budget))
        if recent is None or lasting is None:
            return plan
        self._planned_at, self._planned_step = seconds, step
        validation, final = plan.validation_cost, plan.final_cost
        if self._validation_costs:
            validation, final = statistics.median(self._validation_costs), statistics.median(self._final_costs)
            final *= lasting / recent
        costed = replace(plan, validation_cost=validation, final_cost=final)
        planned = plan_again(costed, self._training, step, seconds, recent, self._validated)
        return plan if planned is costed else planned
