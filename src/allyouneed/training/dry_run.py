"""A dry run: everything before the first step, and a report instead of a model."""

from __future__ import annotations

from allyouneed.training.assemble import LoopParts
from allyouneed.training.forecast import Forecast, forecast
from allyouneed.training.planning.clock import Stopwatch
from allyouneed.training.planning.measure import measure_steps
from allyouneed.training.planning.schedule import plan_for_steps
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.reporting.outcome import DRY_RUN, Outcome
from allyouneed.training.reporting.report import write_report
from allyouneed.training.request import explicit_settings

ENDING = "dry run: the text is prepared, nothing is trained"
_SECONDS = 5.0  # of training steps that show the speed and the memory
_TRAINING_SHARE = 0.85  # of a budget, besides preparation, validations and final scoring
FORECAST = "forecast"  # event in the log


def dry_run(parts: LoopParts, has_report: bool) -> Outcome:
    """Measure the speed with a few steps of a model that is not kept, and report on the text and the training.

    Args:
        parts: Everything that the training needs. The prepared text stays for the training itself.
        has_report: Whether the run has steps, whose report is not replaced.
    """
    request, config = parts.resolved.request, parts.resolved.config
    plan = plan_for_steps(config, explicit_settings(request))
    parts.log.show(f"measuring the speed for about {_SECONDS:g} seconds ...")
    loop = parts.assemble(plan)
    step_seconds = measure_steps(loop, Stopwatch(), _SECONDS)
    minutes = config.training.minutes
    steps = plan.steps if minutes is None else int(60 * minutes * _TRAINING_SHARE / step_seconds)
    found = forecast(loop, parts.device, steps, step_seconds)
    if parts.ranks.is_first:
        for line in found.lines():
            parts.log.show(line)
        if not has_report:
            write_report(
                request.out / "report.html",
                title=loop.bundle.title,
                log=[{"event": FORECAST, **found.as_dict()}],
                corpus=parts.prepared.reports(),
                settings=config.model_dump(),
                scores={},
                status=ENDING,
                metric=loop.metric,
                is_text=True,
            )
    return Outcome(DRY_RUN, {}, parts.ranks.is_first, ENDING)


def show_forecast(found: Forecast, log: RunLog) -> None:
    """Show a forecast, and log it for the report."""
    for line in found.lines():
        log.show(line)
    log.record(FORECAST, **found.as_dict())
