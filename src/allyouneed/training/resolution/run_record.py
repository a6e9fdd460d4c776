"""`run.json`: the request, settings, plan and final scores of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from allyouneed.config import Config, config_from
from allyouneed.files import read_json, to_json, write_file
from allyouneed.training.planning.schedule import PlanHistory
from allyouneed.translation.evaluation.bleu_tokenizers import DEFAULT


class RunRecord:
    """Stored facts of a run, which a repeated command reads.

    Attributes:
        path: Path of the file.
        content: Content of the file: `asked` (see `identity`), `files` (see `KnownChecksums`), `base` (the settings
            without the overrides), `config` (the settings), `plan` (the newest), `earlier_plans` (those that it
            replaced) and `finished` (the scores).

    Raises:
        UserError: If the file exists but cannot be read, or was written by an incompatible version.
    """

    def __init__(self, path: Path):
        self.path = path
        remedy = "Give another --out, or delete the file to start over."
        self.content: dict[str, Any] = {}
        if path.exists():
            self.content = read_json(path, remedy, _check)

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
        write_file(self.path, to_json(self.content))


def _check(run: dict[str, Any]) -> None:
    """Raise `KeyError` or `TypeError` for content in a different format than this version writes."""
    if not {"asked", "config"} <= run.keys():
        raise KeyError("asked, config")
    if "plan" in run:
        PlanHistory.from_dict(run)
