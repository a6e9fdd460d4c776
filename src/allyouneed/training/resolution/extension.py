"""Extension of a run, finished or not: more steps, more minutes or more patience, from its last checkpoint.

The bundle of a finished run stays in place until the extension has finished, and is a candidate for the new one.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from allyouneed.config import Config
from allyouneed.errors import UserError
from allyouneed.files import check_folder, read_tensors, write_folder
from allyouneed.snapshots import Snapshots
from allyouneed.training.planning.schedule import PlanHistory, extend, snapshot_steps
from allyouneed.training.selection import Weights

_FOLDER, _FILE = Path("checkpoints", "before-extension"), "model.safetensors"


def extended_plans(
    run: Path,
    plans: PlanHistory,
    before: Config,
    now: Config,
    step: int,
    seconds: float,
    explicit: Collection[str] = (),
) -> PlanHistory:
    """Plan the rest of a run that becomes longer.

    Args:
        run: Folder of the run, for messages.
        plans: The plans so far.
        before: The settings so far.
        now: The settings of the repeated command.
        step: Step of the last checkpoint.
        seconds: Training time up to it.
        explicit: Settings that the user gave, which a budget does not change, see `request.explicit_settings`.

    Raises:
        UserError: If the run would become shorter, or no time is left.
    """
    old, new, plan = before.training, now.training, plans.last
    if (old.steps, old.minutes) == (new.steps, new.minutes):
        return plans  # only the patience differs
    if new.minutes is None:
        planned = plan.steps if old.minutes is None else step
        if new.steps <= planned:
            is_planned = f"was planned for {planned:,}" if old.minutes is None else f"has taken {planned:,}"
            raise UserError(
                f"training.steps = {new.steps:,}, but {run} {is_planned} steps: a run can be extended, not shortened. "
                "Give more steps, or choose another --out."
            )
        return PlanHistory([*plans.plans, extend(plan, new, step, seconds, steps=new.steps)])
    if old.minutes is not None and new.minutes < old.minutes:
        raise UserError(
            f"training.minutes (--minutes) = {new.minutes:g}, but {run} was planned for {old.minutes:g} minutes: a run "
            "can be extended, not shortened. Give more minutes, or choose another --out."
        )
    budget = 0.0 if old.minutes is None else (60 * old.minutes if plan.budget is None else plan.budget)
    left = budget + 60 * (new.minutes - (old.minutes or 0.0)) - seconds
    if left <= 0:
        raise UserError(
            f"training.minutes (--minutes) = {new.minutes:g}, but {run} has trained for {seconds / 60:.1f} minutes. "
            "Give more minutes, or choose another --out."
        )
    return PlanHistory([*plans.plans, extend(plan, new, step, seconds, minutes=left / 60, explicit=explicit)])


def describe_extension(plans: PlanHistory, step: int) -> str:
    """Describe the newest plan, which extends a run from a step."""
    plan = plans.last
    minutes = f" within {plan.minutes:g} minutes in all" if plan.minutes else ""
    rate = "the learning rate goes on with 1/√step"
    if plan.decay == "linear":
        rate = (
            f"the learning rate rises again to {100 * plan.factor(plan.warmup):.0f} % of its peak until step "
            f"{plan.warmup:,}, then decays to zero"
        )
    return f"extending the run from step {step:,} to {plan.steps:,}{minutes}; {rate}"


def keep_bundle(run: Path) -> None:
    """Keep the weights of a finished run's bundle, unless it was deleted, before its extension overwrites them."""
    weights = run / "bundle" / _FILE
    if weights.is_file():
        check_folder(weights.parent, [_FILE], f"Delete {weights.parent} and run the same command again.")
        write_folder(run / _FOLDER, {_FILE: weights.read_bytes()})


def is_extended(run: Path) -> bool:
    """Return whether a finished run is being or has been extended."""
    return (run / _FOLDER / _FILE).is_file()


def kept_weights(run: Path) -> Weights:
    """Read the weights that `keep_bundle` has kept; raises `UserError` if they are damaged."""
    remedy = f"Delete {run / _FOLDER} and run the same command again: the earlier bundle is no candidate then."
    check_folder(run / _FOLDER, [_FILE], remedy)
    return read_tensors(run / _FOLDER / _FILE)


def thin_snapshots(kept: Snapshots, steps: int, count: int, step: int) -> None:
    """Delete kept snapshots of a shorter plan, so that those of the longer one are evenly spaced again.

    Args:
        kept: The snapshots of `training.keep_snapshots`.
        steps: The new total number of steps.
        count: The setting `training.keep_snapshots`.
        step: Step of the last checkpoint.
    """
    found = kept.steps(step)
    nearest = (
        {min(found, key=lambda each: abs(each - wanted)) for wanted in snapshot_steps(steps, count) if wanted <= step}
        if found
        else set()
    )
    kept.prune(step, nearest)
