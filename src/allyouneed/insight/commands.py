"""The command `allyouneed look`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed import insight
from allyouneed.command_options import Into
from allyouneed.terminal import Device, console, text

app = typer.Typer(rich_markup_mode=None)


@app.command()
def look(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    sentence: Annotated[
        str, typer.Argument(metavar="SENTENCE", callback=text, help="Sentence in the source language.")
    ] = "",
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page. Default: print a table; heads.html with --test, film.html with --over-training.",
        ),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(metavar="SOURCE TARGET", help="Measure the heads on this text; with a sentence, the switches."),
    ] = None,
    alignments: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Word alignments of --test to compare heads with, `0-0 1-2` per line."),
    ] = None,
    over_training: Annotated[
        bool,
        typer.Option("--over-training", help="Show how the heads form, from snapshots (training.keep_snapshots)."),
    ] = False,
    translation: Annotated[
        str | None,
        typer.Option(metavar="TEXT", callback=text, help="Translation of the sentence. Default: the model's own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print weights or head statistics as JSON.")] = False,
    target: Into = None,
    device: Device = "auto",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="SENTENCE",
            callback=text,
            help="A similar sentence: which activations make the difference (patching).",
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Compare with another run, bundle or snapshot of weights, on the page."),
    ] = None,
    twins: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Show the models of this folder of `allyouneed paper questions` over training."
        ),
    ] = None,
) -> None:
    """Show every attention head of a translation, on one page.

    The page also shows each step of attention: scores, scaling, mask, softmax.

    Example: allyouneed look RUN "Ein Hund rennt." --html look.html
    """
    request = insight.LookRequest(
        run,
        sentence,
        test or [],
        alignments,
        html,
        as_json,
        device,
        against,
        over_training,
        translation,
        other,
        twins,
        target,
    )
    table = insight.look_at(request, console())
    if table:
        print(table)
