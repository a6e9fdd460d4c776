"""Recognises runs whose minutes were too few for a good model, with the cause and the remedy."""

from __future__ import annotations

from allyouneed.training.planning.schedule import PlanHistory
from allyouneed.training.step import TrainingState

_FEWEST_STEPS = 100
_MOST_PREPARATION = 0.5  # share of the minutes
_SLOWDOWN = 0.5  # share of the steps of the first plan


def undertraining(plans: PlanHistory, state: TrainingState) -> str:
    """Describe why a run that kept to its minutes is under-trained; return "" if it is not, or has no budget.

    Args:
        plans: The plans of the run.
        state: Its state after the last step.
    """
    first, last = plans.plans[0], plans.last
    if first.budget is None or not first.minutes or last.budget is None:
        return ""
    prepared = first.minutes - first.budget / 60
    passes, extended = state.position.epoch, last.minutes != first.minutes
    if not extended and prepared > _MOST_PREPARATION * first.minutes:
        cause = f"preparing the text and measuring the speed took {prepared:.2g} of the {first.minutes:g} minutes"
    elif not extended and state.step < _SLOWDOWN * first.steps:
        times = first.steps / state.step
        cause = f"the machine was {times:.1f} times slower than at the start, perhaps busy with other work"
    elif state.step < _FEWEST_STEPS or not passes:
        cause = f"{last.minutes:g} minutes allow no more on this machine"
    else:
        return ""
    through = counted(passes, "pass", "passes") if passes else "less than one pass"
    amount = f"{counted(state.step, 'step')}, {through} through the text"
    return f"under-trained: {amount}, because {cause}. Give more --minutes"


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number with its noun, for example "1 step" or "2,000 steps"."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"
