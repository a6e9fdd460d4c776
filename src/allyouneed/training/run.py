"""From files of parallel text to a RUN: everything `allyouneed train` does, in order; the same call again resumes."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from allyouneed.bundle import Bundle
from allyouneed.config import Config, config_from, load_recipe
from allyouneed.data.corpus import CorpusReport, count_pairs
from allyouneed.data.prepare import PreparedData, prepare
from allyouneed.data.store import open_store
from allyouneed.errors import UserError
from allyouneed.files import cannot_write, read_json, sha256, to_json, write_file
from allyouneed.model.transformer import Transformer
from allyouneed.training.checkpoint import load_checkpoint
from allyouneed.training.distributed import Ranks, choose_device, join_ranks, leave_ranks
from allyouneed.training.log import RunLog
from allyouneed.training.loop import FINISHED, INTERRUPTED, Loop
from allyouneed.training.measure import measure
from allyouneed.training.optimizer import make_optimizers
from allyouneed.training.report import write_report
from allyouneed.training.schedule import Plan, plan_for_minutes, plan_for_steps
from allyouneed.training.size import DEFAULT_MINUTES, choose_size
from allyouneed.training.step import TrainingState
from allyouneed.training.validation import ValidationSet


@dataclass(frozen=True)
class Request:
    """What the user asked for. train, valid: one TSV file or two plain ones; languages: codes of source and target;
    recipe: a name, a TOML file, or None to choose by the corpus and the minutes; settings: SECTION.NAME=VALUE."""

    train: Sequence[Path]
    valid: Sequence[Path] | None
    out: Path
    languages: tuple[str, str]
    recipe: str | None = None
    settings: Sequence[str] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run ended (FINISHED, STOPPED_EARLY, INTERRUPTED), and its scores on the validation set if it came to an end."""

    status: str
    scores: dict


def train(request: Request, console: Console) -> Outcome:
    """Trains, or goes on training. Errors: `UserError` for anything the user can mend."""
    started = time.perf_counter()
    device = choose_device(_asked_device(request))
    ranks = join_ranks(device.type)
    try:
        with _only_one(request.out, ranks):
            return _train(request, console, device, ranks, started)
    finally:
        leave_ranks(ranks)


def _train(request: Request, console: Console, device: torch.device, ranks: Ranks, started: float) -> Outcome:
    log = RunLog(request.out, console, active=ranks.is_first)
    record = _Record(request.out / "run.json")
    config = ranks.share(_agreed_config(request, record, device, log) if ranks.is_first else None)
    prepared = PreparedData(request.out / "data")
    if ranks.is_first:
        _prepare(request, config, prepared, log)
        if "finished" in record.content:
            log.say(f"{request.out} is finished already: {_summary(record.content['finished'])}")
    ranks.wait()
    if finished := ranks.share(record.content.get("finished")):
        return Outcome(FINISHED, finished)
    parts = _Parts(request, config, prepared, log, ranks, device)
    loop = parts.assemble(_agreed_plan(parts, record, started))
    log.say(_describe(loop))
    _resume(loop)
    try:
        status = loop.train()
    finally:
        log.stop()
    return _conclude(loop, status, prepared, record)


def _prepare(request: Request, config: Config, prepared: PreparedData, log: RunLog) -> None:
    if not prepared.is_complete:
        pairs = count_pairs(request.train)
        prepare(prepared.folder, request.train, request.valid, config.data, pairs, log.say)
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
        model = Transformer(config.model, len(tokenizer)).to(self.device)
        notes = {"training pairs": report["kept"], "training files": ", ".join(Path(f).name for f in report["files"])}
        return Loop(
            run=self.request.out,
            bundle=Bundle(model, tokenizer, config, self.request.languages, report["longest_source"], notes=notes),
            plan=plan,
            state=TrainingState(model, make_optimizers(model, config.training, plan.learning_rate)),
            store=open_store(self.prepared.train),
            valid=ValidationSet(open_store(self.prepared.valid), self.prepared.valid_texts()),
            ranks=self.ranks,
            log=self.log,
        )


def _agreed_config(request: Request, record: _Record, device: torch.device, log: RunLog) -> Config:
    """The settings this run was begun with, or new ones. Errors: `UserError` if the same RUN is asked for with others."""
    asked = _asked(request)
    if not record.content:
        config, reason = _choose_config(request, device)
        if reason:
            log.say(reason)
        record.update(asked=asked, config=config.model_dump(mode="json"))
        return config
    config = config_from(record.content["config"], str(record.path))
    begun = record.content["asked"]
    if asked == begun:
        return config
    longer = _longer(begun, asked, config)
    if longer is None:
        changed = next(key for key in asked if asked[key] != begun.get(key))
        raise UserError(
            f"{request.out} was begun with {changed} = {begun.get(changed)}, now {asked[changed]}. "
            "Give another --out, or the same command as before."
        )
    record.update(asked=asked, config=longer.model_dump(mode="json"), plan=None, finished=None)
    log.say(f"going on to {longer.training.steps:,} steps")
    return longer


def _longer(begun: dict, asked: dict, config: Config) -> Config | None:
    """The settings with more steps, if nothing else differs; only 1/√step, which has no end, can simply go on."""
    longer = config.override(asked["settings"])
    same = config.override([f"training.steps={longer.training.steps}"])
    only_steps = {**begun, "settings": asked["settings"]} == asked and longer == same
    can_go_on = config.training.decay == "inverse_sqrt" and config.training.minutes is None
    return longer if only_steps and can_go_on and longer.training.steps > config.training.steps else None


