"""Knowledge distillation (Kim and Rush 2016): train a small, fast student to imitate a teacher, or several.

Sequence level: the teacher translates the source side of the training text with beam search. Its translations are more
regular than human translations, so a shallow student with greedy search comes close to the teacher's beam search. Token
level: with `training.teacher_share`, the teacher's distribution is part of the target distribution (see `loss.py`).
Several teachers translate as an ensemble (Freitag et al. 2017), and their logits are averaged. The translations are
stored in RUN/distilled, with checksums; repeating the command resumes an interrupted translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from allyouneed.bundle import Bundle
from allyouneed.config import load_recipe
from allyouneed.data.corpora import Corpus, count_all_pairs, located
from allyouneed.data.files.formats import RawPair, read_pairs
from allyouneed.data.files.lines import read_text
from allyouneed.durable import rename
from allyouneed.errors import UserError
from allyouneed.files import (
    MANIFEST,
    add_to_manifest,
    check_files,
    read_manifest,
    read_sealed,
    sha256,
    write_file,
    write_sealed,
)
from allyouneed.progress import print_line
from allyouneed.training.distributed.launch import announced_ranks
from allyouneed.training.reporting.outcome import Outcome
from allyouneed.training.request import Request
from allyouneed.training.resolution.choice import Choice
from allyouneed.training.resolution.identity import bundle_identities, same_content
from allyouneed.training.run_lock import lock_run
from allyouneed.training.train import train
from allyouneed.translation.ensemble import load_members
from allyouneed.translation.evaluation.bleu_tokenizers import AUTO, DEFAULT, TOKENIZED, bleu_metric, choose_tokenizer
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.resuming import note_path
from allyouneed.translation.text_files import translate_file
from allyouneed.translation.translator import Translator
from allyouneed.untrusted import changed

TARGETS = ("teacher", "both", "beam", "closest")


@dataclass(frozen=True)
class Distillation:
    """A request for distillation.

    Attributes:
        teachers: RUNs or bundles of the teachers: one, or several with one vocabulary.
        train: Training text: one corpus or several.
        valid: Validation text with human references.
        out: Folder of the student's run.
        recipe: Settings of the student.
        settings: Overrides `SECTION.NAME=VALUE` for the student.
        beam_size: The teacher's beam size; None for the setting of its bundle.
        length_penalty: The teacher's length penalty; None for the setting of its bundle.
        targets: The student's training targets: "teacher" (the best hypothesis), "both" (the best hypothesis and the
            reference, as two pairs), "beam" (all hypotheses of the beam) or "closest" (the hypothesis with the highest
            sentence BLEU against the reference, section 3.3 of Kim and Rush).
        inter_threads: Number of batches that the teacher translates in parallel; None for one per core.
    """

    teachers: Sequence[Path]
    train: Sequence[Corpus]
    valid: Sequence[Corpus]
    out: Path
    recipe: str = "swift"
    settings: Sequence[str] = ()
    beam_size: int | None = None
    length_penalty: float | None = None
    targets: str = "both"
    inter_threads: int | None = None


def distil(request: Distillation, console: Console) -> Outcome:
    """Translate the training text with the teachers and train the student, or resume an interrupted run.

    Args:
        request: Teachers, text and settings.
        console: Where progress is shown.

    Raises:
        UserError: If the request is invalid, files are missing or damaged, or the disk is full.
    """
    if request.targets not in TARGETS:
        raise UserError(f"--targets {request.targets}: choose {', '.join(TARGETS)}.")
    if announced_ranks() > 1:  # all ranks would translate into the same files
        raise UserError("distil runs in one process: start it without torchrun, or unset WORLD_SIZE.")
    teachers = load_members(request.teachers)
    if teachers[0].directions:
        raise UserError(
            f"{request.teachers[0]}: translates in several directions. distil imitates a translator of one direction."
        )
    count_all_pairs([*request.train, *request.valid])  # finds errors in the text before the long translation
    training = Request(
        *(request.train, request.valid, request.out, teachers[0].languages, request.recipe, request.settings),
        teachers=request.teachers,
    )
    Choice(training, None, teachers[0], torch.device("cpu")).check()  # the same for settings
    with lock_run(request.out):
        text = _training_text(request, teachers, partial(print_line, console))
    return train(replace(training, train=text), console, teachers)


def _training_text(request: Distillation, teachers: Sequence[Bundle], say: Callable[[str], None]) -> list[Corpus]:
    """Return the corpora that the student is trained on, writing them if needed: one for each of the request."""
    folder = request.out / "distilled"
    folders = (
        [folder / str(number) for number, _ in enumerate(request.train, 1)] if len(request.train) > 1 else [folder]
    )
    return [
        replace(corpus, paths=_distilled(request, corpus, each, teachers, say))
        for corpus, each in zip(request.train, folders, strict=True)
    ]


def _distilled(
    request: Distillation, corpus: Corpus, folder: Path, teachers: Sequence[Bundle], say: Callable[[str], None]
) -> tuple[Path, Path]:
    """Return the source and target files for one corpus, writing them if needed."""
    config = load_recipe(request.recipe).override(request.settings)
    options = {"beam_size": request.beam_size, "length_penalty": request.length_penalty}
    first, *others = teachers
    search = first.config.replace(search={name: value for name, value in options.items() if value is not None}).search
    facts = {
        "teacher": bundle_identities(request.teachers),
        "train": [f"{path.name} {sha256(path)}" for path in corpus.paths],
        "columns": list(config.data.columns),
        "beam_size": search.beam_size,
        "length_penalty": search.length_penalty,
        "targets": request.targets,
    }
    _agree(request.out, folder / "asked.json", facts)
    files = folder / "train.source", folder / "train.target"
    if all(file.is_file() for file in files):
        remedy = (
            f"Delete {files[0]} and {files[1].name} and repeat the command: they are made again from the hypotheses."
        )
        _check_written(folder, [file.name for file in files], remedy)
        return files
    [corpus] = located([corpus], config.data.columns, first.languages)
    read = read_pairs(corpus.paths, corpus.columns)
    pairs = [pair for pair in read if not pair.fault and pair.source and pair.target]
    translator = Translator(first, config.training.device, request.inter_threads, others=others)
    hypotheses = _translate(folder, pairs, translator, facts, say)
    chosen = list(_choose_targets(pairs, hypotheses, request.targets, first.languages[1]))
    for side, file in enumerate(files):
        write_file(file, "".join(f"{pair[side]}\n" for pair in chosen))
    add_to_manifest(folder, *(file.name for file in files))
    return files


def _check_written(folder: Path, names: Sequence[str], remedy: str) -> None:
    """Verify the checksums of some files; earlier versions wrote none."""
    if (folder / MANIFEST).exists():
        sums = read_manifest(folder, f"Delete {folder / MANIFEST} and run the same command again.")
        check_files(folder, {name: sums[name] for name in names if name in sums}, remedy)


def _agree(run: Path, path: Path, facts: dict[str, Any]) -> None:
    """Raise `UserError` if the run was started with different facts."""
    if not path.is_file():
        return write_sealed(path, facts)
    remedy = f"Delete {path.parent} and run the same command again: the teacher translates again."
    started, _ = read_sealed(path, dict[str, Any], remedy)
    changed = next((key for key in {**facts, **started} if not same_content(started.get(key), facts.get(key))), None)
    if changed:
        difference = f"{changed} = {started.get(changed)}, now {facts.get(changed)}"
        raise UserError(
            f"{run} was started with {difference}. Repeat the original command to resume it, or choose another --out."
        )
    return None


def _translate(
    folder: Path, pairs: list[RawPair], translator: Translator, facts: dict[str, Any], say: Callable[[str], None]
) -> list[list[str]]:
    """Return the teacher's hypotheses for each source, best first; start or resume the translation if needed."""
    source, finished, unfinished = (folder / name for name in ("source.txt", "hypotheses.txt", "hypotheses.unfinished"))
    if not finished.is_file():
        resume = source.is_file() and note_path(unfinished).is_file()
        if not resume:
            write_file(source, "".join(f"{pair.source}\n" for pair in pairs))
        say(f"the teacher translates {len(pairs):,} sentences with beam size {facts['beam_size']} ...")
        beam_size = facts["beam_size"]
        options = SearchOptions(beam_size=beam_size, length_penalty=facts["length_penalty"], num_hypotheses=beam_size)
        translate_file(translator, source, unfinished, options, True, say, resume, resume_with="the same command")
        rename(unfinished, finished)
        add_to_manifest(folder, source.name, finished.name)
    remedy = f"Delete {finished} and run the same command again: the teacher translates again."
    _check_written(folder, [finished.name], remedy)
    try:
        return _read_hypotheses(finished, facts["beam_size"])
    except ValueError as error:  # of earlier versions, which wrote no checksums
        raise changed(finished, remedy) from error


def _read_hypotheses(path: Path, beam: int) -> list[list[str]]:
    """Read lines `id ||| text ||| score`, or `score`, tab, text if the beam size is 1."""
    if beam == 1:
        return [[line.partition("\t")[2]] for line in read_text(path)]
    rows = (line.split(" ||| ", 1) for line in read_text(path))
    return [
        [text.rpartition(" ||| ")[0] for _, text in group]
        for _, group in groupby(((int(number), text) for number, text in rows), key=lambda row: row[0])
    ]


def _choose_targets(
    pairs: list[RawPair], hypotheses: list[list[str]], targets: str, language: str
) -> Iterator[tuple[str, str]]:
    """Yield pairs of source and training target, one or several per source; empty hypotheses are skipped."""
    name = choose_tokenizer(AUTO, language).name
    metric = bleu_metric(TOKENIZED if name == DEFAULT else name, effective_order=True)  # the text may be tokenized
    for pair, texts in zip(pairs, hypotheses, strict=True):
        if targets == "closest":
            texts = [max(texts, key=lambda text: metric.sentence_score(text, [pair.target]).score)]
        elif targets != "beam":
            texts = texts[:1]
        for text in [*texts, *([pair.target] if targets == "both" else [])]:
            if text:
                yield pair.source, text
