"""The commands `allyouneed evaluate` and `allyouneed compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from allyouneed.command_options import Into
from allyouneed.terminal import ComputeType, Device, completing, say
from allyouneed.translation import evaluation
from allyouneed.translation.commands import From, load_translator
from allyouneed.translation.search_command import search_command

app = typer.Typer(rich_markup_mode=None)

_FILES = "Input and output"  # heading in a command's help

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


@app.command(cls=search_command("beam_size"))
def evaluate(
    context: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN [RUN ...]",
            help="A run or a bundle, or several, whose predictions are averaged; none with --hypothesis.",
        ),
    ] = None,
    test: Test = None,
    reference: References = None,
    hypothesis: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Score these translations, one per line, instead of a run's.", rich_help_panel=_FILES
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the translations to this file.", rich_help_panel=_FILES),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scores and signatures as JSON.", rich_help_panel=_FILES)
    ] = False,
    metrics: Metrics = None,
    confidence: Annotated[
        bool,
        typer.Option("--confidence", help="Estimate 95 % confidence intervals.", rich_help_panel="Metrics"),
    ] = False,
    comet_model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="COMET checkpoint, or name of a downloaded model. Default: Unbabel/wmt22-comet-da.",
            rich_help_panel="Metrics",
        ),
    ] = None,
    tokenized: Tokenized = False,
    tokenizer: Tokenizer = "auto",
    target: Into = None,
    source: From = None,
    device: Device = "auto",
    compute_type: ComputeType = "float32",
) -> None:
    """Translate a test set and compute its scores.

    Scores come with sacreBLEU's signatures and the percentage of translations that match a reference exactly. With
    --hypothesis, no model is needed: the translations in a file are scored.

    Example: allyouneed evaluate RUN --test test.de test.en --metrics bleu,chrf,ter
    """
    tokenizer = evaluation.for_text(tokenized, tokenizer)
    scores = evaluation.evaluate(
        load_translator(runs, target, source, device, compute_type=compute_type) if runs else None,
        test or (),
        context.obj,
        hypothesis=hypothesis,
        references=reference or (),
        metrics=evaluation.metric_options(metrics, confidence, comet_model),
        tokenizer=tokenizer,
        output=output,
        report=say,
    )
    if as_json:
        print(json.dumps(scores.as_dict()))
        return
    for line in scores.lines():
        print(line)


@app.command(cls=search_command("beam_size"))
def compare(
    context: typer.Context,
    first: Annotated[Path, typer.Argument(metavar="RUN", help="A: a run, a bundle, or a file of translations.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="B: likewise; A is the baseline.")],
    test: Test = None,
    reference: References = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write a page with the sentences side by side.", rich_help_panel=_FILES),
    ] = None,
    sentences: Annotated[
        int, typer.Option(min=0, help="Sentences to print, those that differ most.", rich_help_panel=_FILES)
    ] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with all sentences.", rich_help_panel=_FILES)
    ] = False,
    metrics: Metrics = None,
    tokenized: Tokenized = False,
    tokenizer: Tokenizer = "auto",
    target: Into = None,
    source: From = None,
    device: Device = "auto",
    compute_type: ComputeType = "float32",
) -> None:
    """Compare two translators: scores, significance, sentences.

    The p-values and confidence intervals are those of sacreBLEU's paired bootstrap test.

    Example: allyouneed compare RUN-1 RUN-2 --test test.de test.en --html compare.html
    """
    if html:
        evaluation.check_page(html, [*(test or ()), *(reference or ())])
    baseline, system = (
        load_translator(path, target, source, device, compute_type=compute_type) if path.is_dir() else path
        for path in (first, second)
    )
    compared = evaluation.compare(
        baseline,
        system,
        test or (),
        context.obj,
        references=reference or (),
        metrics=evaluation.metric_options(metrics, False, None).names,
        tokenizer=evaluation.for_text(tokenized, tokenizer),
        names=(str(first), str(second)),
        report=say,
    )
    if as_json:
        print(json.dumps(compared.as_dict()))
    else:
        for line in compared.lines(sentences):
            print(line)
    if html:
        say(f"page: {compared.save(html)}")
