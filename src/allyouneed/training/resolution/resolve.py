"""Resolution of a request to settings, tokenizer and initial weights, each read once.

A repeated command means the same run if its text, its languages, its start and its settings are the same by value: the
order of the overrides, comments in a recipe file, and names and places of files do not count. Settings that do not
affect the weights may change, and a run may become longer.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.config import Config, assigned_values, load_recipe, recipe_names
from allyouneed.config.descriptions import shown
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.languages import describe_pair, language_code, stored_language_code
from allyouneed.snapshots import KEPT
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.reporting.outcome import STOPPED_EARLY
from allyouneed.training.request import Request, explicit_values
from allyouneed.training.resolution.checksums import KnownChecksums
from allyouneed.training.resolution.choice import Choice
from allyouneed.training.resolution.identity import differences, identity, name_of
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.resolution.vocabulary_settings import existing_tokenizer
from allyouneed.translation.evaluation.bleu_tokenizers import AUTO

_LENGTH = ("training.steps", "training.minutes")  # settings that a later command may raise
_PATIENCE, _SEARCH = "training.patience", "search."
_WITHOUT_EFFECT = (  # settings that do not affect the weights, up to rounding and the random numbers of dropout
    *("training.save_minutes", "training.log_every", "training.keep_snapshots", "training.device"),
    *("training.micro_batches", "training.sharding"),
)
_UNORDERED = ("training.freeze",)  # settings whose order has no meaning
_MOST_NAMED = 4  # differences in a message


class Change(NamedTuple):
    """A setting with another value than the run was started with."""

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} = {shown(self.before)}, now {shown(self.now)}"


@dataclass(frozen=True)
class ResolvedRequest:
    """A request with everything that it refers to.

    Attributes:
        request: The request as given.
        config: The settings of the run.
        start: Bundle to train further, on the CPU.
        teachers: Bundles of the teachers, on the CPU.
        tokenizer: The user's tokenizer, or that of the start or the teachers; None if a new tokenizer must be trained.
        pending: Facts for the run's record that hold once a longer run is planned; empty if its length is unchanged.
    """

    request: Request
    config: Config
    start: Bundle | None = None
    teachers: Sequence[Bundle] = ()
    tokenizer: AnyTokenizer | None = None
    pending: dict[str, Any] = field(default_factory=dict)


def resolve(
    request: Request,
    record: RunRecord,
    device: torch.device,
    ranks: Ranks,
    show: Callable[[str], None],
    teachers: Sequence[Bundle] = (),
) -> ResolvedRequest:
    """Load the bundles of a request, and determine the settings: the stored ones if the run exists, else new ones.

    Args:
        request: The request.
        record: Record of the run, which stores new settings.
        device: Device of the training; its speed determines the recipe if none is named.
        ranks: Processes of the run, which share the settings of rank 0.
        show: Callback that shows a line to the user.
        teachers: The bundles of `request.teachers`, if they are already loaded.

    Raises:
        UserError: If a file is missing, or if the run was started with other text or settings and has taken a step.
    """
    start = load_bundle(request.start_from) if request.start_from else None
    teachers = teachers or [load_bundle(path) for path in request.teachers]
    teacher = teachers[0] if teachers else None
    request = replace(request, languages=_languages(request, record, start, teacher))
    for direction in request.directions or (request.languages,):
        for line in describe_pair(*direction):
            show(line)
    agreed = None
    if ranks.is_first:
        agreed = _agree(Choice(request, start, teacher, device), record, show)
    config, pending = ranks.share(agreed)
    tokenizer = existing_tokenizer(request, config, start or teacher)
    return ResolvedRequest(request, config, start, teachers, tokenizer, pending)


def _languages(request: Request, record: RunRecord, start: Bundle | None, teacher: Bundle | None) -> tuple[str, str]:
    """Return canonical codes; those that a run or bundle of an earlier version has are accepted in any case."""
    accepted = set(record.content.get("asked", {}).get("languages", ()))
    accepted.update(*(bundle.languages for bundle in (start, teacher) if bundle))
    codes = [stored_language_code(code) if code in accepted else language_code(code) for code in request.languages]
    return codes[0], codes[1]


def _agree(choice: Choice, record: RunRecord, show: Callable[[str], None]) -> tuple[Config, dict[str, Any]]:
    """Return the settings, and the facts to store with a longer plan; other facts are stored at once."""
    request, started = choice.request, record.content.get("asked")
    choice.check()
    known = KnownChecksums(record.content.get("files"))
    described, others = identity(request, started, known), []
    if started is not None:
        others, base = [*differences(started, described)], _repeated_base(choice, record)
        if base is None:
            others.append(f"--recipe = {name_of(started['recipe'])}, now none")
        config = record.config if base is None else _repeated(choice, base, record)
        changes = list(_changes(record.config, config))
        if not others and not changes:
            return record.config, {}
        if "plan" in record.content:
            _refuse_other_run(request, others, changes)
            return _apply_changes(record, config, changes, {"asked": described, "base": _stored(base)}, show)
    base = choice.base(show)  # no step was taken: any change is possible
    config = choice.settle(choice.apply(base), show)
    if started is None or others or config.data != record.config.data:
        for leftover in ("data", "checkpoints", KEPT):
            shutil.rmtree(request.out / leftover, ignore_errors=True)
    record.update(asked=described, base=_stored(base), config=_stored(config), files=known.as_dict())
    return config, {}


def _repeated_base(choice: Choice, record: RunRecord) -> Config | None:
    """Return the settings of a repeated command without its overrides; None if it no longer names the recipe.

    If the recipe is the same, the stored settings count: it may have been chosen by the speed of another machine, or
    have changed in the package.
    """
    recipe, before = choice.request.recipe, record.content["asked"]["recipe"]
    if recipe == before and (recipe is None or recipe in recipe_names()):
        return record.base or _earlier_base(record)
    if recipe is None:
        return None
    return choice.base(lambda line: None)


def _earlier_base(record: RunRecord) -> Config:
    """Return the settings without overrides of a run whose record, by an earlier version, lacks them."""
    asked, config = record.content["asked"], record.config
    if asked["recipe"] is None:
        return config
    sections, recipe = config.model_dump(), load_recipe(asked["recipe"]).model_dump()
    for name in assigned_values(asked["settings"]):
        section, _, key = name.partition(".")
        sections[section][key] = recipe[section][key]
    return Config.model_validate(sections)


def _repeated(choice: Choice, base: Config, record: RunRecord) -> Config:
    """Apply the overrides; values that the program settled when the run was started are kept."""
    config, stored = choice.apply(base), record.config
    if config.training.bleu_tokenizer == AUTO:
        config = config.replace(training={"bleu_tokenizer": stored.training.bleu_tokenizer})
    return config


def _changes(before: Config, now: Config) -> Iterator[Change]:
    """Yield the settings that differ; the number of steps counts only where there are no minutes."""
    timed = before.training.minutes is not None and now.training.minutes is not None
    sections = before.model_dump(), now.model_dump()
    for section, values in sections[0].items():
        for name, value in values.items():
            other, key = sections[1][section][name], f"{section}.{name}"
            same = sorted(value) == sorted(other) if key in _UNORDERED else value == other
            if not same and not (timed and key == "training.steps"):
                yield Change(key, value, other)


def _refuse_other_run(request: Request, others: Sequence[str], changes: Sequence[Change]) -> None:
    """Raise `UserError` if a repeated command means another run than the one that has taken steps."""
    given = explicit_values(request)
    fatal = [each for each in changes if not _may_change(each)]
    fatal.sort(key=lambda each: each.name not in given)  # what the user typed first
    if not others and not fatal:
        return
    named = [*others, *map(str, fatal)]
    more = f"; and {len(named) - _MOST_NAMED} more settings" if len(named) > _MOST_NAMED else ""
    raise UserError(
        f"{request.out} was started with {'; '.join(named[:_MOST_NAMED])}{more}. Repeat the original command to resume "
        "it, or choose another --out."
    )


def _may_change(change: Change) -> bool:
    return change.name in (*_LENGTH, _PATIENCE, *_WITHOUT_EFFECT) or change.name.startswith(_SEARCH)


def _apply_changes(
    record: RunRecord, config: Config, changes: Sequence[Change], facts: dict[str, Any], show: Callable[[str], None]
) -> tuple[Config, dict[str, Any]]:
    """Store changes that do not affect the weights; those of the length are pending until they are planned."""
    facts, finished = {**facts, "config": _stored(config)}, record.content.get("finished")
    ended_early = finished is not None and finished.get("status") == STOPPED_EARLY
    length = [change for change in changes if change.name in _LENGTH or (ended_early and change.name == _PATIENCE)]
    for change in changes:
        if change not in length:
            show(f"{change.name} = {shown(change.now)} from now on, instead of {shown(change.before)}")
    if length:
        return config, facts
    if finished is not None and any(change.name.startswith(_SEARCH) for change in changes):
        show("the finished run is scored again with these search settings")
        facts["finished"] = None
    record.update(**facts)
    return config, {}


def _stored(config: Config | None) -> dict[str, Any] | None:
    return None if config is None else config.model_dump(mode="json")
