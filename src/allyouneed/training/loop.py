"""The training loop: steps, logging, validation, checkpoints, and the end of a run."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from allyouneed.bundle import Bundle, load_weights, save_bundle, weights_of
from allyouneed.data.batches import BatchOrder, collate, share
from allyouneed.data.mixture import Mixture
from allyouneed.data.store import PairStore
from allyouneed.errors import UserError
from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.training.average import average
from allyouneed.training.checkpoint import save_checkpoint
from allyouneed.training.distributed import Ranks
from allyouneed.training.log import RunLog
from allyouneed.training.schedule import TrainingPlan, snapshot_steps
from allyouneed.training.selection import CLEARLY_BETTER, Selection
from allyouneed.training.step import StepMetrics, Totals, TrainingState, is_logged, update
from allyouneed.training.validation import Observe, ValidationSet, validation_loss, validation_scores
from allyouneed.translation.reference_outputs import make_reference_outputs

FINISHED, STOPPED_EARLY, INTERRUPTED = "finished", "stopped early", "interrupted"
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
        self.snapshots = Snapshots(self.run / "checkpoints")
        self.kept = Snapshots(self.run / KEPT)

    def train(self) -> str:
        """Train until the plan ends (FINISHED), patience runs out (STOPPED_EARLY) or Ctrl-C stops it (INTERRUPTED)."""
        state = self.state
        self.log.start(self.plan.steps, state.step)
        saved = started = time.perf_counter()
        earlier = state.seconds
        if not state.step and self.ranks.is_first:
            self._validate() if self.baselines else self._observe()
        self._keep_snapshot()
        with _interruptible() as interrupt:
            while state.step < self.plan.steps:
                out_of_patience, interrupted = self.ranks.sum(self._is_out_of_patience(), interrupt.requested)
                if out_of_patience:
                    return STOPPED_EARLY
                if interrupted:
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
            return INTERRUPTED if self.ranks.any(interrupt.requested) else FINISHED

    def step(self) -> StepMetrics:
        """Update the weights with the next global batch; each rank computes its own share.

        Raises:
            UserError: If the loss is not finite.
        """
        parts, started = self.training.micro_batches, time.perf_counter()
        pairs, self.state.position = self.order.next(self.state.position)
        shares = [
            collate(self.store, share(pairs, self.ranks.rank * parts + part, self.ranks.count * parts))
            for part in range(parts)
        ]
        self.state.since_log.loading += time.perf_counter() - started
        metrics = update(self.state, shares, self.training, self.plan, self.ranks)
        if not math.isfinite(metrics.loss):
            raise UserError(
                f"the loss is {metrics.loss} at step {self.state.step:,}: training has diverged. Start again with "
                "another --out and a lower training.learning_rate, a longer training.warmup or training.clip_norm=1."
            )
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
        margin = CLEARLY_BETTER if self.training.bleu_sentences else 0.0
        chosen = Selection(self.state.step, self._quality_of, self._shown, margin, self.log).choose(
            self._candidates(), self.baselines
        )
        load_weights(self.state.model, chosen.weights, self.run)
        return chosen.name

    def _shown(self, quality: float) -> str:
        return f"BLEU {quality:.1f}" if self.training.bleu_sentences else f"loss {-quality:.3f}"

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

    def _is_out_of_patience(self) -> bool:
        patience = self.training.patience
        return patience is not None and self.state.validations_without_gain >= patience

    def _validate(self) -> None:
        """Validate, record the scores, and write a snapshot if they are the best so far."""
        state = self.state
        loss = validation_loss(self.bundle, self.valid, self.training)
        facts: dict[str, Any] = {"loss": loss, "perplexity": float(np.exp(min(loss, 50.0)))}
        quality = -loss
        if self.training.bleu_sentences:
            scores, samples = validation_scores(self.bundle, self.valid, self.training.bleu_sentences, beam_size=1)
            facts |= {"bleu": scores.bleu, "chrf": scores.chrf, "samples": samples}
            facts["bleu_signature"] = scores.bleu_signature
            quality = scores.bleu
        is_best = quality > state.best.get("quality", -float("inf"))
        if is_best:
            state.best = {"step": state.step, "quality": quality}
            self.snapshots.save(state.step, state.model)
        state.validations_without_gain = 0 if is_best else state.validations_without_gain + 1
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
        if not self.training.bleu_sentences:
            return -validation_loss(self.bundle, self.valid, self.training)
        return validation_scores(self.bundle, self.valid, self.training.bleu_sentences, beam_size=1)[0].bleu

    def _show(self, facts: dict[str, Any], is_best: bool) -> None:
        bleu = f"  BLEU {facts['bleu']:.1f}  chrF {facts['chrf']:.1f}" if "bleu" in facts else ""
        minutes = self.state.seconds / 60
        self.log.show(
            f"validation at step {self.state.step:,} ({minutes:.1f} min): loss {facts['loss']:.3f}  "
            f"perplexity {facts['perplexity']:.1f}{bleu}{'  best so far' if is_best else ''}"
        )
        if samples := facts.get("samples"):
            sample = samples[self.state.step // self.plan.validate_every % len(samples)]
            self.log.show(f"  {sample['source']}\n  → {sample['hypothesis']}\n  = {sample['reference']}")

    def _report_progress(self, metrics: StepMetrics) -> None:
        state, plan, totals = self.state, self.plan, self.state.since_log
        due = is_logged(state.step, self.training, plan)
        loss, rate = totals.loss / totals.tokens, totals.tokens / totals.seconds
        left = (plan.steps - state.step) * state.seconds / state.step
        self.log.progress(state.step, plan.steps, loss, rate, left, due)
        if due:
            self.log.record(
                "train",
                step=state.step,
                epoch=state.position.epoch,
                loss=loss,
                nll=totals.nll / totals.tokens,
                learning_rate=state.optimizers[0].param_groups[0]["lr"],
                gradient_norm=metrics.gradient_norm,
                tokens=totals.tokens,
                tokens_per_second=rate,
                loading_seconds=totals.loading,
                seconds=state.seconds,
            )
            state.since_log = Totals()


class _Interrupt:
    requested = False


@contextmanager
def _interruptible() -> Iterator[_Interrupt]:
    """Handle Ctrl-C and SIGTERM: the first requests a stop after the current step, the second stops immediately."""
    interrupt = _Interrupt()
    if threading.current_thread() is not threading.main_thread():  # signals can be handled in the main thread only
        yield interrupt
        return

    def request(number: int, frame: object) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    previous = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
