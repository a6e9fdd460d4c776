"""Typed settings. The defaults are the paper's base model (Vaswani et al., 2017).

Settings come from the defaults, a recipe (TOML) and overrides `SECTION.NAME=VALUE`; later values take precedence. Every
setting has a type, a description and bounds. An unknown name is rejected with a suggestion of the most similar name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from allyouneed import lazy
from allyouneed.config.descriptions import Setting, complaint, describe, shown
from allyouneed.config.model_config import ModelConfig
from allyouneed.config.section import Section
from allyouneed.config.sections import DataConfig, SearchConfig, TrainingConfig
from allyouneed.errors import UserError
from allyouneed.suggest import did_you_mean
from allyouneed.untrusted import parse_toml, read_regular

if TYPE_CHECKING:
    from allyouneed.config import listing as listing

__all__ = [
    "Config",
    "DataConfig",
    "ModelConfig",
    "SearchConfig",
    "TrainingConfig",
    "assigned_values",
    "check_values",
    "config_from",
    "list_settings",
    "load_recipe",
    "recipe_names",
    "recipe_text",
    "recipe_values",
]

__getattr__ = lazy.attach(__name__, {}, ["listing"])  # lazy, because `listing` imports this module

_LARGEST_RECIPE = 1 << 18  # bytes
MOST_PARAMETERS = 10**11  # 400 GB in fp32; far larger counts would overflow 64-bit offsets in PyTorch


class Config(BaseModel):
    """All settings, in the same sections as a recipe. A bundle stores the settings of its training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    search: SearchConfig = SearchConfig()

    @model_validator(mode="after")
    def _check_across_sections(self) -> Config:
        needed = self.data.max_length + self.search.max_extra_length + 1
        if self.model.positions == "learned" and self.model.max_positions < needed:
            raise ValueError(
                f"model.max_positions = {self.model.max_positions} is less than data.max_length + "
                f"search.max_extra_length + 1 = {needed}; every position needs a learned embedding"
            )
        if (count := self.model.count_weights(self.data.vocab_size)) > MOST_PARAMETERS:
            raise ValueError(
                f"these sizes make a model of {count:.2g} parameters, the maximum is {MOST_PARAMETERS:.0e}; "
                "lower model.d_model, model.d_ff, the number of layers or data.vocab_size"
            )
        return self

    def replace(
        self,
        *,
        model: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        search: Mapping[str, Any] | None = None,
    ) -> Config:
        """Make a copy with some settings changed, for example `config.replace(search={"beam_size": 4})`.

        Args:
            model: New values of model settings by name.
            data: New values of data settings by name.
            training: New values of training settings by name.
            search: New values of search settings by name.

        Returns:
            The validated copy.

        Raises:
            UserError: If a name is unknown or a value is invalid; the message names `section.name`.
        """
        changes = {"model": model, "data": data, "training": training, "search": search}
        settings = self.model_dump()
        for section, values in changes.items():
            for name in values or ():
                _refuse_unknown(section, name, "")
            settings[section].update(values or {})
        return _validated(settings, "")

    def override(self, assignments: Iterable[str], where: str = "--set") -> Config:
        """Make a copy with settings changed by typed assignments; programs should use `replace`.

        Args:
            assignments: `SECTION.NAME=VALUE`, with values in TOML syntax; strings need no quotes.
            where: The origin of the values, for messages.

        Returns:
            The validated copy.

        Raises:
            UserError: If a name is unknown or a value is impossible.
        """
        settings = self.model_dump()
        for key, value in assigned_values(assignments).items():
            section, _, name = key.partition(".")
            settings[section][name] = value
        return _validated(settings, where)


def config_from(sections: Mapping[str, Any], where: str) -> Config:
    """Read settings from nested dictionaries, as parsed from TOML or JSON.

    Args:
        sections: Values by section and name.
        where: The origin of the values, for messages.

    Raises:
        UserError: If a name is unknown or a value is impossible.
    """
    for section, names in sections.items():
        if not isinstance(names, dict):
            raise UserError(f"{where}: {section} is outside a section. Put it below a heading such as [training].")
        for name in names or [""]:
            _refuse_unknown(section, name, where)
    return _validated(sections, where)


def check_values(sections: Mapping[str, Mapping[str, Any]], where: str) -> None:
    """Check each name and value separately; a recipe may still change the other settings.

    Args:
        sections: Values by section and name.
        where: The origin of the values, for messages.

    Raises:
        UserError: If a name is unknown or a value is impossible.
    """
    for section, values in sections.items():
        for name in values:
            _refuse_unknown(section, name, where)
    try:
        Config.model_validate(sections)
    except ValidationError as error:
        if any(len(each["loc"]) > 1 for each in error.errors()):
            prefix = f"{where}: "
            raise UserError(f"{prefix}{_first_mistake(error)}.") from error


