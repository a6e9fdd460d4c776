"""Training of a model from files of parallel text, or resuming of a run: all steps of `allyouneed train`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from allyouneed.bundle import Bundle, check_finished, title_of, weights_checksum
from allyouneed.config import Config
from allyouneed.data.corpora import Corpus
from allyouneed.data.mixture import Mixture
from allyouneed.data.prepare import prepare
from allyouneed.data.prepared import PreparedData, origin_of
from allyouneed.devices import choose_device
from allyouneed.errors import DamagedFile, UserError
from allyouneed.files import MANIFEST, recover_all
from allyouneed.interruption import describing_interrupts, raising_interrupts
from allyouneed.kernels import background
from allyouneed.seals import page_is_intact
from allyouneed.snapshots import KEPT
from allyouneed.training.assemble import INITIALISED, LoopParts
from allyouneed.training.checkpoint import LOG, load_checkpoint, newest_checkpoint
from allyouneed.training.compilation import Compilation
from allyouneed.training.distributed.differences import facts_of, refuse_differences
from allyouneed.training.distributed.lifeline import let_others_exit
from allyouneed.training.distributed.ranks import Ranks, join_ranks, leave_ranks
from allyouneed.training.distributed.shared_folder import wait_until_visible
from allyouneed.training.dry_run import dry_run, show_forecast
from allyouneed.training.forecast import forecast
from allyouneed.training.freeze import describe_frozen
from allyouneed.training.health import validation_warning
from allyouneed.training.loop import Loop
from allyouneed.training.memory import keep_freed_memory
from allyouneed.training.patience import metric_of
from allyouneed.training.planning.agreement import agreed_plans, stored_micro_batches
from allyouneed.training.planning.available_memory import available_memory
from allyouneed.training.planning.clock import Stopwatch
from allyouneed.training.products import agree_on_products
from allyouneed.training.reporting.log import RunLog
from allyouneed.training.reporting.outcome import FINISHED, INTERRUPTED, Outcome, describe_ending, headline
from allyouneed.training.reporting.report import write_report
from allyouneed.training.request import Request, explicit_settings, requested_device
from allyouneed.training.resolution.checksums import KnownChecksums
from allyouneed.training.resolution.resolve import ResolvedRequest, resolve
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.run_lock import LOCK, lock_run
from allyouneed.translation.evaluation.bleu_tokenizers import unfit_remark
from allyouneed.untrusted import read_regular

_LARGEST_REPORT = 1 << 28  # bytes

_DATA_SHARE = 16  # part of the available memory that token ids may take


def train(request: Request, console: Console, teachers: Sequence[Bundle] = ()) -> Outcome:
    """Train a model, or resume its training if the run exists.

    Args:
        request: The text, the settings and the folder of the run.
        console: Where progress is shown.
        teachers: The bundles of `request.teachers`, if they are already loaded.

    Raises:
        UserError: If the request is invalid, files are missing or damaged, the disk is full, or training diverges.
        Interrupted: If a signal arrives before the first step, in the final scoring, or a second time.
    """
    watch = Stopwatch()
    keep_freed_memory()
    device = choose_device(requested_device(request))
    if device.type == "cpu":
        background.compile_early()
    with describing_interrupts(lambda: "while waiting for the other processes"), raising_interrupts():
        ranks = join_ranks(device.type)
    before = describing_interrupts(lambda: "before the first step; nothing is trained yet")
    try:
        with before, raising_interrupts(), lock_run(request.out) if ranks.is_first else nullcontext():
            refuse_differences(ranks, facts_of(request))
            log = RunLog(request.out, console, active=ranks.is_first)
            record = _shared_record(request.out / "run.json", ranks, log)
            resolved = resolve(request, record, device, ranks, log.show, teachers)
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
            log.show(record.damage)
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
    prepared = PreparedData(resolved.request.data_folder, available_memory(torch.device("cpu")) // _DATA_SHARE)
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
        status, ending = (finished.get(name, FINISHED) for name in ("status", "ending"))  # absent in earlier versions
        return Outcome(status, finished, ranks.is_first, ending, headline(finished["valid"], metric))
    watch = compilation.watch
    parts = LoopParts(resolved, prepared, log, ranks, device, watch, compilation.prepare_search)
    with describing_interrupts(lambda: "before the first step; the prepared text is kept"):
        compilation.prepare_training()
        with watch.pause():
            agree_on_products(resolved.config, device, record, ranks, log.show)
        parts = parts.with_micro_batches(stored_micro_batches(record, ranks.count))
        if resolved.request.dry_run:
            return dry_run(parts, has_report=record.plans is not None)
        plans, step_seconds = agreed_plans(parts, record, watch)
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
    known = KnownChecksums(record.content.get("files"))
    prepare(
        prepared.folder,
        request.train,
        request.valid,
        data,
        log.show,
        tokenizer=resolved.tokenizer,
        adjustable="data.vocab_size" not in explicit_settings(request),
        languages=request.languages,
        checksum=known.of_file,
    )
    if request.data:
        prepared.check_origin(origin_of(request.train, request.valid, data, request.languages))
        prepared.check_contents([*request.train, *(request.valid or ())], known.of_file)
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
            weights, model = loop.bundle.notes["weights"], weights_checksum(loop.run / "bundle")
            record.update(finished={**scores, "weights": weights, "model": model, "status": status, "ending": ending})
    scores = loop.ranks.share(scores)
    shown = headline(scores["valid"], loop.metric) if scores else ""
    return Outcome(status, scores, loop.ranks.is_first, ending, shown, loop.signal)


def _write_report(loop: Loop, ending: str, prepared: PreparedData, scores: dict[str, Any]) -> None:
    bundle = {"bundle": loop.bundle.notes["weights"]} if scores else {}
    _report(loop.run, loop.bundle.title, loop.bundle.config, loop.log, prepared, {**scores, **bundle}, ending)


def _bundle_is_intact(run: Path, record: RunRecord, log: RunLog) -> bool:
    """Return whether a finished run has its bundle; if it is damaged or another one, the run is concluded again."""
    try:
        check_finished(run / "bundle", record.content["finished"], "It is written again from the snapshots.")
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
        is_damaged = page_is_intact(read_regular(path, _LARGEST_REPORT)) is False if path.exists() else True
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
