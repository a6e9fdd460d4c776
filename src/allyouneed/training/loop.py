"""When to step, log, validate, save and stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from allyouneed.bundle import Bundle, load_weights, save_bundle
from allyouneed.data.batches import BatchOrder, collate, share
from allyouneed.data.store import PairStore
from allyouneed.training.average import Snapshots
from allyouneed.training.checkpoint import save_checkpoint
from allyouneed.training.distributed import Ranks
from allyouneed.training.log import RunLog
from allyouneed.training.schedule import Plan
from allyouneed.training.step import Metrics, Totals, TrainingState, update
from allyouneed.training.validation import ValidationSet, validation_loss, validation_scores

FINISHED, STOPPED_EARLY, INTERRUPTED = "finished", "stopped early", "interrupted"


@dataclass
class Loop:
    """All that a run needs; `run` is its folder. `bundle.model` is `state.model`."""

    run: Path
    bundle: Bundle
    plan: Plan
    state: TrainingState
    store: PairStore
    valid: ValidationSet
    ranks: Ranks
    log: RunLog

    def __post_init__(self) -> None:
        self.training = self.bundle.config.training
        self.order = BatchOrder(self.store, self.training.batch_tokens, self.training.seed)
        self.snapshots = Snapshots(self.run / "checkpoints", self.training.average)

    def train(self) -> str:
        """Steps until the plan ends, patience is over, or Ctrl-C: FINISHED, STOPPED_EARLY or INTERRUPTED."""
        state, plan = self.state, self.plan
        self.log.start(plan.steps, state.step)
        saved = begun = time.perf_counter()
        earlier = state.seconds
        with _interruptible() as interrupt:
            while state.step < plan.steps:
                if self.ranks.any(interrupt.requested):
                    self.save()
                    return INTERRUPTED
                stepping = time.perf_counter()
                metrics = self.step()
                state.since_log.add(metrics, time.perf_counter() - stepping)
                state.seconds = earlier + time.perf_counter() - begun
                self._report_progress(metrics)
                if (plan.steps - state.step) % plan.average_every == 0 and self.ranks.is_first:
                    self.snapshots.save(state.step, state.model, state.best.get("step"))
                if state.step % plan.validate_every == 0 or state.step == plan.steps:
                    patience_is_over = self._validate()
                    self.save()
                    saved = time.perf_counter()
                    if self.ranks.share(patience_is_over):
                        return STOPPED_EARLY
                elif time.perf_counter() - saved > 60 * self.training.save_minutes:
                    self.save()
                    saved = time.perf_counter()
        return FINISHED

    def step(self) -> Metrics:
        """One update on the next global batch, of which this rank takes its shares."""
        parts = self.training.micro_batches
        pairs, self.state.position = self.order.next(self.state.position)
        shares = [
            collate(self.store, share(pairs, self.ranks.rank * parts + part, self.ranks.count * parts))
            for part in range(parts)
        ]
        return update(self.state, shares, self.training, self.plan, self.ranks)

    def save(self) -> None:
        if self.ranks.is_first:
            save_checkpoint(self.run / "checkpoints", self.state, self.log.size())

    def finish(self) -> dict:
        """Puts the better of two into the bundle, by validation: the average of the last snapshots, or the best one.

        Returns its scores on the validation set with the bundle's own beam.
        """
        steps = self.snapshots.steps(self.state.step)[-self.training.average :]
        candidates = {f"average of steps {', '.join(map(str, steps))}": self.snapshots.average(steps)}
        if best := self.state.best.get("step"):
            candidates[f"step {best}, the best of the validations"] = self.snapshots.load(best)
        judged = []
        for name, weights in candidates.items():
            load_weights(self.state.model, weights, self.run)
            judged.append((self._quality(), name))
            self.log.record("candidate", step=self.state.step, name=name, quality=judged[-1][0])
        chosen = max(judged, key=lambda quality_and_name: quality_and_name[0])[1]
        load_weights(self.state.model, candidates[chosen], self.run)
        loss = validation_loss(self.bundle, self.valid, self.training)
        beam = self.bundle.config.search.beam_size
        scores, _ = validation_scores(self.bundle, self.valid, len(self.valid.texts), beam)
        valid_scores = {"loss": loss, "beam_size": beam, **scores.as_dict()}
        self.bundle.scores = {"valid": valid_scores}
        self.bundle.notes = {**self.bundle.notes, "weights": chosen, "steps": self.state.step}
        save_bundle(self.bundle, self.run / "bundle")
        return self.bundle.scores

    def _validate(self) -> bool:
        """Records how good the model is and whether it is the best so far; True when patience is over."""
        if not self.ranks.is_first:
            return False
        state = self.state
        loss = validation_loss(self.bundle, self.valid, self.training)
        facts: dict = {"loss": loss, "perplexity": float(np.exp(min(loss, 50.0)))}
        quality = -loss
        if self.training.bleu_sentences:
            scores, samples = validation_scores(self.bundle, self.valid, self.training.bleu_sentences, beam_size=1)
            facts |= {"bleu": scores.bleu, "chrf": scores.chrf, "samples": samples}
            quality = scores.bleu
        is_best = quality > state.best.get("quality", -float("inf"))
        if is_best:
            state.best = {"step": state.step, "quality": quality}
            self.snapshots.save(state.step, state.model, state.step)
        state.validations_without_gain = 0 if is_best else state.validations_without_gain + 1
        self.log.record("validation", step=state.step, seconds=state.seconds, best=is_best, **facts)
        self._show(facts, is_best)
        save_bundle(replace(self.bundle, notes={**self.bundle.notes, "steps": state.step}), self.run / "bundle")
        return self.training.patience is not None and state.validations_without_gain >= self.training.patience

    def _quality(self) -> float:
        if not self.training.bleu_sentences:
            return -validation_loss(self.bundle, self.valid, self.training)
        return validation_scores(self.bundle, self.valid, self.training.bleu_sentences, beam_size=1)[0].bleu

    def _show(self, facts: dict, is_best: bool) -> None:
        bleu = f"  BLEU {facts['bleu']:.1f}  chrF {facts['chrf']:.1f}" if "bleu" in facts else ""
        minutes = self.state.seconds / 60
        self.log.say(
            f"validation at step {self.state.step:,} ({minutes:.1f} min): loss {facts['loss']:.3f}  "
            f"perplexity {facts['perplexity']:.1f}{bleu}{'  best so far' if is_best else ''}"
        )
        if samples := facts.get("samples"):
            sample = samples[self.state.step // self.plan.validate_every % len(samples)]
            self.log.say(f"  {sample['source']}\n  → {sample['hypothesis']}\n  = {sample['reference']}")

    def _report_progress(self, metrics: Metrics) -> None:
        state, plan, totals = self.state, self.plan, self.state.since_log
        due = state.step % self.training.log_every == 0
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
                tokens_per_second=rate,
                seconds=state.seconds,
            )
            state.since_log = Totals()


class _Interrupt:
    requested = False


@contextmanager
def _interruptible() -> Iterator[_Interrupt]:
    """Ctrl-C (or SIGTERM) asks to stop after the step in progress; a second one stops at once."""
    interrupt = _Interrupt()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield interrupt
        return

    def ask(number: int, frame: object) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
