"""Several corpora of one training run, and their statistics in sum."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

from allyouneed.data.cleaning.histograms import summed
from allyouneed.data.corpus import CorpusReport, count_pairs
from allyouneed.data.directions import Direction, code_of, parse_directions
from allyouneed.data.files.formats import RawPair, columns_for, has_both_sides, read_pairs
from allyouneed.data.files.grouping import contents
from allyouneed.data.files.pair_copy import PairCopy, copied
from allyouneed.data.files.selection import DEFAULT, AnyColumns, Columns
from allyouneed.data.inspection.findings import EXAMPLES
from allyouneed.errors import UserError
from allyouneed.files import TextFiles
from allyouneed.progress import RateLines

_MAX_WEIGHT = 1000
_MOST_NAMED = 3  # files
_TAG = re.compile(r"<[^<>\s]+>(?= )")
CorpusFiles: TypeAlias = TextFiles | Sequence[Sequence[str | os.PathLike[str]]]


@dataclass(frozen=True)
class Corpus:
    """Parallel text that is read as a unit.

    Attributes:
        paths: Two plain files of source and target, or files with both sides.
        weight: Occurrences of each pair in an epoch of training, on average.
        columns: Columns or languages of source and target where files have more than one side.
        direction: Languages of source and target, for a multilingual model; None for a model of one direction.
        is_reversed: Whether the files are in the opposite direction: the first has the targets.
        copy: The pairs as in the files, in a form that is read faster; None to read the files.
    """

    paths: tuple[Path, ...]
    weight: float = 1.0
    columns: Columns = DEFAULT
    direction: Direction | None = None
    is_reversed: bool = False
    copy: PairCopy | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        if len(self.paths) > _MOST_NAMED:
            return f"{self.paths[0]} and {len(self.paths) - 1:,} other files"
        return " and ".join(map(str, self.paths))

    @property
    def file_languages(self) -> Direction | None:
        """Languages of the files, in their order; None for a model of one direction."""
        return self.direction[::-1] if self.direction and self.is_reversed else self.direction

    def pairs(self) -> Iterator[RawPair]:
        """Yield the pairs as in the files, in one pass; raises `UserError` as `read_pairs` does."""
        return self.copy.pairs() if self.copy else read_pairs(self.paths, self.columns)

    def presented(self, pair: RawPair) -> RawPair:
        """Return a pair as read from the files in the form that the model sees: in its direction, with its code."""
        if self.is_reversed:
            pair = pair._replace(source=pair.target, target=pair.source)
        if self.direction and pair.source:
            pair = pair._replace(source=f"{code_of(self.direction[1])} {pair.source}")
        return pair

    @property
    def names(self) -> str:
        """Names of the files, without their folders."""
        names = ", ".join(path.name for path in self.paths[:_MOST_NAMED])
        return names if len(self.paths) <= _MOST_NAMED else f"{names}, ..."


def corpus(*paths: str | os.PathLike[str], weight: float = 1.0) -> Corpus:
    """Make a corpus of two plain files, or of files with both sides."""
    return Corpus(tuple(map(Path, paths)), weight)


def as_corpora(
    files: CorpusFiles, weights: str | Sequence[float] | None = None, split: str = "train"
) -> tuple[Corpus, ...]:
    """Return the corpora that a caller gives.

    Args:
        files: Two plain files, or files, folders and archives with both sides, which are one corpus; or a list of such
            lists, one for each corpus.
        weights: Weight of each corpus, as numbers or as text such as "2,1"; None for a weight of 1 each.
        split: Part of a data set that is read from a folder: "train", "validation" or "test".

    Raises:
        UserError: If a folder has no text, the sides of a corpus seem to be given as two corpora, or the weights are
            not valid.
    """
    if isinstance(files, str | os.PathLike):
        files = [files]
    groups = [[each] if isinstance(each, str | os.PathLike) else list(each) for each in files]
    if not any(isinstance(each, list | tuple) for each in files):
        groups = [[path for group in groups for path in group]]
    corpora = tuple(corpus(*(path for name in group for path in contents(Path(name), split))) for group in groups)
    if len(corpora) == 2 and all(len(each.paths) == 1 and not has_both_sides(each.paths[0]) for each in corpora):
        raise UserError(
            f"{corpora[0]} and {corpora[1]} are given as two corpora, but one plain file is not a corpus. For two "
            f"parallel files, give both at once: --train {corpora[0]} {corpora[1]}."
        )
    if weights is None:
        return corpora
    numbers = _weights(weights, len(corpora))
    return tuple(replace(each, weight=number) for each, number in zip(corpora, numbers, strict=True))


def _weights(weights: str | Sequence[float], count: int) -> list[float]:
    """Return checked weights, one for each corpus."""
    listed = weights.split(",") if isinstance(weights, str) else weights
    try:
        numbers = [float(weight) for weight in listed]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(0 < number <= _MAX_WEIGHT for number in numbers):
        raise UserError(
            f"weights {weights}: give a number above 0, at most {_MAX_WEIGHT:,}, for each corpus, for example 2,1. "
            "A weight is how often an epoch contains each pair of the corpus."
        )
    if len(numbers) != count:
        raise UserError(f"{len(numbers)} weights for {count} corpora: give one for each --train, in the same order.")
    return numbers


def located(corpora: Sequence[Corpus], columns: AnyColumns, languages: Sequence[str] | None) -> list[Corpus]:
    """Return corpora with their columns, which a header may name after the languages.

    Raises:
        UserError: As for `columns_for`.
    """
    if languages is None:
        return [replace(each, columns=Columns(*columns)) for each in corpora]
    return [
        replace(each, columns=columns_for(each.paths, columns, each.file_languages or languages)) for each in corpora
    ]


class TrainingText(NamedTuple):
    """The text of a training run.

    Attributes:
        train: Training corpora.
        valid: Validation corpora; None to hold out training pairs.
        languages: Source and target language; of a multilingual model, those of the first direction.
    """

    train: tuple[Corpus, ...]
    valid: tuple[Corpus, ...] | None
    languages: Direction


def training_text(
    train: CorpusFiles,
    valid: CorpusFiles | None,
    languages: tuple[str | None, str | None],
    *,
    weights: str | Sequence[float] | None = None,
    directions: str | Sequence[str | Sequence[str]] | None = None,
    both_ways: bool = False,
) -> TrainingText:
    """Return the text of a training run as a caller describes it.

    Args:
        train: Files of the training corpora, see `as_corpora`.
        valid: Files of the validation corpora, or None.
        languages: Source and target language; None for each if `directions` are given.
        weights: Weight of each training corpus.
        directions: Direction of each training corpus, for a multilingual model.
        both_ways: Whether to train each corpus in both directions.

    Raises:
        UserError: If a language is missing, or there are more or fewer weights, directions or validation corpora than
            the training corpora need.
    """
    corpora = as_corpora(train, weights)
    valid_corpora = as_corpora(valid, split="validation") if valid else ()
    source, target = (each if each and each.strip() else None for each in languages)
    if directions is not None and (source or target):
        raise UserError("--from and --to are for one direction, --directions for several. Give one or the other.")
    if directions is None and not (source and target):
        raise UserError(
            "the languages are missing. Give --from and --to, for example --from de --to en, or --directions."
        )
    if directions is None and not both_ways:
        languages = source or "", target or ""
        corpora, valid_corpora = (
            tuple(replace(each, columns=each.columns._replace(languages=languages)) for each in group)
            for group in (corpora, valid_corpora)
        )
        return TrainingText(corpora, valid_corpora or None, languages)
    parsed = parse_directions([(source or "", target or "")] if directions is None else directions)
    corpora, valid_corpora = in_directions(corpora, valid_corpora, parsed, both_ways)
    return TrainingText(corpora, valid_corpora or None, parsed[0])


def in_directions(
    train: Sequence[Corpus], valid: Sequence[Corpus], directions: Sequence[Direction], both_ways: bool = False
) -> tuple[tuple[Corpus, ...], tuple[Corpus, ...]]:
    """Give corpora their directions, for a multilingual model.

    Args:
        train: Training corpora.
        valid: Validation corpora: as many as training corpora, or one for each different direction.
        directions: Direction of each training corpus, or one for all.
        both_ways: Whether to use each corpus in both directions.

    Returns:
        Training and validation corpora; with `both_ways`, each is followed by a copy in the opposite direction.

    Raises:
        UserError: If the numbers do not match.
    """
    if len(directions) == 1:
        directions = list(directions) * len(train)
    if len(directions) != len(train):
        raise UserError(
            f"{len(directions)} directions for {len(train)} corpora: give one for each --train, in the same order."
        )
    different = list(dict.fromkeys(directions))
    of_valid = directions if len(valid) == len(train) else different
    if valid and len(valid) != len(of_valid):
        raise UserError(
            f"{len(valid)} validation corpora for {len(different)} directions: give one --valid for each direction, in "
            "the order of the directions."
        )
    return _directed(train, directions, both_ways), _directed(valid, of_valid, both_ways)


def _directed(corpora: Sequence[Corpus], directions: Sequence[Direction], both_ways: bool) -> tuple[Corpus, ...]:
    directed = []
    for corpus, direction in zip(corpora, directions, strict=False):
        directed.append(replace(corpus, direction=direction, columns=corpus.columns._replace(languages=direction)))
        if both_ways:
            directed.append(replace(directed[-1], direction=(direction[1], direction[0]), is_reversed=True))
    return tuple(directed)


def directions_of(corpora: Iterable[Corpus]) -> tuple[Direction, ...]:
    """Return the directions of a multilingual model, each once, in their order; empty for one direction."""
    return tuple(dict.fromkeys(corpus.direction for corpus in corpora if corpus.direction))


def common_tag(corpus: Corpus) -> str | None:
    """Return the tag with which every source of a corpus begins, such as `<bt>` after back-translation, or None."""
    tag = None
    for pair in corpus.pairs():
        found = _TAG.match(pair.source)
        if not found or tag not in (None, found[0]):
            return None
        tag = found[0]
    return tag


def is_weighted(corpora: Sequence[Corpus]) -> bool:
    """Return whether an epoch contains some pairs more or less often than once."""
    return any(each.weight != 1 for each in corpora)


def count_all_pairs(corpora: Sequence[Corpus], say: Callable[[str], None] | None = None) -> int:
    """Count the pairs of all corpora; raises `UserError` as `count_pairs` does."""
    return sum(count_pairs(each.paths, each.columns, say) for each in corpora)


def with_copies(corpora: Sequence[Corpus], folder: Path, say: Callable[[str], None]) -> tuple[list[Corpus], list[int]]:
    """Count the pairs of corpora, and copy those of files that take long to read, since they are read several times.

    Args:
        corpora: The corpora, with their columns.
        folder: Folder of the temporary copies.
        say: Receives a line of progress every 10 seconds.

    Returns:
        The corpora with their copies, and the number of pairs of each.

    Raises:
        UserError: As for `copied`.
    """
    known: dict[tuple[tuple[Path, ...], Columns], tuple[PairCopy | None, int]] = {}
    for each in corpora:
        key = each.paths, each.columns
        if key not in known:  # a corpus in both directions is copied once
            counted = RateLines(say, "counting the pairs", 0, "pairs").counted
            known[key] = copied(*key, folder, counted)
    found = [known[each.paths, each.columns] for each in corpora]
    return (
        [replace(each, copy=copy) for each, (copy, _) in zip(corpora, found, strict=True)],
        [count for _, count in found],
    )


def total(reports: Sequence[CorpusReport]) -> CorpusReport:
    """Return the statistics of several corpora in sum; those of one corpus as they are."""
    if len(reports) == 1:
        return reports[0]
    whole = CorpusReport([file for report in reports for file in report.files])
    for each in fields(CorpusReport):
        values = [getattr(report, each.name) for report in reports]
        if all(isinstance(value, int) for value in values):
            setattr(whole, each.name, max(values) if each.name == "longest_source" else sum(values))
    for report in reports:
        for entries, more in ((whole.dropped, report.dropped), (whole.repaired, report.repaired)):
            for reason, found in more.items():
                entry = entries.setdefault(reason, {"count": 0, "examples": []})
                entry["count"] += found["count"]
                entry["examples"] = [*entry["examples"], *found["examples"]][:EXAMPLES]
    whole.histograms = summed([report.histograms for report in reports])
    return whole
