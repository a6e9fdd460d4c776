"""Findings, their texts in English and Korean, and the catalogue of known mistakes."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from torch import Tensor

LANGUAGES = ("en", "ko")
FAILED, CHOICE, NOTE, PASSED, NOT_APPLICABLE = "failed", "choice", "note", "passed", "not applicable"
SYMPTOM = "symptom"  # a failed check of behaviour that follows from the mistakes found in the computation


@dataclass(frozen=True)
class Entry:
    """One entry of `mistakes.toml` or `checks.toml`.

    Attributes:
        name: Its key.
        level: "fault", "choice" (a legitimate difference from the paper) or "note".
        section: Section of the paper.
        texts: title, why and remedy, by language.
        seen: Addresses of public issues with this mistake.
    """

    name: str
    level: str
    section: str
    texts: Mapping[str, Mapping[str, str]]
    seen: tuple[str, ...] = ()

    def text(self, key: str, language: str = "en") -> str:
        """Return a text; English if it is not translated."""
        return self.texts[language].get(key) or self.texts["en"].get(key, "")


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        entry: Check, or mistake that was found.
        status: "failed", "symptom", "choice", "note", "passed" or "not applicable".
        measured: What was measured, by language.
        value: The measured magnitude, or None.
        site: Where, by language: kinds of attention; empty for all.
        step: First step that differs, for example "decoder.0.self.scores"; "" for behaviour.
        alternatives: Other mistakes that give the same output for this module's sizes.
    """

    entry: Entry
    status: str
    measured: Mapping[str, str] = field(default_factory=dict)
    value: float | None = None
    site: Mapping[str, str] = field(default_factory=dict)
    step: str = ""
    alternatives: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Key of the check or mistake."""
        return self.entry.name

    def title(self, language: str = "en") -> str:
        """Return what was found, as a sentence."""
        failed = self.entry.text("failed", language) if self.status in (FAILED, SYMPTOM, NOTE) else ""
        return failed or self.entry.text("title", language)

    def as_dict(self, language: str = "en") -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return {
            "name": self.name,
            "status": self.status,
            "title": self.title(language),
            "measured": self.measured.get(language, ""),
            "value": self.value,
            "site": self.site.get(language, ""),
            "step": self.step,
            "section": self.entry.section,
            "why": self.entry.text("why", language),
            "remedy": self.entry.text("remedy", language),
            "seen": list(self.entry.seen),
            "alternatives": list(self.alternatives),
        }


@dataclass(frozen=True)
class Comparison:
    """One step in the module and in the paper's computation.

    Attributes:
        step: Name of the step.
        theirs: Values of the module, a matrix.
        ours: Values of the paper's computation with the same weights.
        factor: theirs / ours if one is a multiple of the other, else None.
        labels: Labels of rows and columns.
    """

    step: str
    theirs: Tensor
    ours: Tensor
    factor: float | None
    labels: tuple[str, str] = ("", "")


@cache
def catalogue() -> Mapping[str, Entry]:
    """Return the known mistakes by name."""
    return _entries("mistakes.toml")


@cache
def checks() -> Mapping[str, Entry]:
    """Return the checks of behaviour and training by name."""
    return _entries("checks.toml")


def _entries(name: str) -> Mapping[str, Entry]:
    texts = tomllib.loads(files(__package__).joinpath(name).read_text("utf-8"))
    return {key: _entry(key, each) for key, each in texts.items()}


def _entry(name: str, values: Mapping[str, Any]) -> Entry:
    english = {key: value for key, value in values.items() if isinstance(value, str) and not key.endswith("_ko")}
    korean = {key.removesuffix("_ko"): value for key, value in values.items() if key.endswith("_ko")}
    level, section = values.get("level", "fault"), values["section"]
    return Entry(name, level, section, {"en": english, "ko": korean}, tuple(values.get("seen", ())))
