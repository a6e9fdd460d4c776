"""The Python counterpart of `allyouneed train`, exported as `allyouneed.train`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console

from allyouneed.config import check_values
from allyouneed.config.descriptions import assigned
from allyouneed.data.corpora import CorpusFiles, training_text
from allyouneed.errors import UserError
from allyouneed.files import TextFiles, as_paths
from allyouneed.training.reporting.outcome import STOPPED_EARLY
from allyouneed.training.request import Request
from allyouneed.training.train import train as run_training

Settings: TypeAlias = Mapping[str, Mapping[str, Any]] | str | Sequence[str]


@dataclass(frozen=True)
class TrainingResult:
    """The result of `allyouneed.train`.

    Attributes:
        run: Folder of the run.
        bundle: Folder of the trained bundle, for `Translator.load`.
        report: Path of the report, an HTML page with curves, samples and settings.
        scores: Scores on the validation text: `loss` (nats per token), `bleu`, `chrf`, `exact_match` (percent),
            their sacreBLEU signatures, and the `beam_size` used; empty after a dry run.
        stopped_early: Whether `training.patience` ended the training before the last step.
        ending: How training ended, for example "finished after 400 steps", with what went wrong, if anything.
    """

    run: Path
    bundle: Path
    report: Path
    scores: dict[str, Any]
    stopped_early: bool
    ending: str = ""


def train(
    *,
    source: str | None = None,
    target: str | None = None,
    train: CorpusFiles,
    out: str | os.PathLike[str],
    valid: CorpusFiles | None = None,
    weights: Sequence[float] | None = None,
    directions: str | Sequence[str | Sequence[str]] | None = None,
    both_ways: bool = False,
    recipe: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    settings: Settings = (),
    tokenizer: TextFiles | None = None,
    start_from: str | os.PathLike[str] | None = None,
    freeze: str | Sequence[str] = (),
    data: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
    quiet: bool = False,
) -> TrainingResult:
    """Train a translator from parallel text, as `allyouneed train` does.

    Repeating the call resumes an interrupted run, or returns the result of a finished run; with more minutes, steps or
    patience, it extends the run. A run started on the command line can be resumed from Python and vice versa.

    Args:
        source: Code or name of the source language, for example "de" or "German".
        target: Code or name of the target language, for example "en".
        train: Training text: two files with one sentence per line, or files, folders and archives with both sides (TSV,
            CSV, JSON, TMX, XLIFF, PO, Parquet, XLSX, data sets), compressed or not. Several corpora are a list of such
            lists: `[["a.de", "a.en"], ["b.tsv"]]`.
        out: Folder of the run.
        valid: Validation text, in the same format. Default: about 1,000 training pairs, of the first corpus,
            are held out.
        weights: How often an epoch contains each pair of each corpus in `train`, on average; 1 by default.
        directions: Direction of each corpus in `train` for a multilingual model, instead of `source` and `target`:
            `["de-en", "fr-en"]`.
        both_ways: Whether to train on each corpus in both directions.
        recipe: Name of a recipe or path of a TOML file. Default: chosen by the size of the corpus and the minutes.
        minutes: Wall-clock time for preparation, training and final scoring; compiling kernels is not counted.
        settings: Overrides by section, `{"training": {"seed": 2}}`, or one or several strings as for `--set`.
        tokenizer: A SentencePiece model to use instead of a new one, or two for the source and the target language.
        start_from: RUN or bundle to train further, instead of a new model.
        freeze: Parts of the start that are not trained, for example `["embeddings", "encoder"]`; see the setting
            `training.freeze`.
        data: Folder of prepared text that several runs share; prepared if it is missing. Default: in the run.
        dry_run: Whether to prepare and check the text, report on it with a forecast, and train nothing.
        quiet: Whether to suppress progress, which is otherwise printed to standard error.

    Returns:
        Paths and validation scores.

    Raises:
        UserError: If a language is missing or unknown, a setting is invalid, files are missing or damaged, or the disk
            is full.
        KeyboardInterrupt: If Ctrl-C is pressed, or at SIGTERM or SIGHUP; a checkpoint is saved first. It is an
            `allyouneed.interruption.Interrupted`, whose message says what is kept.

    Example:
        >>> result = allyouneed.train(source="de", target="en", train=["train.de", "train.en"], out="RUN", minutes=30)
        >>> translator = allyouneed.Translator.load(result.bundle)
    """
    for name, language in (("source", source), ("target", target)):
        if not isinstance(language, str | None) or (directions is None and not (language or "").strip()):
            raise UserError(f'{name} = {language!r}: give the code of a language, for example "de".')
    text = training_text(train, valid, (source, target), weights=weights, directions=directions, both_ways=both_ways)
    request = Request(
        *text[:2],
        out=Path(out),
        languages=text.languages,
        recipe=None if recipe is None else os.fspath(recipe),
        settings=[*_frozen(freeze), *_assignments(minutes, settings)],
        tokenizer=() if tokenizer is None else as_paths(tokenizer),
        start_from=None if start_from is None else Path(start_from),
        data=None if data is None else Path(data),
        dry_run=dry_run,
    )
    outcome = run_training(request, Console(stderr=True, markup=False, emoji=False, quiet=quiet))
    outcome.raise_if_interrupted()
    run = request.out
    return TrainingResult(
        run=run,
        bundle=run / "bundle",
        report=run / "report.html",
        scores=outcome.scores.get("valid", {}),
        stopped_early=outcome.status == STOPPED_EARLY,
        ending=outcome.ending,
    )


def _frozen(parts: str | Sequence[str]) -> list[str]:
    """Return the setting `training.freeze` for parts of the model; nothing for no parts."""
    if not parts:
        return []
    check_values({"training": {"freeze": parts}}, "freeze")
    return [f"training.freeze={parts if isinstance(parts, str) else ','.join(parts)}"]


def _assignments(minutes: float | None, settings: Settings) -> list[str]:
    """Convert settings to `SECTION.NAME=VALUE`, as on the command line, so that both describe the same run."""
    if isinstance(settings, str):
        settings = [settings]
    if isinstance(settings, Mapping):
        check_values(settings, "settings")  # before values are converted to text
        settings = [
            f"{section}.{name}={assigned(value)}"
            for section, values in settings.items()
            for name, value in values.items()
        ]
    if minutes is None:
        return list(settings)
    check_values({"training": {"minutes": minutes}}, "minutes")
    return [f"training.minutes={float(minutes)}", *settings]
