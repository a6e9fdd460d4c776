"""Reports of training steps and validations on the terminal and in the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allyouneed.config import TrainingConfig
from allyouneed.training.health import report_divergence, validation_warning
from allyouneed.training.planning.schedule import TrainingPlan
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.step import StepMetrics, Totals, TrainingState, is_logged
from allyouneed.training.validation import show_perplexity


def report_step(
    log: RunLog,
    state: TrainingState,
    training: TrainingConfig,
    plan: TrainingPlan,
    metrics: StepMetrics,
    vocab_size: int,
) -> None:
    """Show the progress after a step; at a logged step, record the sums since the last one and start them anew.

    Args:
        log: Log of the run.
        state: Training state after the step.
        training: Training settings.
        plan: Plan of the run.
        metrics: Metrics of the step.
        vocab_size: Number of tokens in the vocabulary.
    """
    totals, due = state.since_log, is_logged(state.step, training, plan)
    loss, rate = totals.mean(totals.loss), totals.tokens / totals.seconds
    left = (plan.steps - state.step) * state.seconds / state.step
    if plan.budget is not None:
        left = max(0.0, plan.budget - state.seconds)
    log.progress(state.step, plan.steps, loss, rate, left, due)
    if not due:
        return
    log.record(
        "train",
        step=state.step,
        epoch=state.position.epoch,
        loss=loss,
        nll=totals.mean(totals.nll),
        learning_rate=state.optimizers[0].param_groups[0]["lr"],
        gradient_norm=metrics.gradient_norm,
        tokens=totals.tokens,
        tokens_per_second=rate,
        loading_seconds=totals.loading,
        seconds=state.seconds,
    )
    state.since_log = Totals()
    report_divergence(log, state, training, plan, vocab_size)


def show_validation(
    log: RunLog, state: TrainingState, plan: TrainingPlan, facts: Mapping[str, Any], is_best: bool, vocab_size: int
) -> None:
    """Show the scores of a validation, and one of its translations.

    Args:
        log: Log of the run.
        state: Training state.
        plan: Plan of the run.
        facts: `loss` and `perplexity`; with translations also `bleu`, BLEU by direction, `chrf` and `samples`.
        is_best: Whether the validation is the best so far.
        vocab_size: Number of tokens in the vocabulary.
    """
    bleu = f"  BLEU {facts['bleu']:.1f}  chrF {facts['chrf']:.1f}" if "bleu" in facts else ""
    each = [f"{key[5:]} {value:.1f}" for key, value in facts.items() if key.startswith("bleu ")]
    bleu += f"  ({', '.join(each)})" if each else ""
    log.show(
        f"validation at step {state.step:,} ({state.seconds / 60:.1f} min): loss {facts['loss']:.3f}  "
        f"perplexity {show_perplexity(facts['perplexity'])}{bleu}{'  best so far' if is_best else ''}"
    )
    warning = validation_warning(facts["loss"], state.health, vocab_size)
    if warning and state.step >= plan.warmup:
        log.show(f"  {warning}")
    if samples := facts.get("samples"):
        sample = samples[state.step // plan.validate_every % len(samples)]
        log.show(f"  {sample['source']}\n  → {sample['hypothesis']}\n  = {sample['reference']}")
