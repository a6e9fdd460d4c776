"""The command line: one function per command, without logic. User errors print one line and exit with code 2."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import allyouneed
from allyouneed import insight, training, translation
from allyouneed.command_options import (
    Metrics,
    Recipe,
    References,
    Settings,
    StudentRecipe,
    SuggestingGroup,
    Test,
    Tokenized,
    Tokenizer,
    Train,
)
from allyouneed.errors import UserError
from allyouneed.exchange.commands import app as exchange
from allyouneed.paper.commands import app as paper
from allyouneed.serving.commands import app as serving
from allyouneed.terminal import (
    ComputeType,
    Device,
    FileGroup,
    completing,
    console,
    file_group,
    finite,
    program,
    resume_hint,
    run_app,
    say,
    text,
)
from allyouneed.translation.search_command import GroupedCommand, search_command
from allyouneed.verification.commands import app as verification

if TYPE_CHECKING:
    from allyouneed.training.outcome import Outcome
    from allyouneed.translation.translator import Translator

_FILES = "Input and output"  # heading in a command's help
_SAMPLING = ("sampling_topk", "sampling_topp", "sampling_temperature")

Into = Annotated[
    str | None,
    typer.Option("--to", metavar="CODE", help="Target language of a multilingual model.", rich_help_panel=_FILES),
]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="CODE", help="Source language of a multilingual model.", rich_help_panel=_FILES),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="W,W,...", help="How often an epoch contains each pair, a number per --train. Default: once."),
]
Minutes = Annotated[
    float | None,
    typer.Option(help="Wall-clock time for preparation, training and final scoring; compiling kernels is not counted."),
]

app = typer.Typer(
    cls=SuggestingGroup,
    help='The Transformer of "Attention Is All You Need": bring parallel text, get a translator.',
    epilog="Begin with: allyouneed quickstart. Each command has an example: allyouneed train --help",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(exchange)
app.add_typer(serving)
app.add_typer(verification)
app.add_typer(paper, name="paper", short_help="Reproduce the paper's tables and figures.")


def _print_version(requested: bool) -> None:
    if requested:
        print(f"allyouneed {allyouneed.__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder of the run.", metavar="RUN")] = Path("runs/quickstart"),
    settings: Settings = None,
) -> None:
    """Train, evaluate and try a translator of dates in minutes.

    From Korean to English, on a synthetic corpus.

    Example: allyouneed quickstart
    """
    with resume_hint():
        allyouneed.quickstart.run_quickstart(out, settings or [], console(), program())


@app.command()
def train(
    train: Train,
    out: Annotated[Path, typer.Option(metavar="RUN", help="Folder of the run; the same command again resumes it.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="CODE", help="Source language: a code or name, for example de.")
    ] = None,
    target: Annotated[
        str | None, typer.Option("--to", metavar="CODE", help="Target language: a code or name, for example en.")
    ] = None,
    directions: Annotated[
        str | None,
        typer.Option(
            metavar="A-B,C-D,...",
            help="For a multilingual model: the direction of each --train, for example de-en,fr-en.",
        ),
    ] = None,
    both_ways: Annotated[
        bool, typer.Option("--both-ways", help="Train on each corpus in both directions, in one multilingual model.")
    ] = False,
    valid: Annotated[
        list[FileGroup] | None,
        typer.Option(
            metavar="SOURCE TARGET",
            parser=file_group,
            help="Validation text. Default: about 1,000 pairs of the first --train.",
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
    settings: Settings = None,
) -> None:
    """Train a translator from parallel text.

    Two plain files with one sentence per line, or one TSV, CSV or JSONL file, compressed or not.

    \b
    Example: allyouneed train --from de --to en --train train.de train.en \\
      --valid val.de val.en --minutes 30 --out RUN
    """
    overrides = [*([] if freeze is None else [f"training.freeze={freeze}"]), *_with_minutes(minutes, settings)]
    with resume_hint():
        text = training.training_text(
            train, valid, (source, target), weights=weights, directions=directions, both_ways=both_ways
        )
        request = training.Request(
            *text[:2], out, text.languages, recipe, overrides, tokenizer=tokenizer or (), start_from=start_from
        )
        _conclude(out, training.train.train(request, console()))


@app.command()
def distil(
    teacher: Annotated[Path, typer.Argument(metavar="TEACHER", help="The run or bundle to imitate.")],
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
            teacher,
            training.as_corpora(train, weights),
            training.as_corpora(valid),
            out,
            recipe,
            overrides,
            beam_size,
            length_penalty,
            targets,
            inter_threads,
        )
        _conclude(out, training.distil.distil(request, console()))


@app.command()
def settings(
    selection: Annotated[
        str | None, typer.Argument(metavar="[SECTION]", help="A section or a setting. Default: all settings.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List settings with their defaults, bounds and descriptions.

    Example: allyouneed settings training
    """
    print(allyouneed.config.listing.settings_listing(selection, as_json))


