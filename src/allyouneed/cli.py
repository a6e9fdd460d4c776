"""The command line: all commands in one application. User errors print one line and exit with code 2.

Each package that has commands defines them in its `commands.py`: one function per command, without logic.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

import allyouneed
from allyouneed.command_options import Settings, SuggestingGroup
from allyouneed.documents.commands import app as documents
from allyouneed.errors import UserError
from allyouneed.exchange.commands import app as exchange
from allyouneed.insight.commands import app as insight
from allyouneed.paper.commands import app as paper
from allyouneed.serving.commands import app as serving
from allyouneed.terminal import console, program, resume_hint, run_app
from allyouneed.training.commands import app as training
from allyouneed.translation.commands import app as translation
from allyouneed.translation.evaluation.commands import app as evaluation
from allyouneed.verification.commands import app as verification

_SEVERAL_PROCESSES = ("train", "translate")  # commands that torchrun may start several times

app = typer.Typer(
    cls=SuggestingGroup,
    help='The Transformer of "Attention Is All You Need": bring parallel text, get a translator.',
    epilog="Begin with: allyouneed quickstart. Each command has an example: allyouneed train --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for commands in (training, documents, translation, evaluation, insight, exchange, serving, verification):
    app.add_typer(commands)
app.add_typer(paper, name="paper", short_help="Reproduce the paper's tables and figures.")


def _print_version(requested: bool) -> None:
    if requested:
        print(f"allyouneed {allyouneed.__version__}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""
    several = "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1"
    if several and context.invoked_subcommand not in _SEVERAL_PROCESSES:
        raise UserError(f"{context.invoked_subcommand} runs in one process: start it without torchrun.")


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder of the run.", metavar="RUN")] = Path("runs/quickstart"),
    settings: Settings = None,
) -> None:
    """Train, evaluate and try a translator of dates in minutes.

    From Korean to English, on a synthetic corpus.

    Example: allyouneed quickstart
    """
    with resume_hint():
        allyouneed.quickstart.run_quickstart(out, settings or [], console(), program())


@app.command()
def settings(
    selection: Annotated[
        str | None, typer.Argument(metavar="[SECTION]", help="A section or a setting. Default: all settings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List settings with their defaults, bounds and descriptions.

    Example: allyouneed settings training
    """
    print(allyouneed.config.listing.settings_listing(selection, as_json))


@app.command()
def recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the settings of each recipe.")] = False,
) -> None:
    """List recipes with their descriptions.

    Example: allyouneed recipes
    """
    print(allyouneed.config.listing.recipes_listing(as_json))


def main() -> NoReturn:
    """Run the command line and exit; a user error prints one line and exits with code 2."""
    run_app(app, UserError)
