"""The commands `allyouneed train` and `allyouneed distil`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import allyouneed
from allyouneed import training
from allyouneed.command_options import Recipe, Settings, StudentRecipe, Train
from allyouneed.terminal import FileGroup, completing, console, file_group, finite, program, resume_hint, say
from allyouneed.training.distributed.launch import reporting_once

if TYPE_CHECKING:
    from allyouneed.training.reporting.outcome import Outcome

app = typer.Typer(rich_markup_mode=None)

Source = Annotated[
    str | None, typer.Option("--from", metavar="CODE", help="Source language: a code or name, for example de.")
]
Target = Annotated[
    str | None, typer.Option("--to", metavar="CODE", help="Target language: a code or name, for example en.")
]
Directions = Annotated[
    str | None,
    typer.Option(
        metavar="A-B,C-D,...",
        help="For a multilingual model: the direction of each --train, for example de-en,fr-en.",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="W,W,...", help="How often an epoch contains each pair, a number per --train. Default: once."),
]
Minutes = Annotated[
    float | None,
    typer.Option(help="Wall-clock time for preparation, training and final scoring; compiling kernels is not counted."),
]


@app.command()
def train(
    train: Train,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; the same command again resumes it.")],
    source: Source = None,
    target: Target = None,
    directions: Directions = None,
    both_ways: Annotated[
        bool, typer.Option("--both-ways", help="Train on each corpus in both directions, in one multilingual model.")
    ] = False,
    valid: Annotated[
        list[FileGroup] | None,
        typer.Option(
            metavar="SOURCE TARGET",
            parser=file_group,
            help="Validation text. Default: at most about 1,000 pairs of the first --train.",
        ),
    ] = None,
    weights: Weights = None,
    recipe: Recipe = None,
    minutes: Minutes = None,
    tokenizer: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="SentencePiece model to use, or two, for source and target. Default: train."),
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Train this finished or imported translator further."),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            metavar="PARTS", help="Parts of the start that are not trained, for example embeddings,encoder (faster)."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Prepared text that several runs share; prepared if missing. Default: RUN/data."
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Prepare and check the text, report on it with a forecast, and train nothing."),
    ] = False,
    settings: Settings = None,
) -> None:
    """Train a translator from parallel text.

    Two plain files with one sentence per line, or files, folders and archives with both sides: TSV, CSV, JSON, TMX,
    XLIFF, PO, Parquet, XLSX and data sets, compressed or not.

    \b
    Example: allyouneed train --from de --to en --train train.de train.en \\
      --valid val.de val.en --minutes 30 --out RUN
    """
    training.compile_early()  # before PyTorch is loaded
    with reporting_once(), resume_hint():
        overrides = [*([] if freeze is None else [f"training.freeze={freeze}"]), *_with_minutes(minutes, settings)]
        text = training.training_text(
            train, valid, (source, target), weights=weights, directions=directions, both_ways=both_ways
        )
        request = training.Request(
            *text[:2],
            out,
            text.languages,
            recipe,
            overrides,
            data=data,
            tokenizer=tokenizer or (),
            start_from=start_from,
            dry_run=dry_run,
        )
        _conclude(out, training.train.train(request, console()))


@app.command()
def clean(
    train: Train,
    source: Source = None,
    target: Target = None,
    directions: Directions = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write cleaned.tsv, dropped.tsv, repaired.tsv and report.html here."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Translator that finds the least likely pairs.")
    ] = None,
    backward_model: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Translator of the opposite direction, with which the first should agree."),
    ] = None,
    least_likely: Annotated[
        float,
        typer.Option(metavar="PERCENT", min=0, max=100, callback=finite, help="Pairs that a model drops."),
    ] = 5.0,
    settings: Settings = None,
) -> None:
    """Report faults of parallel text, and write it cleaned.

    Does all checks (data.cleaning=web) unless --set data.cleaning chooses others. Writes nothing without --out; of
    several --directions, it writes a text for each, such as cleaned.de-en.tsv.

    Example: allyouneed clean --from de --to en --train train.de train.en --out CLEANED
    """
    text = training.training_text(train, None, (source, target), directions=directions)
    request = training.clean.CleaningRequest(
        text.train, text.languages, out, settings or (), model, backward_model, least_likely
    )
    training.clean.clean(request, say)


@app.command()
def distil(
    teachers: Annotated[
        list[Path],
        typer.Argument(
            metavar="TEACHER [TEACHER ...]",
            help="The run or bundle to imitate, or several, which translate as an ensemble.",
        ),
    ],
    train: Train,
    valid: Annotated[
        list[FileGroup],
        typer.Option(metavar="SOURCE TARGET", parser=file_group, help="Validation text with real references."),
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; the same command again resumes it.")],
    weights: Weights = None,
    recipe: StudentRecipe = "swift",
    targets: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Training targets: teacher, both (with references), beam or closest.",
            autocompletion=completing("teacher", "both", "beam", "closest"),
        ),
    ] = "both",
    beam_size: Annotated[int | None, typer.Option(min=1, help="The teacher's beam. Default: the bundle's.")] = None,
    length_penalty: Annotated[
        float | None,
        typer.Option(min=-10, max=10, callback=finite, help="The teacher's length penalty. Default: the bundle's."),
    ] = None,
    inter_threads: Annotated[
        int | None, typer.Option(min=1, help="The teacher's batches in parallel. Default: the number of cores.")
    ] = None,
    minutes: Minutes = None,
    settings: Settings = None,
) -> None:
    """Train a small, fast translator to imitate another.

    The student is trained on the teacher's translations of the training text (Kim and Rush 2016).

    Example: allyouneed distil TEACHER --train train.de train.en --valid val.de val.en --out RUN
    """
    overrides = _with_minutes(minutes, settings)
    with resume_hint():
        request = training.Distillation(
            teachers,
            training.as_corpora(train, weights),
            training.as_corpora(valid, split="validation"),
            out,
            recipe,
            overrides,
            beam_size,
            length_penalty,
            targets,
            inter_threads,
        )
        _conclude(out, training.distil.distil(request, console()))


def _with_minutes(minutes: float | None, settings: list[str] | None) -> list[str]:
    if minutes is None:
        return settings or []
    planned = [f"training.minutes={minutes}"]
    allyouneed.Config().override(planned, "--minutes")  # rejects an invalid number before any work
    return [*planned, *(settings or [])]


def _conclude(out: Path, outcome: Outcome) -> None:
    outcome.raise_if_interrupted()
    if not outcome.is_first_rank:
        return
    if outcome.is_dry_run:
        say(f"{outcome.ending}\nreport: {out / 'report.html'}\nThe same command without --dry-run trains.")
        return
    say(
        f"{outcome.ending}\n{outcome.headline}\n"
        f"bundle: {out / 'bundle'}\nreport: {out / 'report.html'}\n"
        f"translate with it: {program()} translate {shlex.quote(str(out))} FILE"
    )
