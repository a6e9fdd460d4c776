"""The training loop: steps, logging, validation, checkpoints, and the end of a run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from allyouneed.bundle import Bundle, load_weights, save_bundle, weights_of
from allyouneed.data.batches import Batch, BatchOrder, collate, share
from allyouneed.data.mixture import Mixture
from allyouneed.data.store import PairStore
from allyouneed.data.tokens.subword_sampling import PairSampler
from allyouneed.interruption import Deferred, deferring_interrupts, describing_interrupts
from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.training.average import average, intact
from allyouneed.training.checkpoint import has_checkpoint, save_checkpoint
from allyouneed.training.diagnosis import refuse_to_go_on, report_skipped
from allyouneed.training.distributed.parallel import gather_weights
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.patience import (
    count_validation,
    is_out_of_patience,
    metric_of,
    quality_of,
)
from allyouneed.training.planning.clock import Now
from allyouneed.training.planning.final_scoring import (
    FINAL_SENTENCES,
    affordable_sentences,
    plan_final,
    time_beam_search,
)
from allyouneed.training.planning.micro_batches import WHOLE, MicroBatches
from allyouneed.training.planning.pacing import Pacer
from allyouneed.training.planning.schedule import PlanHistory, TrainingPlan, snapshot_steps
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.reporting.monitoring import report_step, show_validation
from allyouneed.training.reporting.outcome import FINISHED, INTERRUPTED, STOPPED_EARLY
from allyouneed.training.selection import BEFORE_EXTENSION, Selection
from allyouneed.training.step import StepMetrics, TrainingState, update
from allyouneed.training.validation import (
    Observe,
    ValidationSet,
    perplexity,
    validation_loss,
    validation_scores,
)
from allyouneed.translation.draft_memory import learn_drafts
from allyouneed.translation.engine.memory import pays
from allyouneed.translation.protection.learned import entities_share, numbers_share
from allyouneed.translation.reference_outputs import make_reference_outputs

_NOTICEABLE = 0.25  # change of the number of steps under a budget that is reported


@dataclass
class Loop:
    """A run that is ready to train.

    Attributes:
        run: Folder of the run.
        bundle: The bundle to write; `bundle.model` is `state.model`, or rank 0's whole copy of a sharded model, which
            `gather` updates.
        plan: Steps and learning rates.
        state: Training state, as stored in checkpoints.
        store: Training pairs as token ids.
        valid: Validation pairs.
        ranks: Processes of the run.
        log: Log and progress.
        plans: All plans of the run; by default the plan alone.
        keep_plans: Callback that stores the plans, called before a new plan is used.
        mixture: Weights of the training corpora; None if an epoch contains each pair once.
        observe: Callback whose measurements the log records before the first step and after each validation.
        micro_batches: Parts of a batch that are processed in turn.
        baselines: Weights by name that the bundle keeps if training does not improve on them: those of the start.
        now: A monotonic clock in seconds, with which the run keeps to its minutes.
        before_search: Callback before the model translates, which may stop the clock and compiles what is needed.
    """

    run: Path
    bundle: Bundle
    plan: TrainingPlan
    state: TrainingState
    store: PairStore
    valid: ValidationSet
    ranks: Ranks
    log: RunLog
    plans: PlanHistory = field(default_factory=PlanHistory)
    keep_plans: Callable[[PlanHistory], None] | None = None
    mixture: Mixture | None = None
    observe: Observe | None = None
    micro_batches: MicroBatches = WHOLE
    baselines: Mapping[str, Callable[[], Mapping[str, Tensor]]] = field(default_factory=dict)
    now: Now = time.monotonic
    before_search: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.training = self.bundle.config.training
        self.order = BatchOrder(self.store, self.training.batch_tokens, self.training.seed, self.mixture)
        self.metric = metric_of(self.training)
        self.signal: int | None = None  # that ended the training
        data = self.bundle.config.data
        sampled = data.subword_sampling > 0
        self.sampler = PairSampler(self.bundle.tokenizer, data, self.training.seed) if sampled else None
        self.snapshots = Snapshots(self.run / "checkpoints")
        self.kept = Snapshots(self.run / KEPT)
        if not self.plans.plans:
            self.plans.add(self.plan)
        self.pacer = Pacer(self.training, self.plan)
        self.deadline: float | None = None  # of a budget, by the clock
        self.shown_steps = self.plan.steps

    def train(self) -> str:
        """Train until the plan ends (FINISHED), patience runs out (STOPPED_EARLY) or a signal stops it (INTERRUPTED).

        Raises:
            Interrupted: At a second Ctrl-C, without saving.
            UserError: If too many updates in a row are skipped, or the disk is full.
        """
        state = self.state
        self.plan = self.plans.after(state.step)
        self.shown_steps = self.plan.steps
        self.kept_steps = self.kept.steps(state.step)
        self.pacer = Pacer(self.training, self.plan, state.seconds)
        self.log.start(self.plan.steps, state.step)
        earlier, started = state.seconds, self.now()
        if self.plan.budget is not None:
            self.deadline = started - earlier + self.plan.budget
        if not state.step and self.ranks.is_first:  # with the weights from which a copy of a sharded model was made
            self._validate() if self.baselines else self._observe()
        self._keep_snapshot()
        saved = marked = self.now()
        saved_step = state.step
        with describing_interrupts(self._describe_second_interrupt), deferring_interrupts() as interrupt:
            while state.step < self.plan.steps:
                may_save = state.step > saved_step and self.now() - saved > 60 * self.training.save_minutes
                is_out, is_interrupted, saves, plans = self.ranks.any_of(
                    is_out_of_patience(state, self.training),
                    interrupt.requested,
                    self.ranks.is_first and may_save,
                    self.ranks.is_first and self.pacer.is_due(self.plan, state.step, state.seconds),
                )
                if is_out:
                    return STOPPED_EARLY
                if is_interrupted or saves:
                    self.save()
                    saved, saved_step = self.now(), state.step
                if is_interrupted:
                    return self._interrupted(interrupt)
                self._plan_next_step(plans)
                stepping = time.perf_counter()
                metrics = self.step()
                state.since_log.add(metrics, time.perf_counter() - stepping)
                self.pacer.stepped(self.now() - marked)
                marked = self.now()
                state.seconds = earlier + marked - started
                self._report_progress(metrics)
                if self.plan.averages(state.step):
                    self._snapshot(self.snapshots)
                self._keep_snapshot()
                if self.plan.validates(state.step):
                    self.gather()
                    if self.ranks.is_first:
                        self._validate()
                    state.seconds = earlier + self.now() - started
                    self.save()
                    saved_step, saved = state.step, self._time_validation(marked)
                    marked = saved
                    state.seconds = earlier + marked - started
            return self._interrupted(interrupt) if self.ranks.any(interrupt.requested) else FINISHED

    def step(self) -> StepMetrics:
        """Update the weights with the next global batch; each rank computes its own share.

        Raises:
            UserError: If `training.max_skipped_steps` updates in a row were skipped.
        """
        parts, started = self.micro_batches.count, time.perf_counter()
        pairs, self.state.position = self.order.next(self.state.position)
        shares = [
            self._collate(share(pairs, self.ranks.rank * parts + part, self.ranks.count * parts))
            for part in range(parts)
        ]
        self.state.since_log.loading += time.perf_counter() - started
        metrics = update(self.state, shares, self.training, self.plan, self.ranks)
        if metrics.skipped:
            report_skipped(self.log, self.state, metrics, pairs, self.store, self.bundle.tokenizer)
            if self.state.health.skipped_in_a_row >= self.training.max_skipped_steps:
                refuse_to_go_on(self.state, shares, self.training, metrics)
        return metrics

    def _collate(self, pairs: np.ndarray) -> Batch:
        """Make a batch of the pairs, segmented at random for the next step with `data.subword_sampling`."""
        if self.sampler is None:
            return collate(self.store, pairs)
        return collate(self.sampler.sample(self.store, pairs, self.state.step + 1), np.arange(len(pairs)))

    def save(self) -> None:
        """Write a checkpoint, and delete snapshots that are no longer needed. All ranks call this."""
        save_checkpoint(self.run / "checkpoints", self.state, self.log.saved(), self.ranks)
        if self.ranks.is_first:
            self.snapshots.prune(self.state.step, {*self._to_average(), self.state.best.get("step", 0)})

    def gather(self) -> None:
        """Update rank 0's copy of a sharded model, `bundle.model`; all ranks call this."""
        gather_weights(self.state.model, self.bundle.model, self.ranks)

    def finish(self) -> dict[str, Any]:
        """Write the final bundle: the average of the last snapshots, or the best snapshot if it is clearly better.

        Returns:
            Scores of the bundle on the validation text, with its own beam size.
        """
        self.before_search()
        name = self._choose_weights()
        loss = validation_loss(self.bundle, self.valid, self.training)
        beam = self.bundle.config.search.beam_size
        scores, _ = validation_scores(self.bundle, self.valid, self._final_sentences(), beam)
        self.bundle.scores = {"valid": {"loss": loss, "beam_size": beam, **scores.as_dict()}}
        self.bundle.notes = {**self.bundle.notes, "weights": name, "steps": self.state.step}
        self.bundle.samples = make_reference_outputs(self.bundle, self.valid.texts)
        sources = [self.bundle.tokenizer.split_code(source)[1] for source, _ in self.valid.texts]
        self.bundle.numbers_share, self.bundle.entities_share = numbers_share(sources), entities_share(sources)
        if pays(self.bundle.model):
            memory = learn_drafts(self.bundle.tokenizer, self.store.source, self.store.target)
            self.bundle.drafts = memory.tensors()
        save_bundle(self.bundle, self.run / "bundle")
        return self.bundle.scores

    def _choose_weights(self) -> str:
        """Load the best candidate's weights into the model, and return its name."""
        chosen = Selection(self.state.step, self._quality_of, self.metric, self.log).choose(
            self._candidates(), self.baselines
        )
        load_weights(self.bundle.model, chosen.weights, self.run)
        return chosen.name

    def _final_sentences(self) -> int:
        """Return the number of validation sentences to score at the end, as many as the budget has time for."""
        if self.deadline is None:
            return FINAL_SENTENCES
        per_sentence = time_beam_search(self.bundle, self.valid, self.now)
        return affordable_sentences(per_sentence, self.deadline - self.now())

    def _candidates(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """Yield candidates for the weights of the bundle, named by the snapshots that are not damaged."""
        planned = self._to_average()
        averaged = intact(self.snapshots, planned, self.log.show)
        if averaged:
            damaged = [str(step) for step in planned if step not in averaged]
            without = f" without the damaged {', '.join(damaged)}" if damaged else ""
            yield f"average of steps {', '.join(map(str, averaged))}{without}", average(self.snapshots, averaged)
        best = self.state.best.get("step")
        chosen = intact(self.snapshots, [best] if best else [], self.log.show)
        if chosen:
            yield f"step {best}, the best of the validations", average(self.snapshots, chosen)
        if not averaged and not chosen:
            last = {name: weight.clone() for name, weight in weights_of(self.bundle.model).items()}
            yield f"step {self.state.step}, the last", last

    def _to_average(self) -> list[int]:
        """Return the steps of the snapshots written so far that are to be averaged."""
        steps = self.snapshots.steps(self.state.step)
        planned = [step for step in steps if self.plans.at(step).averages(step)]
        return planned[-self.training.average :]

    def _keep_snapshot(self) -> None:
        """Keep the weights if the step is one of `training.keep_snapshots`."""
        if not self.training.keep_snapshots:
            return
        step, planned = self.state.step, sorted(snapshot_steps(self.plan.steps, self.training.keep_snapshots))
        due = planned[min(len(self.kept_steps), len(planned) - 1)]  # a new plan shifts the steps, not their number
        if self.ranks.any(self.ranks.is_first and step >= due and step not in self.kept_steps):
            self._snapshot(self.kept)
            self.kept_steps.append(step)

    def _interrupted(self, interrupt: Deferred) -> str:
        self.signal = interrupt.number or signal.SIGTERM  # another rank received it
        return INTERRUPTED

    def _snapshot(self, snapshots: Snapshots) -> None:
        """Write the weights of this step on rank 0."""
        self.gather()
        if self.ranks.is_first:
            snapshots.save(self.state.step, self.bundle.model)

    def describe_interrupt(self) -> str:
        """Describe an interruption that does not save a checkpoint."""
        if not has_checkpoint(self.run / "checkpoints"):
            return f"at step {self.state.step:,}, before the first checkpoint; the prepared text is kept"
        return f"at step {self.state.step:,}; the last checkpoint is kept"

    def _describe_second_interrupt(self) -> str:
        return f"a second time, without a new checkpoint, {self.describe_interrupt()}"

    def _score(self, translate: bool = True) -> dict[str, Any]:
        """Return the validation loss and, with translations, BLEU, chrF, BLEU's signature and samples."""
        loss = validation_loss(self.bundle, self.valid, self.training)
        facts: dict[str, Any] = {"loss": loss, "perplexity": perplexity(loss)}
        if self.training.bleu_sentences and translate:
            scores, samples = validation_scores(self.bundle, self.valid, self.training.bleu_sentences, beam_size=1)
            facts |= {"bleu": scores.bleu, "chrf": scores.chrf, "samples": samples}
            facts |= {"bleu_signature": scores.bleu_signature, **scores.by_direction()}
        return facts

    def _validate(self) -> None:
        """Validate, record the scores, and write a snapshot if they are the best so far."""
        self.before_search()
        state = self.state
        facts = self._score()
        is_best = count_validation(state, facts, self.metric, self.plan)
        if is_best:
            self.snapshots.save(state.step, self.bundle.model)
        self.log.record("validation", step=state.step, seconds=state.seconds, best=is_best, **facts)
        show_validation(self.log, state, self.plan, facts, is_best, len(self.bundle.tokenizer))
        self._observe()
        if BEFORE_EXTENSION not in self.baselines:  # a finished bundle stays until its extension has finished
            save_bundle(replace(self.bundle, notes={**self.bundle.notes, "steps": state.step}), self.run / "bundle")

    def _observe(self) -> None:
        if self.observe and self.ranks.is_first:
            self.before_search()
            self.log.record("observation", step=self.state.step, **self.observe(self.bundle, self.valid))

    def _time_validation(self, started: float) -> float:
        """Account for a validation, and return the time; with a budget, the final scoring is estimated again."""
        seconds, final_seconds = self.now() - started, 0.0
        if self.plan.budget is not None and self.ranks.is_first and self.state.step < self.plan.steps:
            per_sentence = time_beam_search(self.bundle, self.valid, self.now)
            final_seconds = plan_final(per_sentence, len(self.valid.texts), seconds, self.plan.budget)
        ended = self.now()
        self.pacer.validated(self.state.step, ended - started, final_seconds)
        return ended

    def _plan_next_step(self, due: bool) -> None:
        """Continue with the stored plan of the next step, or with a new one if it is due, which is stored first."""
        step, previous = self.state.step, self.plan
        self.plan = self.plans.after(step)
        if due and step > self.plans.last.turned_at:
            self.plan = self.ranks.share(self.pacer.plan_again(self.plan, step, self.state.seconds))
            if self.plan != previous:
                self.plans.add(self.plan)
                if self.keep_plans and self.ranks.is_first:
                    self.keep_plans(self.plans)
        if self.plan != previous:
            self.log.record("plan", **self.plan.as_dict())
            self._show_steps()

    def _show_steps(self) -> None:
        """Report a number of steps that differs noticeably from the one reported last."""
        steps = self.plan.steps
        if abs(steps - self.shown_steps) > _NOTICEABLE * self.shown_steps:
            self.log.show(f"{steps:,} steps instead of {self.shown_steps:,}, to keep within the time budget")
            self.shown_steps = steps

    def _quality_of(self, weights: Mapping[str, Tensor]) -> float:
        load_weights(self.bundle.model, weights, self.run)
        return quality_of(self._score(translate=self.metric != "loss"), self.metric)

    def _report_progress(self, metrics: StepMetrics) -> None:
        report_step(self.log, self.state, self.training, self.plan, metrics, len(self.bundle.tokenizer))
