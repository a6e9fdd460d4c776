"""Training of a model from files of parallel text, or resuming of a run: all steps of `allyouneed train`."""

from __future__ import annotations

import fcntl
import math
import os
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import torch
from rich.console import Console

from allyouneed.bundle import Bundle, title_of
from allyouneed.config import Config
from allyouneed.data.corpora import Corpus
from allyouneed.data.mixture import Mixture
from allyouneed.data.prepare import prepare
from allyouneed.data.prepared import PreparedData, origin_of
from allyouneed.devices import choose_device
from allyouneed.errors import DamagedFile, UserError
from allyouneed.files import MANIFEST, cannot_write, check_folder, intended_name, recover_all, sha256
from allyouneed.interruption import describing_interrupts, raising_interrupts
from allyouneed.kernels import background
from allyouneed.seals import page_is_intact
from allyouneed.snapshots import KEPT, Snapshots
from allyouneed.training.assemble import INITIALISED, LoopParts
from allyouneed.training.checkpoint import LOG, load_checkpoint, newest_checkpoint, progress
from allyouneed.training.compilation import Compilation
from allyouneed.training.distributed.launch import is_elastic
from allyouneed.training.distributed.lifeline import INTERVAL, MISSED, let_others_exit
from allyouneed.training.distributed.ranks import Ranks, join_ranks, leave_ranks
from allyouneed.training.distributed.shared_folder import wait_until_visible
from allyouneed.training.dry_run import dry_run, show_forecast
from allyouneed.training.forecast import forecast
from allyouneed.training.freeze import describe_frozen
from allyouneed.training.health import validation_warning
from allyouneed.training.loop import Loop
from allyouneed.training.memory import keep_freed_memory
from allyouneed.training.patience import metric_of
from allyouneed.training.planning.clock import Stopwatch
from allyouneed.training.planning.measure import measure
from allyouneed.training.planning.schedule import (
    PlanHistory,
    TrainingPlan,
    least_seconds,
    plan_for_minutes,
    plan_for_steps,
)
from allyouneed.training.products import agree_on_products
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.reporting.outcome import FINISHED, INTERRUPTED, Outcome, describe_ending, headline
from allyouneed.training.reporting.report import write_report
from allyouneed.training.request import Request, explicit_settings, requested_device
from allyouneed.training.resolution.checksums import KnownChecksums
from allyouneed.training.resolution.extension import describe_extension, extended_plans, keep_bundle, thin_snapshots
from allyouneed.training.resolution.resolve import ResolvedRequest, resolve
from allyouneed.training.resolution.run_record import COPY, RunRecord
from allyouneed.translation.evaluation.bleu_tokenizers import unfit_remark

# Files of a run besides run.json. A folder with other files is not used.
LOCK = ".lock"
_RUN_FILES = {LOCK, "data", "distilled", "checkpoints", KEPT, "bundle", "tensorboard", "log.jsonl", "report.html"}
_RUN_FILES |= {f"run.json{COPY}"}
_RESTART_SECONDS = 2 * MISSED * INTERVAL  # for a process that was cut off from the others to end


def train(request: Request, console: Console, teacher: Bundle | None = None) -> Outcome:
    """Train a model, or resume its training if the run exists.

    Args:
        request: The text, the settings and the folder of the run.
        console: Where progress is shown.
        teacher: The bundle of `request.teacher`, if it is already loaded.

    Raises:
        UserError: If the request is invalid, files are missing or damaged, the disk is full, or training diverges.
        Interrupted: If a signal arrives before the first step, in the final scoring, or a second time.
    """
    watch = Stopwatch()
    keep_freed_memory()
    device = choose_device(requested_device(request))
    if device.type == "cpu":
        background.compile_early()
    ranks = join_ranks(device.type)
    before = describing_interrupts(lambda: "before the first step; nothing is trained yet")
    try:
        with before, raising_interrupts(), lock_run(request.out) if ranks.is_first else nullcontext():
            log = RunLog(request.out, console, active=ranks.is_first)
            record = _shared_record(request.out / "run.json", ranks, log)
            resolved = resolve(request, record, device, ranks, log.show, teacher)
            compilation = Compilation(resolved.config, device, ranks, log.show, watch)
            return _train(resolved, record, log, device, ranks, compilation)
    except BaseException as error:
        explained = ranks.lifeline.explain(error) if ranks.lifeline else error
        leave_ranks(ranks)
        let_others_exit(explained)
        if explained is error:
            raise
        raise explained from error
    finally:
        leave_ranks(ranks)


