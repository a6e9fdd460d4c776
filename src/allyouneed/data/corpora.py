"""Several corpora of one training run, and their statistics in sum."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeAlias

from allyouneed.data.corpus import EXAMPLES, CorpusReport, count_pairs
from allyouneed.data.formats import read_lines
from allyouneed.errors import UserError
from allyouneed.files import TextFiles

CorpusFiles: TypeAlias = TextFiles | Sequence[Sequence[str | os.PathLike[str]]]


@dataclass(frozen=True)
class Corpus:
    """Parallel text that is read as a unit.

    Attributes:
        paths: One TSV file, or two plain files of source and target.
    """

    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return " and ".join(map(str, self.paths))

    @property
    def names(self) -> str:
        """Names of the files, without their folders."""
        return ", ".join(path.name for path in self.paths)


def corpus(*paths: str | os.PathLike[str]) -> Corpus:
    """Make a corpus of one TSV file or of two plain files."""
    return Corpus(tuple(map(Path, paths)))


def as_corpora(files: CorpusFiles) -> tuple[Corpus, ...]:
    """Return the corpora that a caller gives.

    Args:
        files: One TSV file or two plain files, which are one corpus; or a list of such lists, one for each corpus.

    Raises:
        UserError: If the sides of a corpus seem to be given as two corpora.
    """
    if isinstance(files, str | os.PathLike):
        return (corpus(files),)
    groups = [[each] if isinstance(each, str | os.PathLike) else list(each) for each in files]
    if not any(isinstance(each, list | tuple) for each in files):
        groups = [[path for group in groups for path in group]]
    corpora = tuple(corpus(*group) for group in groups)
    if len(corpora) == 2 and all(len(each.paths) == 1 and not _has_columns(each.paths[0]) for each in corpora):
        raise UserError(
            f"{corpora[0]} and {corpora[1]} are given as two corpora, but one plain file is not a corpus. For two "
            f"parallel files, give both at once: --train {corpora[0]} {corpora[1]}."
        )
    return corpora


def _has_columns(path: Path) -> bool:
    return b"\t" in next(read_lines(path), b"\t")


def count_all_pairs(corpora: Sequence[Corpus]) -> int:
    """Count the pairs of all corpora; raises `UserError` as `count_pairs` does."""
    return sum(count_pairs(each.paths) for each in corpora)


def total(reports: Sequence[CorpusReport]) -> CorpusReport:
    """Return the statistics of several corpora in sum; those of one corpus as they are."""
    if len(reports) == 1:
        return reports[0]
    whole = CorpusReport([file for report in reports for file in report.files])
    for field in fields(CorpusReport):
        values = [getattr(report, field.name) for report in reports]
        if all(isinstance(value, int) for value in values):
            setattr(whole, field.name, max(values) if field.name == "longest_source" else sum(values))
    for report in reports:
        for reason, found in report.dropped.items():
            entry = whole.dropped.setdefault(reason, {"count": 0, "examples": []})
            entry["count"] += found["count"]
            entry["examples"] = [*entry["examples"], *found["examples"]][:EXAMPLES]
    return whole
