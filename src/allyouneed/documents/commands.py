"""The command `allyouneed translate`, for lines of text and for documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed import translation
from allyouneed.command_options import Into
from allyouneed.terminal import ComputeType, Device, say, text
from allyouneed.translation.commands import FILES, From, InterThreads, Resume, load_translator
from allyouneed.translation.search_command import search_command

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=search_command())
def translate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Text, one sentence per line. Default: standard input.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: standard output.", rich_help_panel=FILES)
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Precede each line with its score and a tab.", rich_help_panel=FILES)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a JSON object per line, with scores.", rich_help_panel=FILES)
    ] = False,
    resume: Resume = False,
    force: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            callback=text,
            help="Text that every translation must contain (repeatable).",
            rich_help_panel="Constraints",
        ),
    ] = None,
    target: Into = None,
    source: From = None,
    device: Device = "auto",
    inter_threads: InterThreads = None,
    compute_type: ComputeType = "float32",
) -> None:
    """Translate text: one output line for each input line.

    With --nbest, up to N lines `id ||| text ||| score` for each input line. Empty lines stay empty.

    Example: allyouneed translate RUN input.de -o output.en
    """
    translator = load_translator(run, target, source, device, inter_threads, compute_type)
    translation.translate_file(translator, file, output, context.obj, scores, say, resume, force or (), as_json=as_json)