@app.command()
def recipes(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the settings of each recipe.")] = False,
) -> None:
    """List recipes with their descriptions.

    Example: allyouneed recipes
    """
    print(allyouneed.config.listing.recipes_listing(as_json))


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
        bool, typer.Option("--resume", help="Resume an interrupted translation.", rich_help_panel=_FILES)
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
    target: Into = None,
    source: From = None,
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
    translator = _translator(run, target, source, device, inter_threads, compute_type)
    translation.translate_file(translator, file, output, context.obj, scores, say, resume, force or (), as_json=as_json)


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
            metavar="FILE.tsv", help="Default: next to MONO, for example mono.de-en.tsv.", rich_help_panel=_FILES
        ),
    ] = None,
    tag: Annotated[
        str, typer.Option(metavar="<TAG>", callback=text, help="Tag of synthetic sources.", rich_help_panel=_FILES)
    ] = "<bt>",
    no_tag: Annotated[
        bool, typer.Option("--no-tag", help="Write sources without a tag.", rich_help_panel=_FILES)
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted translation.", rich_help_panel=_FILES)
    ] = False,
    target: Into = None,
    source: From = None,
    device: Device = "auto",
    inter_threads: Annotated[
        int | None,
        typer.Option(min=1, help="Batches in parallel. Default: the number of cores.", rich_help_panel="Speed"),
    ] = None,
    compute_type: ComputeType = "float32",
) -> None:
    """Make training text from monolingual text by back-translation.

    Writes a TSV file: translations as sources, the lines of MONO as targets. Prints the command that trains on it.

    Example: allyouneed backtranslate EN-DE mono.en --sampling-topk 10
    """
    translator = _translator(run, target, source, device, inter_threads, compute_type)
    tag = "" if no_tag else tag
    corpus = translation.back_translate(translator, mono, out, context.obj, tag=tag, resume=resume, report=say)
    for line in corpus.report_lines():
        say(line)
    say(f"train on it with parallel text, for example:\n  {program()} {corpus.training_command()}")


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
    target: Into = None,
    source: From = None,
    device: Device = "auto",
) -> None:
    """Print the log probability of given translations.

    One line per sentence pair: the sum over the tokens of the target, end of sentence included (natural logarithm).

    Example: allyouneed score RUN --test test.de test.en
    """
    scores = translation.score(_translator(run, target, source, device), test, report=say)
    for line in translation.score_lines(scores, tokens, as_json):
        print(line)


@app.command(cls=search_command("beam_size"))
def evaluate(
    context: typer.Context,
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN]", help="A run or a bundle; none with --hypothesis.")
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
    tokenizer = translation.bleu_tokenizers.for_text(tokenized, tokenizer)
    scores = translation.evaluate(
        _translator(run, target, source, device, compute_type=compute_type) if run else None,
        test or (),
        context.obj,
        hypothesis=hypothesis,
        references=reference or (),
        metrics=translation.evaluation.metric_options(metrics, confidence, comet_model),
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
        translation.comparison.check_page(html, [*(test or ()), *(reference or ())])
    baseline, system = (
        _translator(path, target, source, device, compute_type=compute_type) if path.is_dir() else path
        for path in (first, second)
    )
    compared = translation.compare(
        baseline,
        system,
        test or (),
        context.obj,
        references=reference or (),
        metrics=translation.evaluation.metric_options(metrics, False, None).names,
        tokenizer=translation.bleu_tokenizers.for_text(tokenized, tokenizer),
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


@app.command()
def look(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run or a bundle.")],
    sentence: Annotated[
        str, typer.Argument(metavar="SENTENCE", callback=text, help="Sentence in the source language.")
    ] = "",
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write a page. Default: print a table; heads.html with --test, film.html with --over-training.",
        ),
    ] = None,
    test: Annotated[
        list[Path] | None,
        typer.Option(metavar="SOURCE TARGET", help="Measure the heads on this text; with a sentence, the switches."),
    ] = None,
    alignments: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Word alignments of --test to compare heads with, `0-0 1-2` per line."),
    ] = None,
    over_training: Annotated[
        bool,
        typer.Option("--over-training", help="Show how the heads form, from snapshots (training.keep_snapshots)."),
    ] = False,
    translation: Annotated[
        str | None,
        typer.Option(metavar="TEXT", callback=text, help="Translation of the sentence. Default: the model's own."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print weights or head statistics as JSON.")] = False,
    target: Into = None,
    device: Device = "auto",
    against: Annotated[
        str | None,
        typer.Option(
            metavar="SENTENCE",
            callback=text,
            help="A similar sentence: which activations make the difference (patching).",
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Compare with another run, bundle or snapshot of weights, on the page."),
    ] = None,
    twins: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Show the models of this folder of `allyouneed paper questions` over training."
        ),
    ] = None,
) -> None:
    """Show every attention head of a translation, on one page.

    The page also shows each step of attention: scores, scaling, mask, softmax.

    Example: allyouneed look RUN "Ein Hund rennt." --html look.html
    """
    request = insight.LookRequest(
        run,
        sentence,
        test or [],
        alignments,
        html,
        as_json,
        device,
        against,
        over_training,
        translation,
        other,
        twins,
        target,
    )
    table = insight.look_at(request, console())
    if table:
        print(table)


def _translator(
    run: Path,
    target: str | None,
    source: str | None,
    device: str,
    inter_threads: int | None = None,
    compute_type: str = "float32",
) -> Translator:
    """Load a translator, and report if a multilingual model was not trained on its direction."""
    translator = translation.Translator.load(run, device, inter_threads, compute_type, target, source)
    if remark := translator.remark:
        say(remark)
    return translator


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
    say(
        f"{outcome.ending}\n{outcome.headline}\n"
        f"bundle: {out / 'bundle'}\nreport: {out / 'report.html'}\n"
        f"translate with it: {program()} translate {shlex.quote(str(out))} FILE"
    )


def main() -> NoReturn:
    """Run the command line and exit; a user error prints one line and exits with code 2."""
    run_app(app, UserError)
