"""`allyouneed paper ...`: one verb a table or set of figures, no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from allyouneed.terminal import Settings, console, finite, say, saying_how_to_go_on

app = typer.Typer(
    help="The paper's tables and figures, measured again at a scale of your choice. The same command again resumes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Source = Annotated[str, typer.Option("--from", metavar="CODE", help="Language of the source, for example en.")]
Target = Annotated[str, typer.Option("--to", metavar="CODE", help="Language of the target, for example de.")]
Train = Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Two files of parallel text, or one TSV.")]
Valid = Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Held-out text.")]
Test = Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Text that nothing is chosen by.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Where to; without it a folder with today's date below runs/paper."),
]
Minutes = Annotated[
    float, typer.Option(metavar="MINUTES", min=0.05, callback=finite, help="About how long it may take.")
]


@app.command()
def table1(
    minutes: Minutes = 10, out: Out = None, device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "auto"
) -> None:
    """Time and memory of four kinds of layers as n and d grow.

    Self-attention, recurrent, convolutional, and self-attention restricted to a neighbourhood.

    Example: allyouneed paper table1
    """
    with saying_how_to_go_on():
        from allyouneed.paper.table1.measurements import run_table1

        _tell(run_table1(out, minutes, console(), device))


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
    tokenized: Annotated[bool, typer.Option("--tokenized", help="The text is tokenised already.")] = False,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """The Transformer against an RNN encoder-decoder with attention.

    BLEU, FLOPs and seconds of training.

    \b
    Example: allyouneed paper table2 --from en --to de --train train.en train.de --valid val.en val.de \\
      --test test.en test.de --budget 20
    """
    with saying_how_to_go_on():
        from allyouneed.paper.table2 import run_table2
        from allyouneed.training.request import Request

        request = Request(train, valid, Path(), (source, target), None, settings or [])
        _tell(run_table2(request, test, budget, tokenized, console(), out))


@app.command()
def table3(
    source: Source,
    target: Target,
    train: Train,
    valid: Valid,
    minutes: Minutes = 60,
    rows: Annotated[
        str, typer.Option(metavar="A,B,...", help="Rows by letter or name, base always; without it all.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="Of the base, to see what a difference means.")] = 3,
    base: Annotated[str | None, typer.Option(metavar="NAME|FILE.toml", help="The recipe of the base.")] = None,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """Variations on the base model.

    Heads, key size, layers, widths, dropout, smoothing, positions, big.

    \b
    Example: allyouneed paper table3 --from en --to de --train train.en train.de --valid val.en val.de --rows A,B
    """
    with saying_how_to_go_on():
        from allyouneed.paper.table3.ablations import run_table3
        from allyouneed.training.request import Request

        request = Request(train, valid, Path(), (source, target), base, settings or [])
        names = [row.strip() for row in rows.split(",") if row.strip()]
        _tell(run_table3(request, minutes, names, seeds, console(), out))


@app.command()
def table4(
    treebank: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Has train.mrg, dev.mrg and test.mrg (.gz too): Penn Treebank trees.")
    ],
    minutes: Minutes = 30,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """Constituency parsing as sequence transduction.

    Labelled F1 by EVALB's rules.

    Example: allyouneed paper table4 --treebank treebank
    """
    with saying_how_to_go_on():
        from allyouneed.paper.table4.parsing import run_table4

        _tell(run_table4(treebank, out, minutes, console(), settings or []))


@app.command()
def figures(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Test,
    minutes: Minutes = 5,
    out: Out = None,
) -> None:
    """Figures 1 to 5, from a trained translator.

    1 and 2 from the live model; 3 to 5: heads that behave as the paper shows, found over a test set.

    Example: allyouneed paper figures RUN --test test.en test.de
    """
    with saying_how_to_go_on():
        from allyouneed.paper.figures.attention_figures import run_figures

        _tell(run_figures(run, test, out, minutes, console()))


@app.command()
def questions(
    source: Source,
    target: Target,
    train: Train,
    valid: Valid,
    minutes: Minutes = 8,
    out: Out = None,
    settings: Settings = None,
) -> None:
    """Why divide by √d_k, and what is "mask (opt.)": measured.

    With both switched off.

    \b
    Example: allyouneed paper questions --from en --to de --train train.en train.de --valid val.en val.de
    """
    with saying_how_to_go_on():
        from allyouneed.paper.questions.experiments import run_questions

        _tell(run_questions(train, valid, (source, target), out, minutes, console(), settings or []))


def _tell(page: Path) -> None:
    print(page.read_text(encoding="utf-8"), end="")
    say(f"written: {page.parent}")
