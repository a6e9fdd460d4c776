"""The commands `allyouneed export`, `import`, `info` and `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed import exchange
from allyouneed.exchange.formats import FORMATS
from allyouneed.terminal import completing, say

app = typer.Typer(rich_markup_mode=None)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    format: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="ctranslate2, marian (Hugging Face), marian-native or argos.",
            autocompletion=completing("ctranslate2", "marian", "marian-native", "argos"),
        ),
    ],
    quantization: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="int8, int16 or float16, for ctranslate2 and argos (default: fp32)."),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SOURCE TARGET",
            help="Compare on this text and report BLEU and chrF (default: the bundle's sample sentences).",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--to", metavar="CODE", help="Target language of --test, for a multilingual model."),
    ] = None,
) -> None:
    """Convert a translator to another system's format.

    Both systems then translate the same sentences, and the results are compared.

    Example: allyouneed export RUN --format ctranslate2 DIR --quantization int8
    """
    if not exchange.export_bundle(run, format, folder, quantization, test, target=target):
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    format: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT", help=f"Format of the model: {', '.join(FORMATS)}.", autocompletion=completing(*FORMATS)
        ),
    ],
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL... RUN",
            help="Folder or files of the model, and RUN, a new folder, laid out as by `allyouneed train`.",
        ),
    ],
    source: Annotated[
        str | None, typer.Option("--from", metavar="CODE", help="Source language (default: read from the model).")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", metavar="CODE", help="Target language (default: read from the model).")
    ] = None,
) -> None:
    """Convert another system's model to a RUN.

    The RUN can be translated with, inspected and trained further.

    Example: allyouneed import marian opus-mt-de-en RUN
    """
    say(exchange.import_bundle(format, paths[:-1], paths[-1], source, target))


@app.command()
def info(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder or file of a model, whoever made it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a model is.

    System, languages, sizes, what differs from the paper's model, licence, and the formats that it can be exported to.

    Example: allyouneed info MODEL
    """
    print(exchange.describe_model(model, as_json))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run, a bundle, or an exported folder or package.")],
) -> None:
    """Compare every file with its checksum.

    Of a run, these are its text, checkpoints, snapshots and reports too. Reports the files that are missing or have
    changed since they were written, and what to do.

    Example: allyouneed check RUN
    """
    print(exchange.verify_checksums(folder))
