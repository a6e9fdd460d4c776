"""`run.json`: the request, settings, plan and final scores of a run.

The checkpoints are of no use without it: `run.json.copy`, written before it, replaces it if it is damaged or missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel, StrictInt

from allyouneed.config import Config, config_from
from allyouneed.errors import DamagedFile
from allyouneed.files import read_sealed, write_sealed
from allyouneed.training.planning.schedule import PlanHistory, Positive, TrainingPlan
from allyouneed.translation.evaluation.bleu_tokenizers import DEFAULT


class _Valid(BaseModel):
    bleu: float
    chrf: float
    loss: float | None


class _Finished(BaseModel):
    """The final scores; other names are ignored."""

    valid: _Valid
    weights: str
    model: str = ""  # absent in records of earlier versions
    status: str = ""
    ending: str = ""


class _Asked(BaseModel):
    """The part of the request that every version stored."""

    languages: tuple[str, str]
    recipe: str | None
    settings: list[str]


_Sections: TypeAlias = dict[str, dict[str, Any]]


class _Content(BaseModel):
    """Content of `run.json`. Other names, of later versions, are ignored."""

    asked: _Asked
    config: _Sections
    base: _Sections | None = None
    files: dict[str, str] = {}
    plan: TrainingPlan | None = None
    earlier_plans: list[TrainingPlan] = []
    micro_batches: Positive = 1
    ranks: Positive | None = None
    extended_at: StrictInt | None = None
    prepared: str | None = None
    arithmetic: dict[str, str] = {}
    finished: _Finished | None = None


COPY = ".copy"  # suffix of the copy's name


class RunRecord:
    """Stored facts of a run, which a repeated command reads.

    Attributes:
        path: Path of the file.
        content: Content of the file, which is read unless it is given: `asked` (see `identity`), `files` (see
            `KnownChecksums`), `base` (the settings without the overrides), `config` (the settings), `plan` (the
            newest), `earlier_plans` (those that it replaced), `prepared` (see `PreparedData.identity`), `arithmetic`
            (see `products.py`) and `finished` (the scores).
        damage: What is wrong with the file if its content was read from the copy; empty otherwise. It may be missing.

    Raises:
        UserError: If the file exists but cannot be read, or was written by an incompatible version.
    """

    def __init__(self, path: Path, content: dict[str, Any] | None = None):
        self.path, self.copy = path, path.with_name(path.name + COPY)
        self.content: dict[str, Any] = content or {}
        self.damage = ""
        if content is None and (path.exists() or self.copy.exists()):
            try:
                self.content = read_sealed(path, _Content, f"Its copy {self.copy} replaces it.")[0]
            except DamagedFile as error:
                self.content = self._copied()
                self.damage = str(error)

    @property
    def config(self) -> Config:
        """The stored settings; runs of versions without `training.bleu_tokenizer` were measured with 13a."""
        sections = self.content["config"]
        training = {"bleu_tokenizer": DEFAULT, **sections.get("training", {})}
        return config_from({**sections, "training": training}, str(self.path))

    @property
    def base(self) -> Config | None:
        """The stored settings without the overrides; None in records of earlier versions."""
        return config_from(self.content["base"], str(self.path)) if "base" in self.content else None

    @property
    def plans(self) -> PlanHistory | None:
        """The stored plans; None before the first step."""
        return PlanHistory.from_dict(self.content) if "plan" in self.content else None

    def update(self, **facts: object) -> None:
        """Store facts; None removes a fact. Raises `UserError` if the disk is full."""
        self.content = {key: value for key, value in {**self.content, **facts}.items() if value is not None}
        for path in (self.copy, self.path):
            write_sealed(path, self.content)
        self.damage = ""

    def _copied(self) -> dict[str, Any]:
        """Read the copy; raises the error of `run.json` if the copy is damaged or missing too."""
        remedy = f"Restore the file from a backup, give another --out, or delete {self.path.parent} to start over."
        try:
            return read_sealed(self.copy, _Content, remedy)[0]
        except DamagedFile:
            return read_sealed(self.path, _Content, remedy)[0]
