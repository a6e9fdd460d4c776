"""The command line: one verb each, no logic. A user's mistake is one line on standard error and exit code 2."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from allyouneed import __version__, translation
from allyouneed.errors import UserError
from allyouneed.exchange.commands import app as exchange
from allyouneed.paper.commands import app as paper
from allyouneed.serving.commands import app as serving
from allyouneed.terminal import (
    ComputeType,
    Device,
    Settings,
    console,
    finite,
    program,
    resume_hint,
    run_app,
    say,
    text,
)
from allyouneed.translation.search_command import GroupedCommand, search_command

if TYPE_CHECKING:
    from allyouneed.training.train import Outcome

_FILES = "Input and output"  # heading in the help of a command

app = typer.Typer(
    help='The Transformer of "Attention Is All You Need": bring parallel text, get a translator.',
    epilog="Begin with: allyouneed quickstart. Each command has an example: allyouneed train --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(exchange)  # verbs of this level, each room's own, after those below
app.add_typer(serving)
app.add_typer(paper, name="paper", short_help="Measures the paper's tables and figures again.")


def _tell_version(asked: bool) -> None:
    if asked:
        print(f"allyouneed {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Says which version this is.")
    ] = False,
) -> None:
    """Options before the verb."""


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Where to put the run.", metavar="RUN")] = Path("runs/quickstart"),
    settings: Settings = None,
) -> None:
    """Trains, scores and tries a translator of dates in minutes.

    Korean to English, on a corpus that it makes itself.

    Example: allyouneed quickstart
    """
    with resume_hint():
        from allyouneed.quickstart import run_quickstart

        if not run_quickstart(out, settings or [], console(), program()):
            raise KeyboardInterrupt


@app.command()
def train(
    source: Annotated[str, typer.Option("--from", metavar="CODE", help="Language of the source, for example de.")],
    target: Annotated[str, typer.Option("--to", metavar="CODE", help="Language of the target, for example en.")],
    train: Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Two files of parallel text, or one TSV.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; the same command again resumes it.")],
    valid: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="SOURCE TARGET", help="Held-out text; without it about 1,000 training pairs are held out."
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE.toml", help="Settings; without it chosen by the corpus and the minutes."),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Plans the whole training for so much wall-clock time.")] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Trains a finished or imported translator further: its model and subwords."),
    ] = None,
    settings: Settings = None,
) -> None:
    """Trains a translator from parallel text.

    Two plain files, a sentence a line, or one TSV; .gz too.

    \b
    Example: allyouneed train --from de --to en --train train.de train.en \\
      --valid val.de val.en --minutes 30 --out RUN
    """
    given = _with_minutes(minutes, settings)
    with resume_hint():
        from allyouneed.training.request import Request
        from allyouneed.training.train import train as train_run

        outcome = train_run(
            Request(train, valid, out, (source, target), recipe, given, start_from=start_from), console()
        )
        _raise_if_interrupted(outcome.status)
    _say_trained(out, outcome)


@app.command()
def distil(
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER", help="A run or a bundle: who is to be imitated.")],
    train: Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Two files of parallel text, or one TSV.")],
    valid: Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Held-out text, with real references.")],
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; the same command again resumes it.")],
    recipe: Annotated[str, typer.Option(metavar="NAME|FILE.toml", help="Settings of the student.")] = "swift",
    targets: Annotated[
        str, typer.Option(help="What it learns to say: teacher, both (the references too), beam, or closest.")
    ] = "both",
    beam_size: Annotated[int | None, typer.Option(min=1, help="The teacher's; without it the bundle's.")] = None,
    length_penalty: Annotated[
        float | None, typer.Option(min=-10, max=10, callback=finite, help="The teacher's; without it the bundle's.")
    ] = None,
    inter_threads: Annotated[
        int | None, typer.Option(min=1, help="The teacher's batches at once; the number of cores if absent.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Plans the student's training for so much time.")] = None,
    settings: Settings = None,
) -> None:
    """Trains a small, quick translator to imitate another.

    The student learns from what its teacher says of the training text (Kim and Rush 2016).

    Example: allyouneed distil TEACHER --train train.de train.en --valid val.de val.en --out RUN
    """
    given = _with_minutes(minutes, settings)
    with resume_hint():
        from allyouneed.training.distil import Distillation
        from allyouneed.training.distil import distil as distil_run

        asked = Distillation(
            teacher, train, valid, out, recipe, given, beam_size, length_penalty, targets, inter_threads
        )
        outcome = distil_run(asked, console())
        _raise_if_interrupted(outcome.status)
    _say_trained(out, outcome)


@app.command(cls=search_command())
def translate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Text, one sentence per line. Default: standard input.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Default: standard output.", rich_help_panel=_FILES)
    ] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="Precede each line with its score and a tab.", rich_help_panel=_FILES)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a JSON object per line, with scores.", rich_help_panel=_FILES)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an output that Ctrl-C interrupted.", rich_help_panel=_FILES)
    ] = False,
    force: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            callback=text,
            help="Text that every translation must contain (repeatable).",
            rich_help_panel="Constraints",
        ),
    ] = None,
    device: Device = "auto",
    inter_threads: Annotated[
        int | None,
        typer.Option(min=1, help="Batches in parallel. Default: the number of cores.", rich_help_panel="Speed"),
    ] = None,
    compute_type: ComputeType = "float32",
) -> None:
    """Translate text: one output line for each input line.

    With --nbest, up to N lines `id ||| text ||| score` for each input line. Empty lines stay empty.

    Example: allyouneed translate RUN input.de -o output.en
    """
    translator = translation.Translator.load(run, device, inter_threads, compute_type)
    translation.translate_file(translator, file, output, context.obj, scores, say, resume, force or (), as_json=as_json)


@app.command(cls=GroupedCommand)
def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Annotated[
        list[Path],
        typer.Option(metavar="SOURCE TARGET", help="Two parallel text files, or one TSV.", rich_help_panel=_FILES),
    ],
    tokens: Annotated[
        bool, typer.Option("--tokens", help="Append each token with its log probability.", rich_help_panel=_FILES)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a JSON object per pair, tokens included.", rich_help_panel=_FILES)
    ] = False,
    device: Device = "auto",
) -> None:
    """Print the log probability of given translations.

    One line per sentence pair: the sum over the tokens of the target, end of sentence included (natural logarithm).

    Example: allyouneed score RUN --test test.de test.en
    """
    for line in translation.score_lines(translation.score(run, test, device=device), tokens, as_json):
        print(line)


@app.command(cls=search_command("beam_size"))
def evaluate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Annotated[
        list[Path],
        typer.Option(metavar="SOURCE TARGET", help="Two parallel text files, or one TSV.", rich_help_panel=_FILES),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write the translations to this file.", rich_help_panel=_FILES),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print scores and signatures as JSON.", rich_help_panel=_FILES)
    ] = False,
    tokenized: Annotated[
        bool,
        typer.Option("--tokenized", help="The text is tokenized: compute BLEU as it is.", rich_help_panel="Metrics"),
    ] = False,
    tokenizer: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="sacreBLEU's tokenizer: 13a, intl, zh, ja-mecab, ko-mecab, char, ...",
            rich_help_panel="Metrics",
        ),
    ] = "13a",
    device: Device = "auto",
    compute_type: ComputeType = "float32",
) -> None:
    """Translate a test set and compute BLEU and chrF.

    Scores come with sacreBLEU's signatures and the percentage of translations that match the reference exactly.

    Example: allyouneed evaluate RUN --test test.de test.en
    """
    scores = translation.evaluate(
        run,
        test,
        context.obj,
        tokenized=tokenized,
        tokenizer=tokenizer,
        output=output,
        device=device,
        compute_type=compute_type,
        report=say,
    )
    if as_json:
        print(json.dumps(scores.as_dict()))
        return
    print(f"BLEU {scores.bleu:.2f}  {scores.bleu_signature}")
    print(f"chrF {scores.chrf:.2f}  {scores.chrf_signature}")
    print(f"exact match {scores.exact_match:.1f} %  of {scores.sentences:,} sentences")


@app.command()
def look(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    sentence: Annotated[str, typer.Argument(metavar="SENTENCE", callback=text, help="In the source language.")] = "",
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page; if absent a table, with --test heads.html.")
    ] = None,
    test: Annotated[
        list[Path] | None, typer.Option(metavar="SOURCE TARGET", help="Instead of a sentence: heads over a corpus.")
    ] = None,
    alignments: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Word links of --test, `0-0 1-2` a line, to judge heads by.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All weights, or figures of all heads, as JSON.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
) -> None:
    """Shows every head and each step of attention, on one page.

    The glass box: what scale and mask are for, too.

    Example: allyouneed look RUN "Ein Hund rennt." --html look.html
    """
    from allyouneed.insight.look import look_at
    from allyouneed.translation.translator import Translator

    table = look_at(Translator.load(run, device), sentence, test or [], alignments, html, console(), as_json)
    if table:
        print(table)


def _with_minutes(minutes: float | None, settings: Settings) -> list[str]:
    if minutes is None:
        return settings or []
    from allyouneed.config import Config

    planned = f"training.minutes={minutes}"
    Config().override([planned], "--minutes")  # refuses an impossible number before any work
    return [planned, *(settings or [])]


def _raise_if_interrupted(status: str) -> None:
    from allyouneed.training.loop import INTERRUPTED

    if status == INTERRUPTED:
        raise KeyboardInterrupt


def _say_trained(out: Path, outcome: Outcome) -> None:
    if not outcome.is_first_rank:
        return
    scores = outcome.scores["valid"]
    say(
        f"validation BLEU {scores['bleu']:.1f}  {scores['bleu_signature']}\n"
        f"bundle: {out / 'bundle'}\nreport: {out / 'report.html'}\n"
        f"translate with it: {program()} translate {shlex.quote(str(out))} FILE"
    )


def main() -> NoReturn:
    """Entry point: turns mistakes into one line and an exit code."""
    run_app(app, UserError)
