"""The commands `allyouneed backtranslate` and `score`, and options that commands with a translator share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from allyouneed import translation
from allyouneed.command_options import Into
from allyouneed.errors import UserError
from allyouneed.terminal import ComputeType, Device, program, say, text
from allyouneed.translation.search_command import GroupedCommand, search_command

if TYPE_CHECKING:
    from allyouneed.translation.translator import Translator

app = typer.Typer(rich_markup_mode=None)

FILES = "Input and output"  # heading in a command's help
_FEW_TOKENS = 100  # about three sentences
_SAMPLING = ("sampling_topk", "sampling_topp", "sampling_temperature")

From = Annotated[
    str | None,
    typer.Option("--from", metavar="CODE", help="Source language of a multilingual model.", rich_help_panel=FILES),
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume an interrupted translation.", rich_help_panel=FILES)]
InterThreads = Annotated[
    int | None,
    typer.Option(min=1, help="Batches in parallel. Default: the number of cores.", rich_help_panel="Speed"),
]


@app.command(cls=search_command("beam_size", "length_penalty", *_SAMPLING, "seed", "batch_tokens"))
def backtranslate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle that translates from MONO's language.")],
    mono: Annotated[
        Path, typer.Argument(metavar="MONO", help="Text of the language to train for, a sentence per line.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.tsv", help="Default: next to MONO, for example mono.de-en.tsv.", rich_help_panel=FILES
        ),
    ] = None,
    tag: Annotated[
        str | None,
        typer.Option(
            metavar="<TAG>", callback=text, help="Tag of synthetic sources. Default: <bt>.", rich_help_panel=FILES
        ),
    ] = None,
    no_tag: Annotated[
        bool, typer.Option("--no-tag", help="Write sources without a tag.", rich_help_panel=FILES)
    ] = False,
    resume: Resume = False,
    target: Into = None,
    source: From = None,
    device: Device = "auto",
    inter_threads: InterThreads = None,
    compute_type: ComputeType = "float32",
) -> None:
    """Make training text from monolingual text.

    By back-translation: in a TSV file, the translations are the sources and the lines of MONO the targets. Prints the
    command that trains on it.

    Example: allyouneed backtranslate EN-DE mono.en --sampling-topk 10
    """
    if no_tag and tag is not None:
        raise UserError(f"--tag {tag} and --no-tag are both given. Remove one of them.")
    translator = load_translator(run, target, source, device, inter_threads, compute_type)
    corpus = translation.back_translate(
        translator, mono, out, context.obj, tag="" if no_tag else tag, resume=resume, report=say
    )
    for line in corpus.report_lines():
        say(line)
    say(f"train on it with parallel text, for example:\n  {program()} {corpus.training_command()}")


@app.command(cls=GroupedCommand)
def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Annotated[
        list[Path],
        typer.Option(
            metavar="SOURCE TARGET", help="Two parallel files, or one with both sides.", rich_help_panel=FILES
        ),
    ],
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Append each token with its log probability.", rich_help_panel=FILES)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a JSON object per pair, tokens included.", rich_help_panel=FILES)
    ] = False,
    target: Into = None,
    source: From = None,
    device: Device = "auto",
) -> None:
    """Print the log probability of given translations.

    One line per sentence pair: the sum over the tokens of the target, end of sentence included (natural logarithm).

    Example: allyouneed score RUN --test test.de test.en
    """
    scores = translation.score(load_translator(run, target, source, device), test, report=say)
    for line in translation.score_lines(scores, tokens, as_json):
        print(line)


@app.command(cls=GroupedCommand)
def drafts(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    source_text: Annotated[
        Path, typer.Argument(metavar="TEXT", help="Text of the source language, a sentence per line.")
    ],
    target: Into = None,
    source: From = None,
    device: Device = "auto",
    inter_threads: InterThreads = None,
    compute_type: ComputeType = "float32",
) -> None:
    """Make greedy search of single sentences faster by drafts.

    Translates TEXT, and stores in the bundle what follows what. Translations stay the same: see --drafts of translate.
    Training does the same with its own text at its end, for models that are large enough.

    Example: allyouneed drafts RUN train.en
    """
    translator = load_translator(run, target, source, device, inter_threads, compute_type)
    translation.store_drafts(translator, run, source_text, say)


@app.command()
def warm() -> None:
    """Compile all kernels for this machine.

    Later commands find them; otherwise they compile what they need, once. Run this after an installation, for example
    while an image is built. NUMBA_CACHE_DIR sets the folder.

    Example: allyouneed warm
    """
    translation.warm(say)


def load_translator(
    run: Path | Sequence[Path],
    target: str | None,
    source: str | None,
    device: str,
    inter_threads: int | None = None,
    compute_type: str = "float32",
    waits: bool = False,
) -> Translator:
    """Load a translator or an ensemble, and report if a multilingual model was not trained on its direction.

    Args:
        run: A run or a bundle, or several.
        target: Target language.
        source: Source language.
        device: Device to compute on.
        inter_threads: Batches in parallel.
        compute_type: Type to compute with.
        waits: Whether translation waits for the compiled engine, so that all is translated with the same rounding,
            instead of beginning with PyTorch.
    """
    if not waits:
        translation.compile_in_background(device, compute_type)
    few_tokens = _FEW_TOKENS if compute_type == "float32" and not waits else 0
    translator = translation.Translator.load(run, device, inter_threads, compute_type, target, source, few_tokens)
    translator.wait_for_kernels(lambda: say("compiling kernels for this machine, which makes the rest faster ..."))
    if remark := translator.remark:
        say(remark)
    return translator