def list_settings() -> list[Setting]:
    """List all settings with their defaults, bounds and descriptions."""
    return list(describe(Config))


def load_recipe(recipe: str | Path) -> Config:
    """Load the settings of a recipe.

    Args:
        recipe: One of `recipe_names()`, or the path of a TOML file.

    Raises:
        UserError: If there is no such recipe, the TOML is malformed, a name is unknown or a value is invalid.
    """
    return config_from(_recipe_sections(recipe), f"recipe {recipe}")


def recipe_values(recipe: str | Path) -> dict[str, Any]:
    """Return the values that a recipe contains, by `SECTION.NAME`; raises `UserError` like `load_recipe`."""
    load_recipe(recipe)  # checks names
    sections = _recipe_sections(recipe)
    return {f"{section}.{name}": value for section, values in sections.items() for name, value in values.items()}


def assigned_values(assignments: Iterable[str]) -> dict[str, Any]:
    """Parse `SECTION.NAME=VALUE` to values by `SECTION.NAME`; the last value of a name counts.

    Raises:
        UserError: If an assignment has another form, or a name is unknown. Values are not checked.
    """
    values = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        section, _, name = key.strip().rpartition(".")
        if not (equals and name):
            raise UserError(f"--set {assignment}: write SECTION.NAME=VALUE, for example training.seed=2.")
        _refuse_unknown(section, name, f"--set {assignment}")
        values[f"{section}.{name}"] = _parse_value(value.strip())
    return values


def _recipe_sections(recipe: str | Path) -> dict[str, Any]:
    try:
        return parse_toml(recipe_text(recipe))
    except (ValueError, RecursionError) as error:
        raise UserError(f"recipe {recipe}: not TOML: {error}.") from error


def recipe_text(recipe: str | Path) -> str:
    """Read a recipe's TOML. Raises `UserError` if it does not exist or cannot be read."""
    if str(recipe) in recipe_names():
        return _recipes_folder().joinpath(*f"{recipe}.toml".split("/")).read_text(encoding="utf-8")
    if Path(recipe).suffix != ".toml":
        names = ", ".join(name for name in recipe_names() if "/" not in name)
        raise UserError(
            f"there is no recipe {str(recipe)!r}{did_you_mean(str(recipe), recipe_names())} Recipes: {names}, the rows "
            "of the paper's table 3 (table3/base, ...), or a .toml file."
        )
    try:
        return read_regular(Path(recipe), _LARGEST_RECIPE).decode("utf-8")
    except (OSError, ValueError) as error:
        raise UserError(f"recipe {recipe}: cannot be read ({error}).") from error


def recipe_names() -> list[str]:
    """List the recipes of the package; the rows of the paper's table 3 begin with `table3/`."""
    folder = _recipes_folder()
    folders = [("", folder), ("table3/", folder / "table3")]
    files = [f"{prefix}{file.name}" for prefix, folder in folders for file in folder.iterdir()]
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def _recipes_folder() -> Traversable:
    return resources.files("allyouneed") / "recipes"


def _validated(settings: Mapping[str, Any], where: str) -> Config:
    prefix = f"{where}: " if where else ""
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise UserError(f"{prefix}{_first_mistake(error)}.") from error


def _first_mistake(error: ValidationError) -> str:
    first = max(error.errors(), key=lambda each: len(each["loc"]) > 1)
    if len(first["loc"]) < 2:  # an error across several settings
        return first["msg"].removeprefix("Value error, ")
    section, name, *rest = first["loc"]
    field = _section(str(section)).model_fields[str(name)]
    index = rest[0] if rest and isinstance(rest[0], int) else None
    return f"{section}.{name} = {shown(first['input'])}: {complaint(field, first['input'], index)}"


def _refuse_unknown(section: str, name: str, where: str) -> None:
    if section in Config.model_fields and (name in _section(section).model_fields or not name):
        return
    key = f"{section}.{name}".strip(".")
    prefix = f"{where}: " if where else ""
    raise UserError(f"{prefix}unknown key {key}{did_you_mean(key, (setting.name for setting in list_settings()))}")


def _section(name: str) -> type[Section]:
    return cast(type[Section], Config.model_fields[name].annotation)


def _parse_value(text: str) -> Any:
    try:
        return parse_toml(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # not TOML: an unquoted string
        if "," in text:
            return tuple(_parse_value(part.strip()) for part in text.split(","))
        return None if text == "none" else text
