"""Options that several commands share, with shell completion, and a command group that suggests command names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import allyouneed
from allyouneed.suggest import did_you_mean
from allyouneed.terminal import FileGroup, completing, file_group


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
Train = Annotated[
    list[FileGroup],
    typer.Option(
        metavar="SOURCE TARGET",
        parser=file_group,
        help="Two parallel text files, or one TSV. Repeat it for several corpora.",
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
# Evaluation
Test = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="SOURCE TARGET",
        help="Source and one or several references, one TSV, or a test set of sacreBLEU such as wmt14/en-de.",
        rich_help_panel="Input and output",
    ),
]
References = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference", metavar="FILE", help="Another reference (repeatable).", rich_help_panel="Input and output"
    ),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metrics",
        "--metric",
        metavar="NAMES",
        help="bleu, chrf, chrf++, ter, comet, with commas or repeated. Default: bleu,chrf.",
        autocompletion=completing("bleu", "chrf", "chrf++", "ter", "comet", "bleu,chrf,ter"),
        rich_help_panel="Metrics",
    ),
]
Tokenized = Annotated[
    bool, typer.Option("--tokenized", help="The text is tokenized: compute BLEU as it is.", rich_help_panel="Metrics")
]
Tokenizer = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="sacreBLEU's tokenizer: auto (by the target language), 13a, intl, zh, ja-mecab, ko-mecab, char, ...",
        autocompletion=completing("auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "flores200"),
        rich_help_panel="Metrics",
    ),
]
