"""From files of parallel text to a RUN: everything `allyouneed train` does, in order; the same call again resumes."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from allyouneed.bundle import Bundle, build_model, load_bundle, load_weights, weights_of
from allyouneed.config import Config
from allyouneed.data.corpus import CorpusReport
from allyouneed.data.prepare import PreparedData, prepare
from allyouneed.data.store import open_store
from allyouneed.devices import choose_device
from allyouneed.errors import UserError
from allyouneed.files import cannot_write, recover_all
from allyouneed.model.plain import use_plain_paths
from allyouneed.training.checkpoint import load_checkpoint
from allyouneed.training.distributed import Ranks, join_ranks, leave_ranks
from allyouneed.training.initialise import inherit
from allyouneed.training.log import RunLog
from allyouneed.training.loop import FINISHED, INTERRUPTED, Loop
from allyouneed.training.measure import measure
from allyouneed.training.memory import keep_freed_memory
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.report import write_report
from allyouneed.training.request import Record, Request, agreed_config, asked_device
from allyouneed.training.schedule import Plan, plan_for_minutes, plan_for_steps
from allyouneed.training.step import TrainingState
from allyouneed.training.validation import ValidationSet

_INHERITED = "of the teacher"  # the note on what a student began with
# What else a RUN's folder has; what was prepared goes when it is begun anew, so that it must be a RUN's.
_OF_A_RUN = {".lock", "data", "distilled", "checkpoints", "bundle", "tensorboard", "log.jsonl", "report.html"}


@dataclass(frozen=True)
class Outcome:
    """How a run ended (FINISHED, STOPPED_EARLY, INTERRUPTED), and its validation scores if it came to an end.

    first: whether this process is the first of several, which alone talks.
    """

    status: str
    scores: dict[str, Any]
    first: bool = True


def train(request: Request, console: Console) -> Outcome:
    """Trains, or goes on training. Errors: `UserError` for anything the user can mend."""
    started = time.perf_counter()
    keep_freed_memory()
    device = choose_device(asked_device(request))
    ranks = join_ranks(device.type)
    try:
        with only_one(request.out) if ranks.is_first else nullcontext():
            return _train(request, console, device, ranks, started)
    finally:
        leave_ranks(ranks)


def _train(request: Request, console: Console, device: torch.device, ranks: Ranks, started: float) -> Outcome:
    log = RunLog(request.out, console, active=ranks.is_first)
    record = Record(request.out / "run.json")
    config = ranks.share(agreed_config(request, record, device, log.say) if ranks.is_first else None)
    prepared = PreparedData(request.data_folder)
    if ranks.is_first:
        recover_all(request.out / "checkpoints")
        _prepare(request, config, prepared, log)
        if "finished" in record.content:
            log.say(f"{request.out} is finished already: {_summary(record.content['finished'])}")
    ranks.wait()
    if finished := ranks.share(record.content.get("finished")):
        return Outcome(FINISHED, finished, ranks.is_first)
    parts = _Parts(request, config, prepared, log, ranks, device)
    loop = parts.assemble(_agreed_plan(parts, record, started))
    loop.keep_plan = lambda plan: record.update(plan=plan.as_dict())
    log.say(_describe(loop))
    _resume(loop)
    try:
        status = loop.train()
    finally:
        log.stop()
    return _conclude(loop, status, prepared, record)


def _prepare(request: Request, config: Config, prepared: PreparedData, log: RunLog) -> None:
    start = request.start_from or request.teacher
    tokenizer = load_bundle(start).tokenizer if start else None
    prepare(prepared.folder, request.train, request.valid, config.data, log.say, tokenizer)
    for report in prepared.report().values():
        for line in CorpusReport(**report).lines():
            log.say(line)
    log.say(f"all dropped lines: {prepared.dropped}")


@dataclass(frozen=True)
class _Parts:
    """What a loop is made of, before there is a plan."""

    request: Request
    config: Config
    prepared: PreparedData
    log: RunLog
    ranks: Ranks
    device: torch.device

    def assemble(self, plan: Plan) -> Loop:
        """A fresh model and everything around it; the same seed gives the same model."""
        config, report = self.config, self.prepared.report()["train"]
        tokenizer = self.prepared.tokenizer()
        torch.manual_seed(config.training.seed)
        model = build_model(config.model, tokenizer, self.request.build).to(self.device)
        longest = report["longest_source"]
        if self.request.start_from:
            start = load_bundle(self.request.start_from)
            load_weights(model, weights_of(start.model), self.request.start_from)
            longest = max(longest, start.longest_source)  # what it could translate in one piece, it still can
        notes = {"training pairs": report["kept"], "training files": ", ".join(Path(f).name for f in report["files"])}
        taught_by = None
        if self.request.teacher:
            teacher = load_bundle(self.request.teacher)
            notes[_INHERITED] = inherit(model, teacher.model)
            longest = max(longest, teacher.longest_source)
            if config.training.teacher_share:
                taught_by = teacher.model.to(self.device).eval()
        if config.training.plain:
            use_plain_paths(model)
            if taught_by:
                use_plain_paths(taught_by)
        return Loop(
            run=self.request.out,
            bundle=Bundle(model, tokenizer, config, self.request.languages, longest, notes=notes),
            plan=plan,
            state=TrainingState(model, make_optimizers(model, config.training, plan.learning_rate), teacher=taught_by),
            store=open_store(self.prepared.train),
            valid=ValidationSet(open_store(self.prepared.valid), self.prepared.valid_texts()),
            ranks=self.ranks,
            log=self.log,
        )


def _agreed_plan(parts: _Parts, record: Record, started: float) -> Plan:
    """The stored plan, or one that is given or new, stored before the first step."""
    if stored := parts.ranks.share(record.content.get("plan")):
        return Plan(**stored)
    config = parts.config
    plan = parts.request.plan or plan_for_steps(config)
    if (minutes := config.training.minutes) and not parts.request.plan:
        parts.log.say(f"measuring the speed, to plan {minutes:g} minutes ...")
        speed = measure(parts.assemble(plan), seconds=min(20.0, 60 * minutes * 0.04))
        seconds_left = 60 * minutes - (time.perf_counter() - started)
        if seconds_left <= 0:
            raise UserError(
                f"preparing the text took longer than the {minutes:g} minutes. It is kept: the same command again has "
                "them all for training; or give more --minutes."
            )
        explicit = {setting.partition("=")[0].strip() for setting in parts.request.settings}
        planned = plan_for_minutes(config, seconds_left, speed, explicit)
        plan = parts.ranks.share(replace(planned, budget=None) if parts.request.steady else planned)
    if parts.ranks.is_first:
        record.update(plan=plan.as_dict())
    return plan


def _resume(loop: Loop) -> None:
    """Goes back to the newest checkpoint, the log too; without one, to the beginning."""
    loop.log.rewind(load_checkpoint(loop.run / "checkpoints", loop.state))
    loop.log.record("plan", **loop.plan.as_dict())
    if loop.state.step:
        loop.log.record("resume", step=loop.state.step)
        loop.log.say(f"going on from step {loop.state.step:,}")
    elif inherited := loop.bundle.notes.get(_INHERITED):
        loop.log.say(inherited)


def _conclude(loop: Loop, status: str, prepared: PreparedData, record: Record) -> Outcome:
    scores: dict[str, Any] = {}
    loop.log.record("stop", step=loop.state.step, why=status)
    if loop.ranks.is_first:
        if status != INTERRUPTED:
            scores = loop.finish()
        _write_report(loop, status, prepared, scores)
        if scores:
            record.update(finished={**scores, "weights": loop.bundle.notes["weights"]})
    return Outcome(status, loop.ranks.share(scores), loop.ranks.is_first)


def _write_report(loop: Loop, status: str, prepared: PreparedData, scores: dict[str, Any]) -> None:
    source, target = loop.bundle.languages
    write_report(
        loop.run / "report.html",
        title=f"{source} → {target}",
        log=loop.log.records(),
        corpus=prepared.report(),
        settings=loop.bundle.config.model_dump(),
        scores={**scores, "bundle": loop.bundle.notes["weights"]} if scores else {},
        status=status,
    )


def _describe(loop: Loop) -> str:
    plan = loop.plan
    decay = "to zero" if plan.decay == "linear" else "with 1/√step"
    budget = f" in {plan.minutes:g} minutes" if plan.minutes else ""
    steps = f"{plan.steps:,} steps{budget}, warm-up {plan.warmup:,}, then decay {decay}"
    return f"{loop.bundle.described()}; {steps}"


def _summary(finished: dict[str, Any]) -> str:
    valid = finished["valid"]
    return f"validation BLEU {valid['bleu']:.1f}, chrF {valid['chrf']:.1f} ({finished['weights']})"


@contextmanager
def only_one(out: Path) -> Iterator[None]:
    """Two processes must not write one RUN. Errors: `UserError` when another one does, or it is no place to write."""
    try:
        there = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if there and "run.json" not in there and (".lock" not in there or there - _OF_A_RUN):
            raise UserError(f"{out} has files that are not a RUN's. Give a new or an empty folder to --out.")
        out.mkdir(parents=True, exist_ok=True)
        (out / ".lock").touch()
    except OSError as error:
        raise cannot_write(out, error) from error
    with open(out / ".lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{out}: another process is training this run.") from error
        except OSError as error:  # a disk without locks
            raise cannot_write(out, error) from error
        yield
