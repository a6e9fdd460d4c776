"""The command line: one verb each, no logic. A user's mistake is one line on standard error and exit code 2."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from allyouneed import __version__
from allyouneed.errors import UserError
from allyouneed.paper.commands import app as paper
from allyouneed.terminal import (
    Settings,
    console,
    finite,
    program,
    run_app,
    say,
    saying_how_to_go_on,
    text,
)

app = typer.Typer(
    help='The Transformer of "Attention Is All You Need": bring parallel text, get a translator.',
    epilog="Begin with: allyouneed quickstart. Each command has an example: allyouneed train --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(paper, name="paper", short_help="Measures the paper's tables and figures again.")
ComputeType = Annotated[str, typer.Option(metavar="TYPE", help="float32, or int8: faster, on CPUs with AVX-512 VNNI.")]


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
        from allyouneed.training.run import train as train_run

        outcome = train_run(
            Request(train, valid, out, (source, target), recipe, given, start_from=start_from), console()
        )
        _raise_if_interrupted(outcome.status)
    _say_trained(out, outcome.scores["valid"])


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
    _say_trained(out, outcome.scores["valid"])


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
        "num_beam_groups": num_beam_groups,
        "diversity_penalty": diversity_penalty,
        "coverage_penalty": coverage_penalty,
    }
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
    from allyouneed.translation.files import score_files
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
    from allyouneed.translation.files import evaluate_files
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
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    format: Annotated[str, typer.Option(metavar="NAME", help="ctranslate2, marian or argos.")],
    quantization: Annotated[
        str | None, typer.Option(metavar="TYPE", help="int8, int16 or float16; not for marian. Without it fp32.")
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(metavar="SOURCE TARGET", help="Compares on this text, with BLEU and chrF, not on the samples."),
    ] = None,
) -> None:
    """Writes a translator in another system's form.

    Then it compares what both say of the stored sample sentences.

    Example: allyouneed export RUN --format ctranslate2 DIR --quantization int8
    """
    from allyouneed.exchange.export import export as export_run

    if not export_run(run, format, folder, quantization, test):
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    format: Annotated[str, typer.Argument(metavar="marian", help="The form: marian, as every OPUS-MT model is.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the model.")],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A new folder, as `allyouneed train` makes one.")],
    source: Annotated[str | None, typer.Option("--from", metavar="CODE", help="If the model does not tell.")] = None,
    target: Annotated[str | None, typer.Option("--to", metavar="CODE", help="If the model does not tell.")] = None,
) -> None:
    """Makes a RUN of another system's model.

    It translates, shows its attention and can be trained further.

    Example: allyouneed import marian opus-mt-de-en RUN
    """
    from allyouneed.exchange.marian_import import import_model

    say(import_model(format, folder, run, source, target))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A run, a bundle, or what was exported.")],
) -> None:
    """Compares every file with its checksum.

    It names the first that is missing or has changed since it was written.

    Example: allyouneed check RUN
    """
    from allyouneed.exchange.check import check as check_files

    print(check_files(folder))


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


@app.command()
def serve(
    runs: Annotated[list[Path] | None, typer.Argument(metavar="RUN...", help="Runs or bundles, one a pair.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; only this machine reaches the default.")
    ] = "127.0.0.1",
    keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Only those with a key in it may translate.")
    ] = None,
    add_key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Puts a new key into --keys, prints it, and leaves.")
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option(min=1, help="Requests a minute: of the new key, or of each key or address.")
    ] = None,
    quota: Annotated[int | None, typer.Option(min=1, help="Characters a month that the new key may translate.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Serve others without keys.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="With a model each; one a core by default.")] = None,
    compute_type: ComputeType = "float32",
    characters: Annotated[int, typer.Option(min=1, help="Of one request's text, at most.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=0.1, callback=finite, help="For one request, at most.")] = 60.0,
    queue: Annotated[int, typer.Option(min=1, help="Sentences that may wait; more are refused (503).")] = 4096,
    file_minutes: Annotated[
        float, typer.Option(min=0.01, callback=finite, help="Until uploaded files are deleted.")
    ] = 30.0,
    cors: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Site whose pages may call; repeatable.")
    ] = None,
    metrics_token: Annotated[
        str | None, typer.Option(envvar="ALLYOUNEED_METRICS_TOKEN", help="What /metrics asks for.")
    ] = None,
    log_text: Annotated[bool, typer.Option("--log-text", help="Users' text goes into the logs, too.")] = False,
) -> None:
    """Serves translators over HTTP, with a page to try them.

    It speaks LibreTranslate's API, DeepL's, and its own.

    Example: allyouneed serve RUN --port 5000
    """
    from allyouneed.serving.keys import add_key as new_key
    from allyouneed.serving.run import serve as serve_runs
    from allyouneed.serving.settings import Settings as ServeSettings

    if add_key is not None:
        if not keys:
            raise UserError("--add-key needs a file to put the key into: give --keys FILE.")
        print(new_key(keys, add_key, per_minute, quota))
        return
    if quota is not None:
        raise UserError("--quota is of a new key: give --keys FILE --add-key NAME too, or leave it out.")
    settings = ServeSettings(host, port, public, keys, per_minute)
    chosen: dict[str, Any] = {"threads": threads} if threads else {}
    settings = replace(
        settings, characters=characters, seconds=seconds, queue_sentences=queue, file_minutes=file_minutes,
        origins=tuple(cors or []), metrics_token=metrics_token, log_text=log_text, compute_type=compute_type, **chosen,
    )  # fmt: skip
    serve_runs(runs or [], settings, say)


def _with_minutes(minutes: float | None, settings: Settings) -> list[str]:
    if minutes is None:
        return settings or []
    from allyouneed.config import Config

    planned = f"training.minutes={minutes}"
    Config().override([planned], "--minutes")  # a number that cannot be shows now, and where
    return [planned, *(settings or [])]


def _raise_if_interrupted(status: str) -> None:
    from allyouneed.training.loop import INTERRUPTED

    if status == INTERRUPTED:
        raise KeyboardInterrupt


def _say_trained(out: Path, scores: dict[str, Any]) -> None:
    say(
        f"validation BLEU {scores['bleu']:.1f}  {scores['bleu_signature']}\n"
        f"bundle: {out / 'bundle'}\nreport: {out / 'report.html'}\n"
        f"translate with it: {program()} translate {shlex.quote(str(out))} FILE"
    )


def main() -> NoReturn:
    """Entry point: turns mistakes into one line and an exit code."""
    run_app(app, UserError)
