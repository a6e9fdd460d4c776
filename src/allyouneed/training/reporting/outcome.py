"""How a training run ended."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from allyouneed.config import TrainingConfig
from allyouneed.interruption import Interrupted, cause
from allyouneed.training.patience import describe_early_stop
from allyouneed.training.planning.schedule import PlanHistory
from allyouneed.training.reporting.undertraining import counted, undertraining
from allyouneed.training.step import TrainingState
from allyouneed.training.validation import perplexity, show_perplexity

FINISHED, STOPPED_EARLY, INTERRUPTED = "finished", "stopped early", "interrupted"
DRY_RUN = "dry run"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: FINISHED, STOPPED_EARLY, INTERRUPTED or DRY_RUN.
        scores: Validation scores; empty if interrupted, and after a dry run.
        is_first_rank: Whether this process is rank 0, the only rank that prints.
        ending: Description of the end, for example "finished after 400 steps".
        headline: The validation scores as text, the metric of quality first.
        signal: The signal that interrupted the run.
    """

    status: str
    scores: dict[str, Any]
    is_first_rank: bool = True
    ending: str = ""
    headline: str = ""
    signal: int | None = None

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing was trained because the request is a dry run."""
        return self.status == DRY_RUN

    def raise_if_interrupted(self) -> None:
        """Raise `Interrupted` if a signal stopped the run."""
        if self.status == INTERRUPTED:
            raise Interrupted(self.signal or signal.SIGINT, self.ending)


def describe_ending(
    status: str,
    state: TrainingState,
    plans: PlanHistory,
    training: TrainingConfig,
    number: int | None,
    warning: str = "",
) -> str:
    """Describe how training ended, for example "finished after 400 steps", and what went wrong.

    Args:
        status: FINISHED, STOPPED_EARLY or INTERRUPTED.
        state: Training state.
        plans: Plans of the run.
        training: Training settings.
        number: The signal that interrupted it, if any.
        warning: Remark about the final scores; "" for none.
    """
    plan = plans.last
    if status == INTERRUPTED:
        step = f"step {state.step:,} of {plan.steps:,}"
        text = f"interrupted by {cause(number or signal.SIGINT)} at {step}; a checkpoint is saved"
    elif status == STOPPED_EARLY:
        text = describe_early_stop(state, training, plan)
    else:
        remark = undertraining(plans, state)
        text = f"finished after {counted(state.step, 'step')}" + (f"; {remark}" if remark else "")
    text += f"; {warning}" if warning else ""
    return f"{text}{state.health.summary(training)}"


def headline(valid: Mapping[str, Any], metric: str) -> str:
    """Show the scores of a finished run, the metric of quality first: "bleu", "chrf" or "loss"."""
    lines = {
        "bleu": f"validation BLEU {valid['bleu']:.1f}  {valid['bleu_signature']}",
        "chrf": f"validation chrF {valid['chrf']:.1f}  {valid['chrf_signature']}",
        "loss": _loss_line(valid["loss"]),
    }
    return "\n".join([lines[metric], *([lines["bleu"]] if metric != "bleu" else [])])


def _loss_line(loss: float | None) -> str:
    if loss is None:  # a run record has null for a loss that is not finite
        return "validation loss is not finite"
    return f"validation loss {loss:.3f}, perplexity {show_perplexity(perplexity(loss))}"
