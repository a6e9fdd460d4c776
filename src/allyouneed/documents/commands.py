"""The command `allyouneed translate`, for lines of text and for documents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed import documents, translation
from allyouneed.command_options import Into
from allyouneed.errors import UserError
from allyouneed.terminal import ComputeType, Device, console, say, text
from allyouneed.translation.commands import FILES, From, InterThreads, Resume, load_translator
from allyouneed.translation.search_command import search_command

app = typer.Typer(rich_markup_mode=None)

DOCUMENTS = "Documents"  # heading in the help


@app.command(cls=search_command())
def translate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="Text, one sentence per line, a document or a folder of documents. Default: standard input.",
        ),
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
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", help="Translate a document as lines of text, one sentence per line.", rich_help_panel=DOCUMENTS
        ),
    ] = False,
    paragraphs: Annotated[
        bool,
        typer.Option(
            "--paragraphs", help="In plain text, join the lines of each paragraph.", rich_help_panel=DOCUMENTS
        ),
    ] = False,
    retranslate: Annotated[
        bool,
        typer.Option("--retranslate", help="Translate what is marked as translated, too.", rich_help_panel=DOCUMENTS),
    ] = False,
    remarks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write all problems and unchanged segments as JSON lines.",
            rich_help_panel=DOCUMENTS,
        ),
    ] = None,
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
    """Translate lines of text, documents and folders of documents.

    Text of an unknown file type has one output line for each input line. With --nbest, up to N lines `id ||| text |||
    score` for each input line. Empty lines stay empty. Documents keep their format: only their text changes.

    Example: allyouneed translate RUN page.html -o page.en.html
    """
    options: translation.SearchOptions = context.obj
    is_document = file is not None and not lines and (file.is_dir() or documents.is_document(file.name))
    wants_lines = scores or as_json or bool(force) or options.num_hypotheses not in (None, 1)
    if is_document and wants_lines and file is not None and file.suffix.lower() != ".txt":
        raise UserError("--scores, --json, --nbest and --force are for lines of text: translate with --lines.")
    if file is None or not is_document or wants_lines:
        if paragraphs or retranslate or remarks:
            raise UserError("--paragraphs, --retranslate and --remarks are for documents: give a FILE such as a.txt.")
        translator = load_translator(run, target, source, device, inter_threads, compute_type)
        translation.translate_file(translator, file, output, options, scores, say, resume, force or (), as_json=as_json)
        return
    translator = load_translator(run, target, source, device, inter_threads, compute_type)
    chosen = documents.FileOptions(
        documents.ReadOptions("", paragraphs=paragraphs),
        documents.DocumentOptions(options, retranslate=retranslate),
        resume,
        remarks,
    )
    outcome = documents.translate_documents(translator, file, output, chosen, console())
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)
