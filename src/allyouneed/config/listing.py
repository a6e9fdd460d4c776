"""Listings of settings and recipes for the terminal and as JSON."""

from __future__ import annotations

import json
import shutil
import textwrap
import tomllib
from dataclasses import asdict
from itertools import takewhile

from allyouneed.config import list_settings, recipe_names, recipe_text
from allyouneed.errors import UserError
from allyouneed.suggest import did_you_mean

_WIDEST = 100  # maximum line width in columns


def settings_listing(selection: str | None, as_json: bool) -> str:
    """List settings with defaults, allowed values and descriptions.

    Args:
        selection: A section or a setting; None for all settings.
        as_json: Whether to return a JSON array of objects.

    Raises:
        UserError: If there is no such section or setting.
    """
    settings = list_settings()
    if selection is not None:
        chosen = [setting for setting in settings if selection in (setting.name, setting.name.partition(".")[0])]
        if not chosen:
            sections = dict.fromkeys(setting.name.partition(".")[0] for setting in settings)
            known = [*sections, *(setting.name for setting in settings)]
            raise UserError(
                f"there is no section or setting {selection!r}{did_you_mean(selection, known)} Sections: "
                f"{', '.join(sections)}."
            )
        settings = chosen
    if as_json:
        return json.dumps([asdict(setting) for setting in settings], indent=1, ensure_ascii=False)
    return "\n".join(
        _entry(f"{each.name} = {each.default}", f"{each.description}. Allowed: {each.allowed}.") for each in settings
    )


def recipes_listing(as_json: bool) -> str:
    """List the recipes with their descriptions.

    Args:
        as_json: Whether to return a JSON array of objects, which include the settings of each recipe.
    """
    texts = {name: recipe_text(name) for name in recipe_names()}
    if as_json:
        recipes = [
            {"name": name, "description": _description(text), "settings": tomllib.loads(text)}
            for name, text in texts.items()
        ]
        return json.dumps(recipes, indent=1, ensure_ascii=False)
    return "\n".join(_entry(name, _description(text)) for name, text in texts.items())


def _description(recipe: str) -> str:
    """Return the first paragraph of the comment at the beginning of a recipe."""
    return " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("# "), recipe.splitlines()))


def _entry(title: str, text: str) -> str:
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    return f"{title}\n{textwrap.fill(text, width, initial_indent='    ', subsequent_indent='    ')}"
