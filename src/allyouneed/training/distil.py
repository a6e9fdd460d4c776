"""Knowledge distillation (Kim and Rush 2016): a small, quick student learns what its teacher says.

By sequences: the teacher translates the source side of the training text once, with its beam; what the student is then
trained on is easier to say than what people wrote, so that a shallow decoder comes near the teacher's beam without one
of its own. And word by word, with `training.teacher_share`: at each place the teacher's distribution has a share in
what the student is to say (`loss.py`), which tells more than the one word that stands there.
Everything lies in RUN/distilled and is made once: the same command goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Console
from sacrebleu.metrics.bleu import BLEU

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.config import load_recipe
from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import RawPair, read_pairs, read_text
from allyouneed.errors import UserError
from allyouneed.files import read_json, sha256, to_json, write_file
from allyouneed.progress import print_line
from allyouneed.training.distributed import announced_ranks
from allyouneed.training.request import Request, bundle_sum
from allyouneed.training.train import Outcome, only_one, train
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.resuming import note_beside
from allyouneed.translation.text_files import translate_file
from allyouneed.translation.translator import Translator

TARGETS = ("teacher", "both", "beam", "closest")


@dataclass(frozen=True)
class Distillation:
    """What the user asked for, as in `Request`; beam_size, length_penalty: of the teacher's search, None for its own;
    inter_threads: its batches at once, None for as many as there are cores.

    targets: "teacher", its best hypothesis; "both", that and the reference, a pair each; "beam", all hypotheses of the
    beam; "closest", the one of the beam that is most like the reference by sentence BLEU (their section 3.3).
    """

    teacher: Path
    train: Sequence[Path]
    valid: Sequence[Path]
    out: Path
    recipe: str = "swift"
    settings: Sequence[str] = ()
    beam_size: int | None = None
    length_penalty: float | None = None
    targets: str = "both"
    inter_threads: int | None = None


def distil(asked: Distillation, console: Console) -> Outcome:
    """Translates, then trains, or goes on with either. Errors: `UserError` for anything the user can mend."""
    if asked.targets not in TARGETS:
        raise UserError(f"--targets {asked.targets}: choose {', '.join(TARGETS)}.")
    if announced_ranks() > 1:  # which would all translate, and write over each other
        raise UserError("distil works in one process: start it without torchrun, or unset WORLD_SIZE.")
    teacher = load_bundle(asked.teacher)
    for files in (asked.train, asked.valid):
        count_pairs(files)  # a mistake shows before the work
    with only_one(asked.out):
        files = _taught(asked, teacher, partial(print_line, console))
    request = Request(
        files, asked.valid, asked.out, teacher.languages, asked.recipe, asked.settings, teacher=asked.teacher
    )
    return train(request, console)


def _taught(asked: Distillation, teacher: Bundle, say: Callable[[str], None]) -> list[Path]:
    """The text that the student is trained on: source and target."""
    folder, config = asked.out / "distilled", load_recipe(asked.recipe).override(asked.settings)
    options = {"beam_size": asked.beam_size, "length_penalty": asked.length_penalty}
    changes = {name: value for name, value in options.items() if value is not None}
    search = teacher.config.replace(search=changes).search
    facts = {
        "teacher": bundle_sum(asked.teacher),
        "train": [f"{path.name} {sha256(path)}" for path in asked.train],
        "columns": list(config.data.columns),
        "beam_size": search.beam_size,
        "length_penalty": search.length_penalty,
        "targets": asked.targets,
    }
    _agree(folder / "asked.json", facts)
    files = [folder / "train.source", folder / "train.target"]
    if all(file.is_file() for file in files):
        return files
    read = read_pairs(asked.train, config.data.columns)
    pairs = [pair for pair in read if not pair.fault and pair.source and pair.target]
    translator = Translator(teacher, config.training.device, asked.inter_threads)
    taught = list(_chosen(pairs, _translate(folder, pairs, translator, facts, say), asked.targets))
    for side, file in enumerate(files):
        write_file(file, "".join(f"{pair[side]}\n" for pair in taught))
    return files


def _agree(path: Path, facts: dict[str, Any]) -> None:
    """Errors: `UserError` when the RUN was begun with other facts than these."""
    if not path.is_file():
        return write_file(path, to_json(facts))
    begun = read_json(path, "Give another --out.", lambda content: content["targets"])
    if begun != facts:
        changed = next(key for key in {**facts, **begun} if begun.get(key) != facts.get(key))
        raise UserError(
            f"{path.parent.parent} was begun with {changed} = {begun.get(changed)}, now {facts.get(changed)}. "
            "Give another --out, or the same command as before."
        )
    return None


def _translate(
    folder: Path, pairs: list[RawPair], translator: Translator, facts: dict[str, Any], say: Callable[[str], None]
) -> list[list[str]]:
    """The beam's hypotheses for each source, best first."""
    source, said, partial = (folder / name for name in ("source.txt", "hypotheses.txt", "hypotheses.unfinished"))
    if not said.is_file():
        resume = source.is_file() and note_beside(partial).is_file()
        if not resume:
            write_file(source, "".join(f"{pair.source}\n" for pair in pairs))
        say(f"the teacher translates {len(pairs):,} sentences with a beam of {facts['beam_size']} ...")
        beam_size = facts["beam_size"]
        options = SearchOptions(beam_size=beam_size, length_penalty=facts["length_penalty"], num_hypotheses=beam_size)
        translate_file(translator, source, partial, options, True, say, resume, again="the same command")
        partial.rename(said)
    return _hypotheses(said, facts["beam_size"])


def _hypotheses(path: Path, beam: int) -> list[list[str]]:
    """Texts from lines `id ||| text ||| score`; `score`, tab, text where the beam is 1."""
    if beam == 1:
        return [[line.partition("\t")[2]] for line in read_text(path)]
    rows = (line.split(" ||| ", 1) for line in read_text(path))
    return [
        [text.rpartition(" ||| ")[0] for _, text in group]
        for _, group in groupby(((int(number), text) for number, text in rows), key=lambda row: row[0])
    ]


def _chosen(pairs: list[RawPair], hypotheses: list[list[str]], targets: str) -> Iterator[tuple[str, str]]:
    """(source, what the student shall say), one or several for each pair; nothing where the teacher says nothing."""
    similar = BLEU(effective_order=True, tokenize="none")
    for pair, found in zip(pairs, hypotheses, strict=True):
        if targets == "closest":
            found = [max(found, key=lambda text: similar.sentence_score(text, [pair.target]).score)]
        elif targets != "beam":
            found = found[:1]
        for text in [*found, *([pair.target] if targets == "both" else [])]:
            if text:
                yield pair.source, text