def _choose_config(request: Request, device: torch.device) -> tuple[Config, str]:
    if request.recipe is not None:
        return load_recipe(request.recipe).override(request.settings), ""
    asked = Config().override(request.settings)
    by_steps = any(setting.partition("=")[0].strip() == "training.steps" for setting in request.settings)
    minutes = asked.training.minutes or DEFAULT_MINUTES
    choice = choose_size(count_pairs(request.train), minutes, device)
    config = choice.config.override((["training.minutes=none"] if by_steps else []) + list(request.settings))
    default = "" if asked.training.minutes or by_steps else f" (no --minutes given: {DEFAULT_MINUTES:g})"
    return config, f"recipe {choice.recipe}, chosen for {choice.reason}{default}"


def _agreed_plan(parts: _Parts, record: _Record, started: float) -> Plan:
    """The stored plan, or a new one, stored before the first step."""
    if stored := parts.ranks.share(record.content.get("plan")):
        return Plan(**stored)
    config = parts.config
    plan = plan_for_steps(config)
    if minutes := config.training.minutes:
        parts.log.say(f"measuring the speed, to plan {minutes:g} minutes ...")
        speed = measure(parts.assemble(plan), seconds=min(20.0, 60 * minutes * 0.04))
        seconds_left = 60 * minutes - (time.perf_counter() - started)
        plan = parts.ranks.share(plan_for_minutes(config, seconds_left, speed.step_seconds, speed.validation_seconds))
    if parts.ranks.is_first:
        record.update(plan=plan.as_dict())
        parts.log.record("plan", **plan.as_dict())
    return plan


def _resume(loop: Loop) -> None:
    size = load_checkpoint(loop.run / "checkpoints", loop.state)
    if loop.state.step:
        loop.log.rewind(size)
        loop.log.record("resume", step=loop.state.step)
        loop.log.say(f"going on from step {loop.state.step:,}")


def _conclude(loop: Loop, status: str, prepared: PreparedData, record: _Record) -> Outcome:
    scores: dict = {}
    loop.log.record("stop", step=loop.state.step, why=status)
    if loop.ranks.is_first:
        if status != INTERRUPTED:
            scores = loop.finish()
            record.update(finished={**scores, "weights": loop.bundle.notes["weights"]})
        _write_report(loop, status, prepared, scores)
    return Outcome(status, loop.ranks.share(scores))


def _write_report(loop: Loop, status: str, prepared: PreparedData, scores: dict) -> None:
    source, target = loop.bundle.languages
    shown = {name: value for name, value in scores.items()}
    if "weights" in loop.bundle.notes:
        shown["bundle"] = loop.bundle.notes["weights"]
    write_report(
        loop.run / "report.html",
        title=f"{source} → {target}",
        log=loop.log.records(),
        corpus=prepared.report(),
        settings=loop.bundle.config.model_dump(),
        scores=shown,
        status=status,
    )


def _describe(loop: Loop) -> str:
    plan, model = loop.plan, loop.bundle.config.model
    decay = "to zero" if plan.decay == "linear" else "with 1/√step"
    budget = f" in {plan.minutes:g} minutes" if plan.minutes else ""
    return (
        f"{model.encoder_layers} + {model.decoder_layers} layers, d_model {model.d_model}, "
        f"{loop.state.model.num_parameters() / 1e6:.1f} million parameters; {plan.steps:,} steps{budget}, "
        f"warm-up {plan.warmup:,}, then decay {decay}"
    )


def _summary(finished: dict) -> str:
    valid = finished["valid"]
    return f"validation BLEU {valid['bleu']:.1f}, chrF {valid['chrf']:.1f} ({finished['weights']})"


def _asked(request: Request) -> dict:
    """What makes a run the same run: the text by its content, the languages, the recipe, the settings."""
    sums = {f"{name} {path.name}": sha256(path) for name, path in _named_files(request)}
    return {
        **sums,
        "languages": list(request.languages),
        "recipe": request.recipe,
        "settings": list(request.settings),
    }


def _named_files(request: Request) -> Iterator[tuple[str, Path]]:
    for name, paths in (("train", request.train), ("valid", request.valid or ())):
        for path in paths:
            if not path.is_file():
                raise UserError(f"{path}: no such file.")
            yield name, path


def _asked_device(request: Request) -> str:
    recipe = load_recipe(request.recipe) if request.recipe else Config()
    return recipe.override(request.settings).training.device


class _Record:
    """`run.json`: what was asked for, the settings, the plan, and the scores when finished."""

    def __init__(self, path: Path):
        self.path = path
        remedy = "Give another --out, or delete the file to begin anew."
        self.content = read_json(path, remedy, lambda run: (run["asked"], run["config"])) if path.exists() else {}

    def update(self, **facts: object) -> None:
        """Adds facts; None takes one away."""
        self.content = {key: value for key, value in {**self.content, **facts}.items() if value is not None}
        write_file(self.path, to_json(self.content))


@contextmanager
def _only_one(out: Path, ranks: Ranks) -> Iterator[None]:
    """Two processes must not write one RUN. Errors: `UserError` when another one does, or it is no place to write."""
    if not ranks.is_first:
        yield
        return
    if out.is_dir() and any(out.iterdir()) and not any((out / name).exists() for name in ("run.json", ".lock")):
        raise UserError(f"{out} has files that are not a RUN's. Give a new or an empty folder to --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = open(out / ".lock", "w")
    except OSError as error:
        raise cannot_write(out, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{out}: another process is training this run.") from error
        yield
