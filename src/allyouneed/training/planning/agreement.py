"""The plan on which all processes of a run agree: the stored one, a longer one, or a new one for steps or minutes."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.training.assemble import LoopParts
from allyouneed.training.checkpoint import progress
from allyouneed.training.planning.clock import Stopwatch
from allyouneed.training.planning.measure import measure
from allyouneed.training.planning.schedule import (
    PlanHistory,
    TrainingPlan,
    least_seconds,
    plan_for_minutes,
    plan_for_steps,
)
from allyouneed.training.request import explicit_settings
from allyouneed.training.resolution.extension import describe_extension, extended_plans, keep_bundle, thin_snapshots
from allyouneed.training.resolution.run_record import RunRecord


def agreed_plans(parts: LoopParts, record: RunRecord, watch: Stopwatch) -> tuple[PlanHistory, float | None]:
    """Return the stored or extended plans, the plan of the request, or a new one, which is stored before a step.

    The second value is the duration of a step, if it was measured.
    """
    request, config = parts.resolved.request, parts.resolved.config
    explicit = explicit_settings(request)
    if parts.resolved.pending and (longer := parts.ranks.share(_extend(parts, record))):
        return longer, None
    if stored := parts.ranks.share(record.plans):
        return stored, None
    plan, step_seconds = request.plan or plan_for_steps(config, explicit), None
    if config.training.minutes and not request.plan:
        plan, step_seconds = parts.ranks.share(_plan_by_speed(parts, config.training.minutes, explicit, watch))
    if plan.warmup >= plan.steps:
        parts.log.show(_describe_long_warmup(plan))
    plans = PlanHistory([plan])
    if parts.ranks.is_first:
        record.update(**plans.as_dict(), micro_batches=parts.micro_batches.count, ranks=parts.ranks.count)
    return plans, step_seconds


def stored_micro_batches(record: RunRecord, ranks: int) -> int | None:
    """Return the number of micro-batches of a run that has a plan, which a resumed run keeps; None before.

    With another number of ranks, a batch is divided into at least as many parts as before, so that each fits into
    memory. If the number of parts is the same, so are the parts and the random numbers of dropout.
    """
    if not record.plans:
        return None
    parts = record.content.get("micro_batches", 1) * record.content.get("ranks", ranks)
    return math.ceil(parts / ranks)


def _extend(parts: LoopParts, record: RunRecord) -> PlanHistory | None:
    """Store and return the plans of a longer run on rank 0; None without a checkpoint, from which it would continue."""
    if not parts.ranks.is_first:
        return None
    resolved, run = parts.resolved, parts.resolved.request.out
    step, seconds = progress(run / "checkpoints")
    before = record.plans
    if not step or before is None:
        record.update(**resolved.pending, plan=None, earlier_plans=None)
        return None
    explicit = explicit_settings(resolved.request)
    plans = extended_plans(run, before, record.config, resolved.config, step, seconds, explicit)
    if "finished" in record.content:
        keep_bundle(run)
    is_planned = len(plans.plans) > len(before.plans)  # else only the patience is longer
    extended_at = step if is_planned else record.content.get("extended_at")
    record.update(**resolved.pending, **plans.as_dict(), finished=None, extended_at=extended_at)
    thin_snapshots(Snapshots(run / KEPT), plans.last.steps, resolved.config.training.keep_snapshots, step)
    parts.log.show(describe_extension(plans, step) if is_planned else f"continuing at step {step:,}")
    return plans


def _plan_by_speed(
    parts: LoopParts, minutes: float, explicit: Collection[str], watch: Stopwatch
) -> tuple[TrainingPlan, float]:
    """Measure the seconds per step, and plan the rest of the minutes; preparation cannot use up all of them."""
    config, prepared = parts.resolved.config, watch.seconds
    parts.log.show(f"measuring the speed, to plan {minutes:g} minutes ...")
    speed = measure(parts.assemble(plan_for_steps(config, explicit)), seconds=min(20.0, 60 * minutes * 0.04))
    left = 60 * minutes - watch.seconds
    if left < least_seconds(minutes):
        parts.log.show(
            f"preparing the text took {prepared / 60:.2g} of the {minutes:g} minutes, and measuring the speed "
            f"{(watch.seconds - prepared) / 60:.2g}. Training takes a quarter of the minutes in any case: "
            f"{least_seconds(minutes) / 60:.2g} more. The prepared text is kept for further runs of this command."
        )
    planned = plan_for_minutes(config, left, speed, explicit)
    planned = replace(planned, budget=None) if parts.resolved.request.steady else planned
    return planned, speed.step_seconds


def _describe_long_warmup(plan: TrainingPlan) -> str:
    reached = f"{100 * plan.steps / plan.warmup:.2g} %"
    return (
        f"training.warmup = {plan.warmup:,} is not shorter than the {plan.steps:,} steps of this run: the learning "
        f"rate only rises, to {reached} of its peak. Lower training.warmup unless that is intended."
    )