def _shared_record(path: Path, ranks: Ranks, log: RunLog) -> RunRecord:
    """Read the record of the run on rank 0, for all ranks: other hosts may still see an earlier one."""
    content = None
    if ranks.is_first:
        record = RunRecord(path)
        if record.damage:
            log.show(f"{record.damage} Its copy {record.copy} replaces it.")
        if record.content:
            record.update()  # restores what is damaged or missing
        content = record.content
    return RunRecord(path, ranks.share(content))


def _train(
    resolved: ResolvedRequest,
    record: RunRecord,
    log: RunLog,
    device: torch.device,
    ranks: Ranks,
    compilation: Compilation,
) -> Outcome:
    prepared = PreparedData(resolved.request.data_folder)
    compilation.begin()
    if ranks.is_first:
        for folder in ("checkpoints", KEPT):
            recover_all(resolved.request.out / folder)
        with describing_interrupts(lambda: "while preparing the text, before the first step; nothing is trained yet"):
            _prepare(resolved, prepared, record, log)
        if (
            "finished" in record.content
            and not resolved.pending
            and _bundle_is_intact(resolved.request.out, record, log)
        ):
            log.show(f"{resolved.request.out} is already finished: {_summary(record.content['finished'])}")
            _restore_report(resolved, prepared, record, log)
    wait_until_visible(ranks, [resolved.request.out / LOCK, prepared.report_file])
    metric = metric_of(resolved.config.training)
    if not resolved.pending and (finished := ranks.share(record.content.get("finished"))):
        status, ending = (
            finished.get("status", FINISHED),
            finished.get("ending", FINISHED),
        )  # absent in earlier versions
        return Outcome(status, finished, ranks.is_first, ending, headline(finished["valid"], metric))
    watch = compilation.watch
    parts = LoopParts(resolved, prepared, log, ranks, device, watch, compilation.prepare_search)
    with describing_interrupts(lambda: "before the first step; the prepared text is kept"):
        compilation.prepare_training()
        with watch.pause():
            agree_on_products(resolved.config, device, record, ranks, log.show)
        parts = parts.with_micro_batches(_stored_micro_batches(record, ranks.count))
        if resolved.request.dry_run:
            return dry_run(parts, has_report=record.plans is not None)
        plans, step_seconds = _agreed_plans(parts, record, watch)
        loop = parts.assemble(plans.plans[0])
    loop.plans, loop.plan = plans, plans.last
    loop.observe = resolved.request.observe
    loop.keep_plans = lambda plans: record.update(**plans.as_dict())
    log.show(_describe(loop))
    if loop.mixture:
        log.show(_describe_mixture(loop.mixture, resolved.request.train))
    if remark := unfit_remark(loop.bundle.config.training.bleu_tokenizer, (target for _, target in loop.valid.texts)):
        log.show(f"{remark} Set it with --set training.bleu_tokenizer=NAME.")
    _resume(loop, record)
    if not loop.state.step:
        show_forecast(forecast(loop, device, loop.plan.steps, step_seconds), log)
    with describing_interrupts(loop.describe_interrupt):
        return _conclude(loop, _run(loop, prepared), prepared, record)


def _run(loop: Loop, prepared: PreparedData) -> str:
    """Train, and write the report of a run that ends with a diagnosis."""
    try:
        return loop.train()
    except UserError as error:
        if loop.state.health.skipped_in_a_row:
            loop.log.record("stop", step=loop.state.step, why="diverged", ending=str(error))
            _write_report(loop, str(error), prepared, {})
        raise
    finally:
        loop.log.stop()


