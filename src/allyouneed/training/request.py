"""What a run is asked for, and whether a RUN that exists is the same run."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from allyouneed.bundle import Build, Bundle, find_bundle, load_bundle
from allyouneed.config import Config, config_from, load_recipe, recipe_names
from allyouneed.data.corpus import count_pairs
from allyouneed.errors import UserError
from allyouneed.files import MANIFEST, read_json, sha256, to_json, write_file
from allyouneed.model.transformer import Transformer
from allyouneed.training.schedule import Plan, plan_for_steps
from allyouneed.training.size import DEFAULT_MINUTES, choose_size

# A trained model must not be shaken: Adam, with a peak far below what a new one is trained with.
_GENTLY = {"learning_rate": 2e-4, "warmup": 200, "batch_tokens": 4000}


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    train, valid: one TSV file or two plain ones; languages: codes of source and target; recipe: a name, a TOML file,
    or None to choose by the corpus and the minutes; settings: SECTION.NAME=VALUE; start_from: a RUN or bundle whose
    model and subwords are trained further; teacher: one whose subwords a new model takes, and of its weights what fits
    (see `inherit.py`). Experiments may train another model on the same terms (build: from settings and vocabulary
    size), several runs on data prepared once (data) and by one plan (plan: instead of one of its own), which is then
    not corrected on the way to keep to the minutes (steady).
    """

    train: Sequence[Path]
    valid: Sequence[Path] | None
    out: Path
    languages: tuple[str, str]
    recipe: str | None = None
    settings: Sequence[str] = ()
    build: Build = Transformer
    data: Path | None = None
    start_from: Path | None = None
    teacher: Path | None = None
    plan: Plan | None = None
    steady: bool = False

    @property
    def data_folder(self) -> Path:
        """Where the prepared data is."""
        return self.data or self.out / "data"


class Record:
    """`run.json`: what was asked for, the settings, the plan, and the scores when finished.

    Errors: `UserError` when the file that is there cannot be read, or is of another version.
    """

    def __init__(self, path: Path):
        self.path = path
        remedy = "Give another --out, or delete the file to begin anew."
        self.content: dict[str, Any] = {}
        if path.exists():
            self.content = read_json(path, remedy, _check_record)

    def update(self, **facts: object) -> None:
        """Adds facts; None takes one away. Errors: `UserError` when the disk is full."""
        self.content = {key: value for key, value in {**self.content, **facts}.items() if value is not None}
        write_file(self.path, to_json(self.content))


def _check_record(run: dict[str, Any]) -> None:
    """Errors: `KeyError` or `TypeError` for what no version, or only another, has written."""
    if not {"asked", "config"} <= run.keys():
        raise KeyError("asked, config")
    if "plan" in run:
        Plan(**run["plan"])


def recipe_of(request: Request) -> Config:
    """The recipe asked for, without the settings; the paper's base where none is named."""
    return load_recipe(request.recipe) if request.recipe else Config()


def asked_device(request: Request) -> str:
    """The setting training.device. Errors: `UserError` for a recipe or a value that cannot be."""
    return recipe_of(request).override(settings_of(request.settings, "training.device")).training.device


def agreed_config(request: Request, record: Record, device: torch.device, say: Callable[[str], None]) -> Config:
    """The settings this run was begun with, or new ones, stored.

    Errors: `UserError` when the RUN has taken its first step with other text or other settings.
    """
    asked = identity(request)
    begun = record.content.get("asked", {})
    if asked == begun:
        return _stored_config(record)
    if "plan" not in record.content:  # nothing is learnt yet: what a first, mistaken call prepared goes
        for leftover in ("data", "checkpoints"):
            shutil.rmtree(request.out / leftover, ignore_errors=True)
        config, reason = _choose_config(request, device)
        if reason:
            say(reason)
        record.update(asked=asked, config=config.model_dump(mode="json"))
        return config
    longer = _longer(begun, asked, _stored_config(record))
    if longer is None:
        changed = next(key for key in {**asked, **begun} if asked.get(key) != begun.get(key))
        raise UserError(
            f"{request.out} was begun with {changed} = {begun.get(changed)}, now {asked.get(changed)}. "
            "Give another --out, or the same command as before."
        )
    plan = plan_for_steps(longer).as_dict()
    record.update(asked=asked, config=longer.model_dump(mode="json"), plan=plan, finished=None)
    say(f"going on to {longer.training.steps:,} steps")
    return longer


