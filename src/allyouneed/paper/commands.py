"""The commands `allyouneed paper ...`, one per table or set of figures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed import paper, training
from allyouneed.command_options import Settings, SuggestingGroup, Train
from allyouneed.terminal import FileGroup, console, file_group, finite, resume_hint, say

app = typer.Typer(
    cls=SuggestingGroup,
    help="Reproduce the paper's tables and figures at a chosen scale. Repeat a command to resume it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Source = Annotated[str, typer.Option("--from", metavar="CODE", help="Source language, for example en.")]
Target = Annotated[str, typer.Option("--to", metavar="CODE", help="Target language, for example de.")]
Valid = Annotated[list[FileGroup], typer.Option(metavar="SOURCE TARGET", parser=file_group, help="Validation text.")]
Test = Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Test text.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Output folder (default: a folder with today's date in runs/paper)."),
]
Minutes = Annotated[float, typer.Option(metavar="MINUTES", min=0.05, callback=finite, help="Approximate total time.")]


@app.command()
def table1(
    minutes: Minutes = 10, out: Out = None, device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto"
) -> None:
    """Measure time and memory of Table 1's layers as n and d grow.

    The layers: self-attention, recurrent, convolutional, and self-attention restricted to a neighbourhood.

    Example: allyouneed paper table1
    """
    with resume_hint():
        _print_page(paper.run_table1(out, minutes, console(), device))


@app.command()
def table2(
    source: Source,
    target: Target,
    train: Train,
    valid: Valid,
    test: Test,
    budget: Annotated[
        float, typer.Option(metavar="MINUTES", min=0.05, callback=finite, help="Training time of each system.")
    ] = 20,
    tokenized: Annotated[bool, typer.Option("--tokenized", help="The text is already tokenized.")] = False,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """Compare the Transformer with an RNN with attention.

    Reports BLEU, FLOPs and training time.

    \b
    Example: allyouneed paper table2 --from en --to de --train train.en train.de \\
      --valid val.en val.de --test test.en test.de --budget 20
    """
    with resume_hint():
        request = _request(train, valid, (source, target), None, settings)
        _print_page(paper.run_table2(request, test, budget, tokenized, console(), out))


@app.command()
def table3(
    source: Source,
    target: Target,
    train: Train,
    valid: Valid,
    minutes: Minutes = 60,
    rows: Annotated[
        str,
        typer.Option(metavar="A,B,...", help="Rows by letter or name; base is always included (default: all rows)."),
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds for the base row, to estimate noise.")] = 3,
    base: Annotated[
        str | None, typer.Option(metavar="NAME|FILE.toml", help="Recipe of the base row (default: ablation).")
    ] = None,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """Train variations of the base model.

    Heads, key size, layers, widths, dropout, label smoothing, learned positions, and big.

    \b
    Example: allyouneed paper table3 --from en --to de --train train.en train.de \\
      --valid val.en val.de --rows A,B
    """
    with resume_hint():
        request = _request(train, valid, (source, target), base, settings)
        names = [row.strip() for row in rows.split(",") if row.strip()]
        _print_page(paper.run_table3(request, minutes, names, seeds, console(), out))


@app.command()
def table4(
    treebank: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Penn Treebank trees: train.mrg, dev.mrg and test.mrg, gzipped or not."),
    ],
    minutes: Minutes = 30,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """Train a constituency parser and score it.

    Reports labelled F1 by EVALB's rules.

    Example: allyouneed paper table4 --treebank treebank
    """
    with resume_hint():
        _print_page(paper.run_table4(treebank, out, minutes, console(), settings or []))


@app.command()
def figures(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Test,
    minutes: Minutes = 5,
    out: Out = None,
) -> None:
    """Draw figures 1 to 5 from a trained translator.

    Figures 1 and 2 show the model as it ran. Figures 3 to 5 show the heads that behave most like the paper's on the
    test text.

    Example: allyouneed paper figures RUN --test test.en test.de
    """
    with resume_hint():
        _print_page(paper.run_figures(run, test, out, minutes, console()))


@app.command()
def questions(
    source: Source,
    target: Target,
    train: Train,
    valid: Valid,
    minutes: Minutes = 20,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """Measure the effect of √d_k and of the masks.

    Trains small models with and without the division, each mask, positional encoding and several heads, and measures
    them over training. `allyouneed look --twins` shows the result.

    \b
    Example: allyouneed paper questions --from en --to de \\
      --train train.en train.de --valid val.en val.de
    """
    with resume_hint():
        text = training.as_corpora(train), training.as_corpora(valid)
        _print_page(paper.run_questions(*text, (source, target), out, minutes, console(), settings or []))


def _request(
    train: list[FileGroup],
    valid: list[FileGroup],
    languages: tuple[str, str],
    recipe: str | None,
    settings: list[str] | None,
) -> training.Request:
    text = training.as_corpora(train), training.as_corpora(valid)
    return training.Request(*text, Path(), languages, recipe, settings or [])


def _print_page(page: Path) -> None:
    print(page.read_text(encoding="utf-8"), end="")
    say(f"written to {page.parent}")