def _prepare(resolved: ResolvedRequest, prepared: PreparedData, record: RunRecord, log: RunLog) -> None:
    request, data = resolved.request, resolved.config.data
    adjustable = "data.vocab_size" not in explicit_settings(request)
    prepare(
        prepared.folder,
        request.train,
        request.valid,
        data,
        log.show,
        resolved.tokenizer,
        adjustable,
        request.languages,
    )
    if request.data:
        prepared.check_origin(origin_of(request.train, request.valid, data, request.languages))
        known = KnownChecksums(record.content.get("files"))
        corpora = [*request.train, *(request.valid or ())]
        prepared.check_contents(corpora, lambda path: known.of(path, sha256).split()[0])
        if resolved.tokenizer and resolved.tokenizer.files() != prepared.tokenizer().files():
            raise UserError(
                f"{prepared.folder} was prepared with another tokenizer. Give another folder: --data FOLDER."
            )
    _check_same_text(prepared, record)
    for line in prepared.report_lines():
        log.show(line)
    log.show(f"all dropped lines: {prepared.dropped}")


def _check_same_text(prepared: PreparedData, record: RunRecord) -> None:
    """Store the identity of the prepared text with the first plan, and refuse another one from then on."""
    found = prepared.identity()
    if record.plans and found and found != record.content.get("prepared", found):
        raise UserError(
            f"{prepared.folder}: differs from the text that the run was trained on, although it was prepared with the "
            "same settings, perhaps by another version of allyouneed or SentencePiece. Restore it from a backup, or "
            "give another --out."
        )
    if found and found != record.content.get("prepared"):
        record.update(prepared=found)


def _agreed_plans(parts: LoopParts, record: RunRecord, watch: Stopwatch) -> tuple[PlanHistory, float | None]:
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


def _stored_micro_batches(record: RunRecord, ranks: int) -> int | None:
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


def _resume(loop: Loop, record: RunRecord) -> None:
    """Restore the newest checkpoint and the log as it was then; start at step 0 if there is none."""
    folder = loop.run / "checkpoints"
    newest = loop.ranks.share(newest_checkpoint(folder) if loop.ranks.is_first else None)
    if newest:
        wait_until_visible(loop.ranks, [folder / newest / MANIFEST])
    size = load_checkpoint(folder, loop.state, newest)
    loop.log.rewind(size, folder / newest / LOG if newest else None)
    if loop.state.step and loop.state.step == loop.ranks.share(record.content.get("extended_at")):
        loop.state.validations_without_gain = 0  # patience begins anew
    if loop.ranks.is_first:
        loop.kept.rewind(loop.state.step)
    loop.log.record("plan", **loop.plan.as_dict())
    if loop.state.step:
        loop.log.record("resume", step=loop.state.step)
        loop.log.show(f"resuming at step {loop.state.step:,}")
        return
    initialised = loop.bundle.notes.get(INITIALISED)
    for line in [*([initialised] if initialised else []), *describe_frozen(loop.state.model, loop.training.freeze)]:
        loop.log.show(line)


def _conclude(loop: Loop, status: str, prepared: PreparedData, record: RunRecord) -> Outcome:
    scores: dict[str, Any] = {}
    warning = ""
    loop.gather()
    if loop.ranks.is_first and status != INTERRUPTED:
        with describing_interrupts(lambda: "in the final scoring; all steps are saved and will not be repeated"):
            scores = loop.finish()
        warning = validation_warning(scores["valid"]["loss"], loop.state.health, len(loop.bundle.tokenizer))
    ending = describe_ending(status, loop.state, loop.plans, loop.training, loop.signal, warning)
    if loop.ranks.is_first:
        loop.log.record("stop", step=loop.state.step, why=status, ending=ending)
        _write_report(loop, ending, prepared, scores)
        if scores:
            weights = loop.bundle.notes["weights"]
            record.update(finished={**scores, "weights": weights, "status": status, "ending": ending})
    scores = loop.ranks.share(scores)
    shown = headline(scores["valid"], loop.metric) if scores else ""
    return Outcome(status, scores, loop.ranks.is_first, ending, shown, loop.signal)


def _write_report(loop: Loop, ending: str, prepared: PreparedData, scores: dict[str, Any]) -> None:
    bundle = {"bundle": loop.bundle.notes["weights"]} if scores else {}
    _report(loop.run, loop.bundle.title, loop.bundle.config, loop.log, prepared, {**scores, **bundle}, ending)


def _bundle_is_intact(run: Path, record: RunRecord, log: RunLog) -> bool:
    """Return whether a finished run has its bundle; if it is damaged, the run is concluded again."""
    try:
        check_folder(run / "bundle", (), "It is written again from the snapshots.")
    except DamagedFile as error:
        log.show(str(error))
        record.update(finished=None)
        return False
    return True


