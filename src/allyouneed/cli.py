"""The command line: one verb each, no logic. A user's mistake is one line on standard error and exit code 2."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from allyouneed.errors import UserError
from allyouneed.paper.commands import app as paper
from allyouneed.terminal import INTERRUPTED, Settings, console, program, say, saying_how_to_go_on, spread

app = typer.Typer(
    help='The Transformer of "Attention Is All You Need": bring parallel text, get a translator.',
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(paper, name="paper")
_USER_MISTAKE = 2


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Where to put the run.", metavar="RUN")] = Path("runs/quickstart"),
    settings: Settings = None,
) -> None:
    """Trains a Korean-English translator of dates in two minutes, on a corpus it makes itself; then scores and uses it.

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
    settings: Settings = None,
) -> None:
    """Trains a translator from parallel text (plain files or TSV, .gz too).

    Example: allyouneed train --from de --to en --train train.de train.en --valid val.de val.en --minutes 30 --out RUN
    """
    given = ([f"training.minutes={minutes}"] if minutes is not None else []) + (settings or [])
    with saying_how_to_go_on():
        from allyouneed.training.request import Request
        from allyouneed.training.run import INTERRUPTED
        from allyouneed.training.run import train as train_run

        outcome = train_run(Request(train, valid, out, (source, target), recipe, given), console())
        if outcome.status == INTERRUPTED:
            raise KeyboardInterrupt
    valid_scores = outcome.scores["valid"]
    say(
        f"validation BLEU {valid_scores['bleu']:.1f}  {valid_scores['bleu_signature']}\n"
        f"bundle: {out / 'bundle'}\nreport: {out / 'report.html'}\n"
        f"translate with it: {program()} translate {shlex.quote(str(out))} FILE"
    )


@app.command()
def translate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Text, a sentence a line; standard input if absent.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Standard output if absent.")] = None,
    beam_size: Annotated[int | None, typer.Option(help="Hypotheses kept at each step; 1 is greedy.")] = None,
    length_penalty: Annotated[float | None, typer.Option(help="α of section 6.1.")] = None,
    nbest: Annotated[int, typer.Option(metavar="N", help="N hypotheses a line, as `id ||| text ||| score`.")] = 1,
    scores: Annotated[bool, typer.Option("--scores", help="Each line's score and a tab before it.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
    inter_threads: Annotated[
        int | None, typer.Option(min=1, help="Batches translated at once; the number of cores if absent.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Goes on with an output that Ctrl-C ended.")] = False,
    min_decoding_length: Annotated[int, typer.Option(min=0, help="Subwords at least.")] = 0,
    max_decoding_length: Annotated[int | None, typer.Option(min=0, help="Subwords at most.")] = None,
    no_repeat_ngram_size: Annotated[int, typer.Option(min=0, help="No so many subwords twice; 0: no rule.")] = 0,
    repetition_penalty: Annotated[float, typer.Option(help="Above 1 words already said are less likely.")] = 1.0,
    suppress: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="Is never said; several times.")] = None,
    sampling_topk: Annotated[int | None, typer.Option(min=0, help="Draws from the likeliest; 0: from all.")] = None,
    sampling_topp: Annotated[float, typer.Option(min=0, max=1, help="Draws from so much probability.")] = 1.0,
    sampling_temperature: Annotated[float, typer.Option(help="Logits are divided by it before drawing.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 1,
) -> None:
    """Translates: one line out for each line in, in order; empty lines stay empty.

    Example: allyouneed translate RUN input.de -o output.en
    """
    from allyouneed.translation.files import translate_file
    from allyouneed.translation.sampling import Sampling
    from allyouneed.translation.translator import Translator

    drawn = None
    if sampling_topk is not None or sampling_topp < 1 or sampling_temperature != 1:
        drawn, beam_size = Sampling(sampling_topk or 0, sampling_topp, sampling_temperature, seed), beam_size or 1
    options = {
        "beam_size": beam_size,
        "length_penalty": length_penalty,
        "num_hypotheses": nbest,
        "min_decoding_length": min_decoding_length,
        "max_decoding_length": max_decoding_length,
        "no_repeat_ngram_size": no_repeat_ngram_size,
        "repetition_penalty": repetition_penalty,
        "suppress_sequences": suppress or [],
        "sampling": drawn,
    }
    translate_file(Translator.load(run, device, inter_threads), file, output, options, scores, say, resume)


@app.command()
def score(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Two files of parallel text, or one TSV.")],
    tokens: Annotated[bool, typer.Option("--tokens", help="Each subword with its own, after the sum.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
) -> None:
    """How likely given translations are: the sum of the subwords' log probabilities, a line for each pair.

    Example: allyouneed score RUN --test test.de test.en
    """
    from allyouneed.translation.files import score_files
    from allyouneed.translation.translator import Translator

    for line in score_files(Translator.load(run, device), test, tokens):
        print(line)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    test: Annotated[list[Path], typer.Option(metavar="SOURCE TARGET", help="Two files of parallel text, or one TSV.")],
    beam_size: Annotated[int | None, typer.Option(help="Hypotheses kept at each step; 1 is greedy.")] = None,
    tokenized: Annotated[
        bool, typer.Option("--tokenized", help="The text is tokenised already: the metric must not tokenise it again.")
    ] = False,
    tokenizer: Annotated[str, typer.Option(help="sacreBLEU's: 13a, intl, zh, ja-mecab, ko-mecab, char ...")] = "13a",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Writes the translations there.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or auto.")] = "cpu",
) -> None:
    """Scores translations of held-out text: BLEU and chrF with sacreBLEU's signatures.

    Example: allyouneed evaluate RUN --test test.de test.en
    """
    from allyouneed.translation.files import evaluate_files
    from allyouneed.translation.translator import Translator

    found = evaluate_files(Translator.load(run, device), test, beam_size, tokenized, tokenizer, output)
    print(f"BLEU {found.bleu:.2f}  {found.bleu_signature}")
    print(f"chrF {found.chrf:.2f}  {found.chrf_signature}")
    print(f"exact match {found.exact_match:.1f} %  of {found.sentences:,} sentences")


def main() -> NoReturn:
    """Entry point: turns mistakes into one line and an exit code."""
    try:
        code = app(args=spread(sys.argv[1:]), standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        code = _mistake(str(error))
    except (KeyboardInterrupt, typer.Abort):
        say("interrupted")
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        code = _mistake(f"{error.filename or 'input or output'}: {(error.strerror or str(error)).lower()}.")
    except Exception as error:
        explain = getattr(error, "format_message", None)  # click's own: unknown option, missing argument
        if explain is None:
            raise
        code = _mistake(f"{explain()} See allyouneed --help.") if explain() else _USER_MISTAKE
    sys.exit(code or 0)


def _mistake(message: str) -> int:
    say(f"error: {message}")
    return _USER_MISTAKE
