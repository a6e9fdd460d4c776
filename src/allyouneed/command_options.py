"""Options that several commands share, with shell completion, and a command group that suggests command names."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import allyouneed
from allyouneed.suggest import did_you_mean
from allyouneed.terminal import FileGroup, file_group


def complete_setting(incomplete: str) -> list[tuple[str, str]]:
    """Complete `SECTION.NAME=`, then the value if the choices are few; return pairs of text and description."""
    name, equals, _ = incomplete.partition("=")
    settings = allyouneed.config.list_settings()
    if not equals:
        return [(f"{each.name}=", each.description) for each in settings if each.name.startswith(name)]
    assignments = [
        (f"{name}={choice}", each.allowed) for each in settings if each.name == name for choice in each.choices
    ]
    return [(text, allowed) for text, allowed in assignments if text.startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """Complete the name of a recipe."""
    return [name for name in allyouneed.config.recipe_names() if name.startswith(incomplete)]


class SuggestingGroup(TyperGroup):
    """A group of commands that suggests a similar name for an unknown command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name = args[0]
        if name not in self.commands and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {name!r}{did_you_mean(name, self.commands)}")
        return super().resolve_command(ctx, args)


Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.NAME=VALUE",
        help="Override a setting (repeatable; see `allyouneed settings`).",
        autocompletion=complete_setting,
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE.toml",
        help="Settings (see `allyouneed recipes`). Default: chosen by the corpus and the minutes.",
        autocompletion=complete_recipe,
    ),
]
StudentRecipe = Annotated[
    str, typer.Option(metavar="NAME|FILE.toml", help="Settings of the student.", autocompletion=complete_recipe)
]
Train = Annotated[
    list[FileGroup],
    typer.Option(
        metavar="SOURCE TARGET",
        parser=file_group,
        help="Two parallel text files, or files with both sides, such as TSV or TMX. Repeat it for several corpora.",
    ),
]
Into = Annotated[
    str | None,
    typer.Option(
        "--to", metavar="CODE", help="Target language of a multilingual model.", rich_help_panel="Input and output"
    ),
]