def _restore_report(resolved: ResolvedRequest, prepared: PreparedData, record: RunRecord, log: RunLog) -> None:
    """Write the report of a finished run again if it is missing or damaged."""
    run, finished = resolved.request.out, record.content["finished"]
    path = run / "report.html"
    try:
        is_damaged = page_is_intact(path.read_bytes()) is False if path.exists() else True
    except OSError:
        is_damaged = False
    if is_damaged:
        title = title_of(resolved.request.languages, resolved.request.directions)
        scores = {"valid": finished["valid"], "bundle": finished["weights"]}
        _report(run, title, resolved.config, log, prepared, scores, finished.get("ending", FINISHED))
        log.show(f"{path} was missing or damaged, and is written again from the log")


def _report(
    run: Path,
    title: str,
    config: Config,
    log: RunLog,
    prepared: PreparedData,
    scores: dict[str, Any],
    ending: str,
) -> None:
    """Write the report; if that fails, the training is not affected."""
    path = run / "report.html"
    try:
        write_report(
            path,
            title=title,
            log=log.records(),
            corpus=prepared.reports(),
            settings=config.model_dump(),
            scores=scores,
            status=ending,
            metric=metric_of(config.training),
        )
    except UserError as error:
        log.show(f"{error} The training is not affected.")
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # a log of an earlier version has no checksums
        log.show(f"{path} cannot be written, since {log.path} is damaged ({type(error).__name__}: {error})")


def _describe(loop: Loop) -> str:
    plan = loop.plan
    decay = "to zero" if plan.decay == "linear" else "with 1/√step"
    budget = f" in {plan.minutes:g} minutes" if plan.minutes else ""
    if plan.budget is not None:  # the number of steps is corrected during the training
        budget = f"{budget} ({(plan.budget - loop.state.seconds) / 60:.2g} of them for training and scoring)"
    steps = f"{plan.steps:,} steps{budget}, warm-up {plan.warmup:,}, then decay {decay}"
    quality = f"; validation BLEU with tokenizer {loop.training.bleu_tokenizer}" if loop.training.bleu_sentences else ""
    return f"{loop.bundle.described()}; {steps}{quality}"


def _describe_mixture(mixture: Mixture, corpora: Sequence[Corpus]) -> str:
    drawn = zip(mixture.drawn, corpora, strict=True)
    parts = (f"{count:,} of {corpus.names} (weight {corpus.weight:g})" for count, corpus in drawn)
    return f"an epoch has {sum(mixture.drawn):,} pairs: {', '.join(parts)}"


def _summary(finished: dict[str, Any]) -> str:
    valid = finished["valid"]
    ending = f"{finished['ending']}; " if finished.get("ending") else ""
    return f"{ending}validation BLEU {valid['bleu']:.1f}, chrF {valid['chrf']:.1f} ({finished['weights']})"


@contextmanager
def lock_run(out: Path) -> Iterator[None]:
    """Lock the folder of a run, so that two processes cannot write to it.

    After a restart by torchrun, a process on another host, which was cut off, may hold the lock for a while.

    Args:
        out: The folder, which is created if it does not exist.

    Raises:
        UserError: If another process holds the lock, or the folder contains other files or is not writable.
    """
    try:
        names = {intended_name(path.name) for path in out.iterdir()} if out.is_dir() else set()
        if names and "run.json" not in names and (".lock" not in names or names - _RUN_FILES):
            raise UserError(
                f"{out} contains files that do not belong to a run. Give a new or an empty folder to --out."
            )
        out.mkdir(parents=True, exist_ok=True)
        (out / LOCK).touch()
        opened = open(out / LOCK, "r+")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise cannot_write(out, error) from error
    with opened as lock:
        deadline = time.monotonic() + (_RESTART_SECONDS if is_elastic() else 0)
        while not _locked(lock, out):
            if time.monotonic() > deadline:
                raise UserError(f"{out}: another process is training this run.")
            time.sleep(0.5)
        try:
            os.pwrite(lock.fileno(), uuid.uuid4().hex.encode(), 0)  # by which other hosts recognise the folder
        except OSError as error:
            raise cannot_write(out, error) from error
        yield


def _locked(lock: TextIO, out: Path) -> bool:
    """Lock a file if no other process has."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # the file system does not support locks
        raise cannot_write(out, error) from error
    return True
