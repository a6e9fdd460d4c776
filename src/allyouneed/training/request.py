"""A training request, and the settings that it contains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from allyouneed.bundle import Build
from allyouneed.config import Config, assigned_values, load_recipe, recipe_names, recipe_values
from allyouneed.data.corpora import Corpus, directions_of
from allyouneed.data.directions import Direction
from allyouneed.model.transformer import Transformer
from allyouneed.training.planning.schedule import TrainingPlan
from allyouneed.training.validation import Observe


@dataclass(frozen=True)
class Request:
    """Everything that determines a training run.

    Attributes:
        train: Training text: one corpus or several.
        valid: Validation text; None to hold out pairs of the first training corpus.
        out: Folder of the run.
        languages: Codes of the source and the target language; of a multilingual model, those of its first direction.
        recipe: Name of a recipe or path of a TOML file; None to choose by the corpus and the minutes.
        settings: Overrides `SECTION.NAME=VALUE`.
        build: Creates the model from its settings and the vocabulary size; for experiments with other models.
        data: Folder of prepared data shared by several runs; None for a folder in the run.
        tokenizer: A SentencePiece model to use, or one for each language; empty to train a new one.
        start_from: RUN or bundle whose model and tokenizer are trained further.
        teachers: RUNs or bundles whose tokenizer the model shares; the first one's layers initialise it (see
            `initialise.py`).
        plan: Training plan to use instead of a new one, so that several runs are comparable.
        steady: Whether to keep the plan even if it does not fit into the minutes.
        observe: Measures the model during training, see `Loop.observe`.
        dry_run: Whether to stop before the first step, with a report on the text and a forecast.
    """

    train: Sequence[Corpus]
    valid: Sequence[Corpus] | None
    out: Path
    languages: tuple[str, str]
    recipe: str | None = None
    settings: Sequence[str] = ()
    build: Build = Transformer
    data: Path | None = None
    tokenizer: Sequence[Path] = ()
    start_from: Path | None = None
    teachers: Sequence[Path] = ()
    plan: TrainingPlan | None = None
    steady: bool = False
    observe: Observe | None = None
    dry_run: bool = False

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions of a multilingual model; empty for a model of one direction."""
        return directions_of(self.train)

    @property
    def data_folder(self) -> Path:
        """Folder of the prepared data."""
        return self.data or self.out / "data"


def base_config(request: Request) -> Config:
    """Load the requested recipe without the overrides; the paper's base model if no recipe is named."""
    return load_recipe(request.recipe) if request.recipe else Config()


def requested_device(request: Request) -> str:
    """Return the setting `training.device` without resolving the rest of the request.

    Raises:
        UserError: If there is no such recipe, or the value is invalid.
    """
    return base_config(request).override(assignments_of(request.settings, "training.device")).training.device


def assignments_of(settings: Sequence[str], key: str) -> list[str]:
    """Select the overrides `SECTION.NAME=VALUE` of one setting."""
    return [setting for setting in settings if setting.partition("=")[0].strip() == key]


def explicit_values(request: Request) -> dict[str, Any]:
    """Return the values that the user gave, by `SECTION.NAME`: overrides and values in a recipe file.

    Explicit values are never adjusted to the corpus, the machine or the budget. Values of the package's recipes are.

    Raises:
        UserError: If the recipe file cannot be read, or a name is unknown.
    """
    return own_recipe_values(request) | assigned_values(request.settings)


def own_recipe_values(request: Request) -> dict[str, Any]:
    """Return the values of the user's recipe file, by `SECTION.NAME`; {} for a recipe of the package."""
    own = request.recipe is not None and request.recipe not in recipe_names()
    return recipe_values(request.recipe) if own and request.recipe else {}


def explicit_settings(request: Request) -> frozenset[str]:
    """Return the names in `explicit_values`."""
    return frozenset(explicit_values(request))
