"""The command `allyouneed translate`, for lines of text and for documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allyouneed import documents, training, translation
from allyouneed.command_options import Into
from allyouneed.errors import UserError
from allyouneed.terminal import ComputeType, Device, console, say, text
from allyouneed.training.distributed.launch import is_elastic, reporting_once
from allyouneed.translation.commands import FILES, From, InterThreads, Resume, load_translator
from allyouneed.translation.search_command import search_command

if TYPE_CHECKING:
    from allyouneed.translation.protection.finding import KeepOptions

app = typer.Typer(rich_markup_mode=None)

DOCUMENTS, TERMS = "Documents", "Terms and protection"  # headings in the help


@app.command(cls=search_command())
@reporting_once()
def translate(
    context: typer.Context,
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN [RUN ...] [FILE]",
            help="A run or a bundle, or several, whose predictions are averaged; then text with one sentence per line, "
            "a document or a folder of documents. Default: standard input.",
        ),
    ],
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
    interactive: Annotated[
        bool,
        typer.Option(
            "--interactive", help="Answer each line at once, as in a terminal, from any input.", rich_help_panel=FILES
        ),
    ] = False,
    glossary: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Terms and their translations: TSV, CSV or TBX.", rich_help_panel=TERMS),
    ] = None,
    no_protect: Annotated[
        bool,
        typer.Option(
            "--no-protect",
            help="Translate placeholders, tags, addresses and lines without letters like other text.",
            rich_help_panel=TERMS,
        ),
    ] = False,
    keep_numbers: Annotated[
        bool, typer.Option("--keep-numbers", help="Keep numbers in their format.", rich_help_panel=TERMS)
    ] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGEX",
            callback=text,
            help="Keep text that matches this regular expression (repeatable).",
            rich_help_panel=TERMS,
        ),
    ] = None,
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
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            callback=text,
            help="In tables, the columns to translate, by number from 1 or name, such as 2,title. "
            "Default: those with text.",
            rich_help_panel=DOCUMENTS,
        ),
    ] = None,
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
    """Translate text, documents and folders of documents.

    Text of an unknown file type has one output line for each input line. With --nbest, up to N lines `id ||| text |||
    score` for each input line. Empty lines stay empty. Documents keep their format: only their text changes.

    Processes that torchrun starts share the lines of a FILE; the same command resumes after a crash.

    Example: allyouneed translate RUN page.html -o page.en.html
    """
    options: translation.SearchOptions = context.obj
    runs, file = translation.split_runs(paths)
    is_document = file is not None and not lines and (file.is_dir() or documents.is_document(file.name))
    wants_lines = scores or as_json or interactive or bool(force) or options.num_hypotheses not in (None, 1)
    if is_document and wants_lines and file is not None and file.suffix.lower() != ".txt":
        raise UserError("--scores, --json, --nbest, --interactive and --force are for lines: translate with --lines.")
    if (paragraphs or columns or retranslate or remarks) and not (is_document and not wants_lines):
        raise UserError(
            "--paragraphs, --columns, --retranslate and --remarks are for documents: give a FILE such as a.txt."
        )
    several = training.announced_ranks() > 1
    if several and is_document and not wants_lines:
        raise UserError("several processes translate lines, not documents: add --lines, or start without torchrun.")
    processes = training.join_ranks("cpu") if several or is_elastic() else None  # torchrun may restart fewer processes
    waits = resume or processes is not None
    translator = load_translator(runs, target, source, device, inter_threads, compute_type, waits=waits)
    languages = translator.bundle.languages
    terms = translation.read_glossary(glossary, *languages) if glossary else None
    required = translation.Requirements(keep_options(not no_protect, keep_numbers, keep or ()), terms)
    if file is None or not is_document or wants_lines:
        translation.translate_file(
            translator,
            file,
            output,
            options,
            scores,
            say,
            resume,
            force or (),
            as_json=as_json,
            interactive=interactive,
            requirements=required or None,
            processes=processes,
        )
        return
    finders = documents.Finders(required.find_kept, required.find_terms)
    chosen = documents.FileOptions(
        documents.ReadOptions("", paragraphs=paragraphs, columns=tuple(columns.split(",")) if columns else None),
        documents.DocumentOptions(options, finders, retranslate=retranslate),
        resume,
        remarks,
    )
    outcome = documents.translate_documents(translator, file, output, chosen, console())
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def keep_options(protect: bool, numbers: bool, patterns: Sequence[str]) -> KeepOptions | None:
    """Return what is kept, or None with `--no-protect`.

    Raises:
        UserError: If a pattern is not a regular expression, or patterns are given with `--no-protect`.
    """
    if not protect:
        if numbers or patterns:
            raise UserError("--no-protect: cannot be combined with --keep or --keep-numbers. Remove one of them.")
        return None
    try:
        return translation.KeepOptions(numbers, tuple(re.compile(pattern) for pattern in patterns))
    except re.error as error:
        raise UserError(f"--keep {error.pattern!r}: not a regular expression ({error}). Correct it.") from error
