"""The command line: one verb each, no logic. A user's mistake is one line on standard error and exit code 2."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from allyouneed import __version__
from allyouneed.errors import UserError
from allyouneed.exchange.commands import app as exchange
from allyouneed.paper.commands import app as paper
from allyouneed.serving.commands import app as serving
from allyouneed.terminal import (
    ComputeType,
    Settings,
    console,
    finite,
    program,
    run_app,
    say,
    saying_how_to_go_on,
    text,
)

if TYPE_CHECKING:
    from allyouneed.training.train import Outcome

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
    with saying_how_to_go_on():
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
    with saying_how_to_go_on():
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
    with saying_how_to_go_on():
        from allyouneed.training.distil import Distillation
        from allyouneed.training.distil import distil as distil_run

        asked = Distillation(
            teacher, train, valid, out, recipe, given, beam_size, length_penalty, targets, inter_threads
        )
        outcome = distil_run(asked, console())
        _raise_if_interrupted(outcome.status)
    _say_trained(out, outcome)


@app.command()
def translate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Text, a sentence a line; standard input if absent.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Standard output if absent.")] = None,
    beam_size: Annotated[
        int | None, typer.Option(min=1, help="Hypotheses kept at each step, 1: greedy; the bundle's if absent.")
    ] = None,
    length_penalty: Annotated[
        float | None, typer.Option(min=-10, max=10, callback=finite, help="α of section 6.1; the bundle's if absent.")
    ] = None,
    nbest: Annotated[
        int, typer.Option(metavar="N", min=1, help="N hypotheses a line, at most the beam, as `id ||| text ||| score`.")
    ] = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Each line's score and a tab before it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object for each line, with scores.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    inter_threads: Annotated[
        int | None, typer.Option(min=1, help="Batches translated at once; the number of cores if absent.")
    ] = None,
    compute_type: ComputeType = "float32",
    resume: Annotated[bool, typer.Option("--resume", help="Goes on with an output that Ctrl-C ended.")] = False,
    min_decoding_length: Annotated[int, typer.Option(min=0, help="Subwords at least.")] = 0,
    max_decoding_length: Annotated[
        int | None,
        typer.Option(min=1, help="Subwords at most; if absent search.max_extra_length more than the source has."),
    ] = None,
    no_repeat_ngram_size: Annotated[int, typer.Option(min=0, help="No so many subwords twice; 0: no rule.")] = 0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1 words already said are less likely.")] = 1.0,
    suppress: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", callback=text, help="Subwords that never follow each other so; several times."),
    ] = None,
    force: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", callback=text, help="What each line's translation contains; several times."),
    ] = None,
    num_beam_groups: Annotated[int, typer.Option(min=1, help="Groups of the beam that keep apart; 1: no groups.")] = 1,
    diversity_penalty: Annotated[float, typer.Option(help="How much they do: off a word's log probability.")] = 0.5,
    coverage_penalty: Annotated[float, typer.Option(help="β for source words left out; 0: no penalty.")] = 0.0,
    sampling_topk: Annotated[
        int | None, typer.Option(min=0, help="Draws words, from so many likeliest; 0: from all.")
    ] = None,
    sampling_topp: Annotated[
        float, typer.Option(min=0, max=1, help="Draws words, from the likeliest with so much probability together.")
    ] = 1.0,
    sampling_temperature: Annotated[float, typer.Option(help="Draws words, after logits are divided by it.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 1,
) -> None:
    """Translates: one line out for each line in, in order.

    Empty lines stay empty.

    Example: allyouneed translate RUN input.de -o output.en
    """
    from allyouneed.translation.options import SearchOptions
    from allyouneed.translation.text_files import translate_file
    from allyouneed.translation.translator import Translator

    options = SearchOptions.from_values(
        {
            "beam_size": beam_size,
            "length_penalty": length_penalty,
            "num_hypotheses": nbest,
            "min_decoding_length": min_decoding_length,
            "max_decoding_length": max_decoding_length,
            "no_repeat_ngram_size": no_repeat_ngram_size,
            "repetition_penalty": repetition_penalty,
            "suppress_sequences": suppress or [],
            "sampling_topk": sampling_topk,
            "sampling_topp": sampling_topp,
            "sampling_temperature": sampling_temperature,
            "seed": seed,
            "num_beam_groups": num_beam_groups,
            "diversity_penalty": diversity_penalty,
            "coverage_penalty": coverage_penalty,
        }
    )
    translator = Translator.load(run, device, inter_threads, compute_type)
    translate_file(translator, file, output, options, scores, say, resume, force or (), as_json=as_json)


@app.command()
def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Two files of parallel text, or one TSV.")],
    tokens: Annotated[bool, typer.Option("--tokens", help="Each subword with its own, after the sum.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object for each pair, subwords included.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
) -> None:
    """Says how likely given translations are, a line for each pair.

    It is the sum of the subwords' log probabilities.

    Example: allyouneed score RUN --test test.de test.en
    """
    from allyouneed.translation.text_files import score_files
    from allyouneed.translation.translator import Translator

    for line in score_files(Translator.load(run, device), test, tokens, as_json):
        print(line)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Two files of parallel text, or one TSV.")],
    beam_size: Annotated[
        int | None, typer.Option(min=1, help="Hypotheses kept at each step, 1: greedy; the bundle's if absent.")
    ] = None,
    tokenized: Annotated[
        bool, typer.Option("--tokenized", help="The text is tokenised already: the metric must not tokenise it again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Scores and signatures as one JSON object.")] = False,
    tokenizer: Annotated[str, typer.Option(help="sacreBLEU's: 13a, intl, zh, ja-mecab, ko-mecab, char ...")] = "13a",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Writes the translations there.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    compute_type: ComputeType = "float32",
) -> None:
    """Translates held-out text and scores it: BLEU and chrF.

    Both with sacreBLEU's signatures; and how many sentences are said exactly as in the reference.

    Example: allyouneed evaluate RUN --test test.de test.en
    """
    from allyouneed.translation.text_files import evaluate_files
    from allyouneed.translation.translator import Translator

    translator = Translator.load(run, device, compute_type=compute_type)
    found = evaluate_files(translator, test, beam_size, tokenized, tokenizer, output, say)
    if as_json:
        print(json.dumps(found.as_dict()))
        return
    print(f"BLEU {found.bleu:.2f}  {found.bleu_signature}")
    print(f"chrF {found.chrf:.2f}  {found.chrf_signature}")
    print(f"exact match {found.exact_match:.1f} %  of {found.sentences:,} sentences")


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
    if not outcome.first:
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
