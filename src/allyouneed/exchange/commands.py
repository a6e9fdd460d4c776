"""`allyouneed export`, `import` and `check`, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed.terminal import say

app = typer.Typer(rich_markup_mode=None)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    format: Annotated[str, typer.Option(metavar="NAME", help="ctranslate2, marian or argos.")],
    quantization: Annotated[
        str | None, typer.Option(metavar="TYPE", help="int8, int16 or float16; not for marian. Without it fp32.")
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(metavar="SOURCE TARGET", help="Compares on this text, with BLEU and chrF, not on the samples."),
    ] = None,
) -> None:
    """Writes a translator in another system's form.

    Then it compares what both say of the stored sample sentences.

    Example: allyouneed export RUN --format ctranslate2 DIR --quantization int8
    """
    from allyouneed.exchange.export import export as export_run

    if not export_run(run, format, folder, quantization, test):
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    format: Annotated[str, typer.Argument(metavar="marian", help="The form: marian, as every OPUS-MT model is.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the model.")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A new folder, as `allyouneed train` makes one.")],
    source: Annotated[str | None, typer.Option("--from", metavar="CODE", help="If the model does not tell.")] = None,
    target: Annotated[str | None, typer.Option("--to", metavar="CODE", help="If the model does not tell.")] = None,
) -> None:
    """Makes a RUN of another system's model.

    It translates, shows its attention and can be trained further.

    Example: allyouneed import marian opus-mt-de-en RUN
    """
    from allyouneed.exchange.marian_import import import_model

    say(import_model(format, folder, run, source, target))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run, a bundle, or what was exported.")],
) -> None:
    """Compares every file with its checksum.

    It names the first that is missing or has changed since it was written.

    Example: allyouneed check RUN
    """
    from allyouneed.exchange.check import check as check_files

    print(check_files(folder))
