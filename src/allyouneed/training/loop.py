"""The training loop: steps, logging, validation, checkpoints, and the end of a run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from allyouneed.bundle import Bundle, load_weights, save_bundle, weights_of
from allyouneed.data.batches import BatchOrder, collate, share
from allyouneed.data.mixture import Mixture
from allyouneed.data.store import PairStore
from allyouneed.errors import UserError
from allyouneed.interruption import Deferred, cause, deferring_interrupts, describing_interrupts
from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.training.average import average
from allyouneed.training.checkpoint import save_checkpoint
from allyouneed.training.diagnosis import refuse_to_go_on, report_skipped
from allyouneed.training.distributed import Ranks
from allyouneed.training.health import report_divergence, validation_warning
from allyouneed.training.log import RunLog
from allyouneed.training.outcome import FINISHED, INTERRUPTED, STOPPED_EARLY
from allyouneed.training.patience import (
    count_validation,
    describe_early_stop,
    is_out_of_patience,
    metric_of,
    quality_of,
)
from allyouneed.training.schedule import TrainingPlan, snapshot_steps
from allyouneed.training.selection import Selection
from allyouneed.training.step import StepMetrics, Totals, TrainingState, is_logged, update
from allyouneed.training.validation import (
    Observe,
    ValidationSet,
    perplexity,
    show_perplexity,
    validation_loss,
    validation_scores,
)
from allyouneed.translation.reference_outputs import make_reference_outputs

FINAL_SENTENCES = 2000  # validation sentences scored with beam search at the end


@dataclass
class Loop:
    """A run that is ready to train.

    Attributes:
        run: Folder of the run.
        bundle: The bundle to write; `bundle.model` is `state.model`.
        plan: Steps and learning rates.
        state: Training state, as stored in checkpoints.
        store: Training pairs as token ids.
        valid: Validation pairs.
        ranks: Processes of the run.
        log: Log and progress.
        keep_plan: Callback that stores a corrected plan.
        mixture: Weights of the training corpora; None if an epoch contains each pair once.
        observe: Callback whose measurements the log records before the first step and after each validation.
        baselines: Weights by name that the bundle keeps if training does not improve on them: those of the start.
    """

    run: Path
    bundle: Bundle
    plan: TrainingPlan
    state: TrainingState
    store: PairStore
    valid: ValidationSet
    ranks: Ranks
    log: RunLog
    keep_plan: Callable[[TrainingPlan], None] | None = None
    mixture: Mixture | None = None
    observe: Observe | None = None
    baselines: Mapping[str, Callable[[], Mapping[str, Tensor]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.training = self.bundle.config.training
        self.order = BatchOrder(self.store, self.training.batch_tokens, self.training.seed, self.mixture)
        self.metric = metric_of(self.training)
        self.signal: int | None = None  # that ended the training
        self.snapshots = Snapshots(self.run / "checkpoints")
        self.kept = Snapshots(self.run / KEPT)

    def train(self) -> str:
        """Train until the plan ends (FINISHED), patience runs out (STOPPED_EARLY) or a signal stops it (INTERRUPTED).

        Raises:
            Interrupted: At a second Ctrl-C, without saving.
            UserError: If too many updates in a row are skipped, or the disk is full.
        """
        state = self.state
        self.log.start(self.plan.steps, state.step)
        saved = started = time.perf_counter()
        earlier = state.seconds
        if not state.step and self.ranks.is_first:
            self._validate() if self.baselines else self._observe()
        self._keep_snapshot()
        with describing_interrupts(self._describe_interrupt), deferring_interrupts() as interrupt:
            while state.step < self.plan.steps:
                if self.ranks.any(is_out_of_patience(state, self.training)):
                    return STOPPED_EARLY
                if self._is_interrupted(interrupt):
                    self.save()
                    return INTERRUPTED
                stepping = time.perf_counter()
                metrics = self.step()
                state.since_log.add(metrics, time.perf_counter() - stepping)
                state.seconds = earlier + time.perf_counter() - started
                self._report_progress(metrics)
                if (self.plan.steps - state.step) % self.plan.average_every == 0 and self.ranks.is_first:
                    self.snapshots.save(state.step, state.model)
                self._keep_snapshot()
                if state.step % self.plan.validate_every == 0 or state.step == self.plan.steps:
                    if self.ranks.is_first:
                        self._validate()
                    state.seconds = earlier + time.perf_counter() - started
                    self._keep_to_time()
                    self.save()
                    saved = time.perf_counter()
                elif time.perf_counter() - saved > 60 * self.training.save_minutes:
                    self.save()
                    saved = time.perf_counter()
            return INTERRUPTED if self._is_interrupted(interrupt) else FINISHED

    def step(self) -> StepMetrics:
        """Update the weights with the next global batch; each rank computes its own share.

        Raises:
            UserError: If `training.max_skipped_steps` updates in a row were skipped.
        """
        parts, started = self.training.micro_batches, time.perf_counter()
        pairs, self.state.position = self.order.next(self.state.position)
        shares = [
            collate(self.store, share(pairs, self.ranks.rank * parts + part, self.ranks.count * parts))
            for part in range(parts)
        ]
        self.state.since_log.loading += time.perf_counter() - started
        metrics = update(self.state, shares, self.training, self.plan, self.ranks)
        if metrics.skipped:
            report_skipped(self.log, self.state, metrics, pairs, self.store, self.bundle.tokenizer)
            if self.state.health.skipped_in_a_row >= self.training.max_skipped_steps:
                refuse_to_go_on(self.state, shares, self.training, metrics)
        return metrics

    def save(self) -> None:
        """Write a checkpoint, then delete snapshots that neither it nor the final average needs."""
        if self.ranks.is_first:
            save_checkpoint(self.run / "checkpoints", self.state, self.log.size())
            self.snapshots.prune(self.state.step, {*self._to_average(), self.state.best.get("step", 0)})

    def finish(self) -> dict[str, Any]:
        """Write the final bundle: the average of the last snapshots, or the best snapshot if it is clearly better.

        Returns:
            Scores of the bundle on the validation text, with its own beam size.
        """
        name = self._choose_weights()
        loss = validation_loss(self.bundle, self.valid, self.training)
        beam = self.bundle.config.search.beam_size
        scores, _ = validation_scores(self.bundle, self.valid, FINAL_SENTENCES, beam)
        self.bundle.scores = {"valid": {"loss": loss, "beam_size": beam, **scores.as_dict()}}
        self.bundle.notes = {**self.bundle.notes, "weights": name, "steps": self.state.step}
        self.bundle.samples = make_reference_outputs(self.bundle, self.valid.texts)
        save_bundle(self.bundle, self.run / "bundle")
        return self.bundle.scores

    def _choose_weights(self) -> str:
        """Load the best candidate's weights into the model, and return its name."""
        chosen = Selection(self.state.step, self._quality_of, self.metric, self.log).choose(
            self._candidates(), self.baselines
        )
        load_weights(self.state.model, chosen.weights, self.run)
        return chosen.name

    def _candidates(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield candidates for the weights of the bundle. Unreadable snapshots are skipped with a message."""
        readable = False
        averaged, best = self._to_average(), self.state.best.get("step")
        named = {f"average of steps {', '.join(map(str, averaged))}": averaged} if averaged else {}
        named |= {f"step {best}, the best of the validations": [best]} if best else {}
        for name, steps in named.items():
            try:
                yield name, average(self.snapshots, steps)
                readable = True
            except UserError as error:
                self.log.show(f"{name} is skipped: {error}")
        if not readable:
            last = {name: weight.clone() for name, weight in weights_of(self.state.model).items()}
            yield f"step {self.state.step}, the last", last

    def _to_average(self) -> list[int]:
        """Return the steps of the snapshots written so far that are to be averaged."""
        steps = self.snapshots.steps(self.state.step)
        planned = [step for step in steps if (self.plan.steps - step) % self.plan.average_every == 0]
        return planned[-self.training.average :]

    def _keep_snapshot(self) -> None:
        """Keep the weights if the step is one of `training.keep_snapshots`."""
        steps = snapshot_steps(self.plan.steps, self.training.keep_snapshots)
        if self.state.step in steps and self.ranks.is_first:
            self.kept.save(self.state.step, self.state.model)

    def ending(self, status: str) -> str:
        """Describe how training ended, for example "finished after 400 steps"."""
        state, steps = self.state, f"step {self.state.step:,} of {self.plan.steps:,}"
        if status == INTERRUPTED:
            text = f"interrupted by {cause(self.signal or signal.SIGINT)} at {steps}; a checkpoint is saved"
        elif status == STOPPED_EARLY:
            text = describe_early_stop(state, self.training, self.plan)
        else:
            text = f"finished after {state.step:,} steps"
        return f"{text}{state.health.summary(self.training)}"

    def _is_interrupted(self, interrupt: Deferred) -> bool:
        if self.ranks.any(interrupt.requested):
            self.signal = interrupt.number or signal.SIGTERM  # another rank received it
        return self.signal is not None

    def _describe_interrupt(self) -> str:
        step = f"step {self.state.step:,} of {self.plan.steps:,}"
        return f"a second time at {step}, without a new checkpoint; the last checkpoint is kept"

    def _score(self, translate: bool = True) -> dict[str, Any]:
        """Return the validation loss and, with translations, BLEU, chrF, BLEU's signature and samples."""
        loss = validation_loss(self.bundle, self.valid, self.training)
        facts: dict[str, Any] = {"loss": loss, "perplexity": perplexity(loss)}
        if self.training.bleu_sentences and translate:
            scores, samples = validation_scores(self.bundle, self.valid, self.training.bleu_sentences, beam_size=1)
            facts |= {"bleu": scores.bleu, "chrf": scores.chrf, "samples": samples}
            facts["bleu_signature"] = scores.bleu_signature
        return facts

    def _validate(self) -> None:
        """Validate, record the scores, and write a snapshot if they are the best so far."""
        state = self.state
        facts = self._score()
        is_best = count_validation(state, facts, self.metric, self.plan)
        if is_best:
            self.snapshots.save(state.step, state.model)
        self.log.record("validation", step=state.step, seconds=state.seconds, best=is_best, **facts)
        self._show(facts, is_best)
        self._observe()
        save_bundle(replace(self.bundle, notes={**self.bundle.notes, "steps": state.step}), self.run / "bundle")

    def _observe(self) -> None:
        if self.observe and self.ranks.is_first:
            self.log.record("observation", step=self.state.step, **self.observe(self.bundle, self.valid))

    def _keep_to_time(self) -> None:
        """Correct the number of steps to fit the budget; the plan is stored before a checkpoint that depends on it."""
        plan = self.ranks.share(self.plan.in_time(self.state.step, self.state.seconds))
        if plan == self.plan:
            return
        self.log.show(f"{plan.steps:,} steps instead of {self.plan.steps:,}, to keep within the time budget")
        self.log.record("plan", **plan.as_dict())
        self.plan = plan
        if self.keep_plan and self.ranks.is_first:
            self.keep_plan(plan)

    def _quality_of(self, weights: Mapping[str, Tensor]) -> float:
        load_weights(self.state.model, weights, self.run)
        return quality_of(self._score(translate=self.metric != "loss"), self.metric)

    def _show(self, facts: dict[str, Any], is_best: bool) -> None:
        bleu = f"  BLEU {facts['bleu']:.1f}  chrF {facts['chrf']:.1f}" if "bleu" in facts else ""
        minutes = self.state.seconds / 60
        self.log.show(
            f"validation at step {self.state.step:,} ({minutes:.1f} min): loss {facts['loss']:.3f}  "
            f"perplexity {show_perplexity(facts['perplexity'])}{bleu}{'  best so far' if is_best else ''}"
        )
        if self.state.step >= self.plan.warmup:
            self.log.show_if(validation_warning(facts["loss"], self.state.health, len(self.bundle.tokenizer)))
        if samples := facts.get("samples"):
            sample = samples[self.state.step // self.plan.validate_every % len(samples)]
            self.log.show(f"  {sample['source']}\n  → {sample['hypothesis']}\n  = {sample['reference']}")

    def _report_progress(self, metrics: StepMetrics) -> None:
        state, plan, totals = self.state, self.plan, self.state.since_log
        due = is_logged(state.step, self.training, plan)
        loss, rate = totals.mean(totals.loss), totals.tokens / totals.seconds
        left = (plan.steps - state.step) * state.seconds / state.step
        self.log.progress(state.step, plan.steps, loss, rate, left, due)
        if due:
            self.log.record(
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
            report_divergence(self.log, state, self.training, plan, len(self.bundle.tokenizer))