def identity(request: Request) -> dict[str, Any]:
    """What makes a run the same run: text and recipe by their content, languages, settings.

    Errors: `UserError` for a file that is missing.
    """
    recipe = request.recipe
    if recipe is not None and recipe not in recipe_names() and Path(recipe).is_file():
        recipe = f"{recipe} {sha256(Path(recipe))}"
    return {
        "train": [f"{path.name} {_sum(path)}" for path in request.train],
        "valid": [f"{path.name} {_sum(path)}" for path in request.valid or ()],
        "languages": list(request.languages),
        "recipe": recipe,
        "settings": list(request.settings),
        **({"start from": bundle_sum(request.start_from)} if request.start_from else {}),
        **({"teacher": bundle_sum(request.teacher)} if request.teacher else {}),
    }


def bundle_sum(run: Path) -> str:
    """A bundle by its path and content. Errors: `UserError` where there is none."""
    return f"{run} {_sum(find_bundle(run) / MANIFEST)}"


def _sum(path: Path) -> str:
    if not path.exists():
        raise UserError(f"{path}: no such file.")
    if not path.is_file():
        raise UserError(f"{path}: a folder, or a pipe. Give a file, which can be read several times; .gz will do.")
    return sha256(path)


def settings_of(settings: Sequence[str], key: str) -> list[str]:
    """Those of the settings SECTION.NAME=VALUE that are of this key."""
    return [setting for setting in settings if setting.partition("=")[0].strip() == key]


def _stored_config(record: Record) -> Config:
    return config_from(record.content["config"], str(record.path))


def _longer(begun: dict[str, Any], asked: dict[str, Any], config: Config) -> Config | None:
    """The settings with more steps, if nothing else differs; only 1/√step, which has no end, can simply go on."""

    def others(run: dict[str, Any]) -> dict[str, Any]:
        settings = [setting for setting in run["settings"] if not setting.startswith("training.steps")]
        return {**run, "settings": settings}

    longer = config.override(asked["settings"])
    can_go_on = config.training.decay == "inverse_sqrt" and config.training.minutes is None
    more = longer.training.steps > config.training.steps
    return longer if others(begun) == others(asked) and can_go_on and more else None


def _choose_config(request: Request, device: torch.device) -> tuple[Config, str]:
    """The settings asked for, and why, where the recipe was chosen here."""
    config, reason = _settings_and_reason(request, device)
    if config.training.teacher_share and request.teacher is None:
        raise UserError("training.teacher_share is for `allyouneed distil`, which has a teacher. Leave it out here.")
    return config, reason


def _settings_and_reason(request: Request, device: torch.device) -> tuple[Config, str]:
    by_steps, by_minutes = (settings_of(request.settings, f"training.{name}") for name in ("steps", "minutes"))
    if by_steps and by_minutes:
        raise UserError("training.steps and training.minutes are both given: choose one, the other follows.")
    settings = [*(["training.minutes=none"] if by_steps else []), *request.settings]
    if request.start_from is not None:
        return _further(request, load_bundle(request.start_from), settings, not by_steps), ""
    if request.teacher is not None:
        size = len(load_bundle(request.teacher).tokenizer)
        return recipe_of(request).override(settings).replace(data={"vocab_size": size}), ""
    if request.recipe is not None:
        return load_recipe(request.recipe).override(settings), ""
    minutes = Config().override(by_minutes).training.minutes or DEFAULT_MINUTES
    choice = choose_size(count_pairs(request.train), minutes, device)
    config = choice.config.override(settings)
    default = "" if by_minutes or by_steps else f" (no --minutes given: {DEFAULT_MINUTES:g})"
    return config, f"recipe {choice.recipe}, chosen for {choice.reason}{default}"


def _further(request: Request, start: Bundle, settings: Sequence[str], by_minutes: bool) -> Config:
    """Settings for training a translator further: its model, and gentle steps unless a recipe says otherwise."""
    base = load_recipe(request.recipe) if request.recipe is not None else Config().replace(training=_GENTLY)
    if request.recipe is None and by_minutes:
        base = base.replace(training={"minutes": DEFAULT_MINUTES})
    data = base.data.model_copy(update={"vocab_size": len(start.tokenizer)})
    return base.model_copy(update={"model": start.config.model, "data": data, "search": start.config.search}).override(
        settings
    )
