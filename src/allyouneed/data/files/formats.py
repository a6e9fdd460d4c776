"""Sentence pairs of files of any kind: plain text, tables, translation memories, catalogues, and several of them.

`open_parts` divides the files of a corpus into parts that are read by themselves: two parallel files, or one file with
both sides. Each kind of file has a reader: `sides.py`, `text_tables.py`, or a module of `readers` that is imported when
`kinds.py` recognises such a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from allyouneed.data.files.grouping import contents, expanded, parallel_files
from allyouneed.data.files.kinds import Kind
from allyouneed.data.files.lines import kind_of, read_lines
from allyouneed.data.files.opening import is_zip
from allyouneed.data.files.selection import AnyColumns, Columns
from allyouneed.data.files.sides import Sides, is_one_side
from allyouneed.data.files.sides import have_columns as have_columns
from allyouneed.data.files.tables import Counted, Table
from allyouneed.data.files.tables import RawPair as RawPair
from allyouneed.data.files.text_tables import TextTable, is_table
from allyouneed.errors import UserError

_READERS = "allyouneed.data.files.readers"
_CATALOGUE, _ALIGNMENT = "po", "xces"
_MOST_NOTES = 10
_MOST_NAMED = 3  # files in a note


class Part(Protocol):
    """A part of a corpus, opened for one pass over its pairs.

    Attributes:
        name: Name of its file, or of the first of two.
        is_text: Whether it is plain text, which is read fast, unlike XML.
    """

    is_text: bool

    @property
    def name(self) -> str: ...

    def notes(self) -> list[str]:
        """Describe how it is read, where users may not expect it."""

    def pairs(self) -> Iterator[RawPair]:
        """Yield its sentence pairs, in one pass."""

    def count(self, counted: Counted = iter) -> int:
        """Count its sentence pairs, in one pass; what is not plain text passes through `counted`, for progress."""


def read_pairs(paths: Sequence[Path], columns: AnyColumns = (1, 2)) -> Iterator[RawPair]:
    """Yield the sentence pairs of a corpus.

    Args:
        paths: Its files: two parallel files, or files with both sides.
        columns: Columns or languages of source and target where a file has more than one side.

    Raises:
        UserError: If a file cannot be read, is damaged or of an unknown kind, does not have the columns or languages,
            or if files are not parallel (`count_pairs` checks this in advance).
    """
    parts = open_parts(paths, columns)
    return parts[0].pairs() if len(parts) == 1 else _all_pairs(parts)


def reading_notes(paths: Sequence[Path], columns: AnyColumns = (1, 2)) -> list[str]:
    """Describe how files are read where users may not expect it: a header, the choice of columns, quotation marks.

    Raises:
        UserError: As for `read_pairs`.
    """
    parts, unused = _divide(paths, Columns(*columns))
    notes = [note for part in parts for note in part.notes()]
    if len(parts) > 1:
        notes = notes[:_MOST_NOTES]
        notes.append(f"{paths[0]}{' and others' * (len(paths) > 1)}: {len(parts):,} texts are read one after the other")
    if unused:
        names = ", ".join(path.name for path in unused[:_MOST_NAMED])
        notes.append(f"{paths[0]}: {len(unused):,} files are not used, such as {names}")
    return notes


def columns_for(paths: Sequence[Path], columns: AnyColumns, languages: Sequence[str]) -> Columns:
    """Return the columns of two languages: those that a file names after them, otherwise the given ones.

    Args:
        paths: The files of a corpus.
        columns: Columns of source and target, by number from 1 or by name. If they are not the default (1, 2), they are
            returned.
        languages: Codes of source and target, by which files with several languages are read.

    Raises:
        UserError: As for `read_pairs`, or if the headers of two files name the languages in reverse.
    """
    source, target = languages
    wanted = Columns(*columns[:2], (source, target))
    parts = open_parts(paths, wanted)
    for part in parts:
        if isinstance(part, Sides):
            part.check()
    if len(parts) == 1 and isinstance(table := parts[0], Table):
        first, second = table.select()
        return Columns(first + 1, second + 1, wanted.languages)
    return wanted


def exchange_advice(paths: Sequence[Path], columns: Columns, option: str) -> str:
    """Return what to do if source and target of a corpus are exchanged, as a sentence.

    Args:
        paths: The files of the corpus.
        columns: Columns of source and target.
        option: The option with which the corpus is given.
    """
    part, *others = open_parts(paths, columns)
    if not others and isinstance(part, Sides):
        return f"The files seem to be swapped: {option} {part.target} {part.source}."
    if not others and isinstance(part, Table):
        source, target = part.select()
        return f"The columns seem to be swapped: --set data.columns={target + 1},{source + 1}."
    return "Source and target seem to be swapped: exchange --from and --to, or correct the languages in the files."


def has_both_sides(path: Path) -> bool:
    """Return whether a file has both sides of a corpus; an empty file may have.

    Raises:
        UserError: As for `read_lines`.
    """
    kind = kind_of(path)
    return (kind is not None and kind.reader is not None) or is_table(path)


def open_parts(paths: Sequence[Path], columns: AnyColumns = (1, 2)) -> list[Part]:
    """Open the parts of a corpus.

    Raises:
        UserError: As for `read_pairs`.
    """
    return _divide(paths, Columns(*columns))[0]


def _divide(paths: Sequence[Path], wanted: Columns) -> tuple[list[Part], list[Path]]:
    """Open the parts of a corpus, and return the files of folders and archives that are not used."""
    if not paths:
        raise UserError("give two parallel text files, or files with both sides, such as one TSV file.")
    if not any(path.is_dir() or is_zip(path) for path in paths):
        if len(paths) == 1:
            return [_open_file(paths[0], wanted)], []
        if len(paths) == 2 and not all(_has_pairs(path, kind_of(path)) for path in paths):
            return [Sides(paths[0], paths[1], wanted)], []
    elif len(paths) == 1 and (kind := kind_of(paths[0]) if paths[0].is_file() else None) and kind.reader:
        return [_open_file(paths[0], wanted)], []
    files = list(dict.fromkeys(_files_of(paths)))
    kinds = {path: kind_of(path) for path in files}
    whole = [path for path in files if _has_pairs(path, kinds[path])]
    catalogues = [path for path in whole if (kind := kinds[path]) and kind.reader == _CATALOGUE]
    plain = [path for path in files if path not in whole and kinds[path] is None and _is_text(path)]
    sides, left = parallel_files(plain, wanted.codes)
    texts = {source.with_suffix("") for source, _ in sides}  # in OPUS's archives, with an alignment of absent documents
    whole = [path for path in whole if path.with_suffix("") not in texts]
    parts: list[Part] = [Sides(source, target, wanted) for source, target in sides]
    parts += [_open_file(path, wanted) for path in whole if path not in catalogues]
    if catalogues:
        parts += import_module(f"{_READERS}.{_CATALOGUE}").open_catalogues(catalogues, wanted)
    unused = [path for path in files if path in left or (path not in whole and path not in plain)]
    if given := [path for path in unused if path in paths]:
        raise UserError(
            f"{given[0]}: one side of a corpus, or no text, among {len(files)} files. Give parallel files as SOURCE "
            "TARGET, named alike, such as train.de and train.en."
        )
    if not parts:
        languages = " and ".join(wanted.codes or ("two languages",))
        raise UserError(
            f"{paths[0]}: no parallel text in {languages} among {len(files)} files, such as {files[0].name}. Name "
            "parallel files alike, such as train.de and train.en, or give two files, SOURCE TARGET."
        )
    return parts, unused


def _files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of a corpus, without the documents to which alignments refer."""
    files = [file for path in paths for file in contents(path)]
    alignments = [path for path in files if not is_zip(path) and (kind := kind_of(path)) and kind.reader == _ALIGNMENT]
    if not alignments:
        yield from expanded(files)
        return
    yield from alignments
    yield from (path for path in files if not is_zip(path) and path.suffix not in (".xml", ".gz"))


def _has_pairs(path: Path, kind: Kind | None) -> bool:
    """Return whether a regular file has both sides, by its first lines."""
    if path.exists() and not path.is_file():  # a pipe can be read only once
        return False
    return kind.reader is not None if kind else _is_text(path) and not is_one_side(path)


def _is_text(path: Path) -> bool:
    try:
        return next(read_lines(path), None) is not None
    except UserError:
        return False


def _open_file(path: Path, columns: Columns) -> Part:
    kind = kind_of(path)
    if kind is None or kind.reader is None:
        return TextTable(path, columns)
    try:
        opened: Part = import_module(f"{_READERS}.{kind.reader}").open_pairs(path, columns)
    except ModuleNotFoundError as error:
        raise UserError(
            f"{path}: {kind.name} is read with the package {error.name}: pip install 'allyouneed[corpora]'."
        ) from error
    return opened


def _all_pairs(parts: Sequence[Part]) -> Iterator[RawPair]:
    for part in parts:
        for line, source, target, fault, file in part.pairs():
            yield RawPair(line, source, target, fault, file or part.name)
