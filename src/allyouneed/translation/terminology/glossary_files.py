"""Files of glossaries: tab-separated values (TSV), CSV, and TermBase eXchange (TBX)."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import chain, islice
from pathlib import Path

from allyouneed.data.files.lines import read_text
from allyouneed.errors import UserError
from allyouneed.languages import canonical_code, same_language
from allyouneed.translation.terminology.glossary import Entry, Glossary

_TBX = (".tbx", ".xml")
_HEADER = ("source", "target")
_LONGEST_TERM = 1000  # characters
_SAMPLE = 50  # lines from which the separator is recognised
Row = tuple[int, list[str]]  # line number and cells


def read_glossary(path: Path, source: str, target: str) -> Glossary:
    """Read a glossary.

    A table has the term and its translation in each row. Its first row may be a header: `source` and `target`, or codes
    of languages, which select the columns. CSV may separate cells by semicolons, and have the codes of the languages
    in the third and fourth column, as DeepL's does; rows of other languages are not used. Further columns of a TSV file
    are ignored.

    Args:
        path: The file, possibly compressed; TBX if its name ends in .tbx or .xml.
        source: Code of the source language.
        target: Code of the target language.

    Raises:
        UserError: If the file cannot be read or has no usable entry, or a row has no translation.
    """
    if path.suffix.lower() in _TBX:
        try:
            tbx = import_module("allyouneed.translation.terminology.tbx")
        except ModuleNotFoundError as error:
            raise UserError(
                f"{path}: TBX needs {error.name}, which is missing. Install it: pip install 'allyouneed[documents]'."
            ) from error
        entries: list[Entry] = tbx.read_tbx(path, source, target)
    else:
        entries = list(_table_entries(path, source, target))
    if not entries:
        raise UserError(f"{path}: no terms with a translation from {source} to {target}. Check --from, --to and FILE.")
    return Glossary(tuple(entries), source, target)


def term_problem(text: str) -> str | None:
    """Return what is wrong with a term, such as "is empty", or None."""
    if not text.strip():
        return "is empty"
    if any(unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") for character in text):
        return "has a control character"
    if len(text) > _LONGEST_TERM:
        return f"has more than {_LONGEST_TERM:,} characters"
    return None


def _table_entries(path: Path, source: str, target: str) -> Iterator[Entry]:
    lines = read_text(path)
    sample = list(islice(lines, _SAMPLE))
    separator = _separator(sample)
    rows = _rows(chain(sample, lines), separator, path)
    first = next(rows, None)
    if first is None:
        return
    columns = _columns(first[1], source, target, path)
    for number, cells in rows if columns else chain([first], rows):
        found = _entry(cells, columns or (0, 1), separator, (source, target))
        if isinstance(found, Entry):
            yield found
        elif found:
            raise UserError(
                f"{path}, line {number}: {found} Each line must have a term and its translation, separated by a tab; "
                "in CSV put terms with commas into quotation marks."
            )


def _entry(cells: Sequence[str], columns: tuple[int, int], separator: str, languages: tuple[str, str]) -> Entry | str:
    """Return the entry of a row; what is wrong with it; or "" if it is for other languages."""
    if max(columns) >= len(cells):
        return "one column." if len(cells) == 1 else f"{len(cells)} columns."
    if columns == (0, 1) and len(cells) == 4 and separator != "\t":  # as DeepL exports: source, target, languages
        if all(canonical_code(cell.strip()) for cell in cells[2:]):
            if not all(map(_is_language, cells[2:], languages)):
                return ""
        else:
            return "4 columns."
    elif columns == (0, 1) and separator != "\t" and any(cells[2:]):  # a comma in a term without quotation marks?
        return f"{len(cells)} columns."
    for name, column in zip(("the term", "the translation"), columns, strict=True):
        if problem := term_problem(cells[column]):
            return f"{name} {problem}."
    return Entry(*(unicodedata.normalize("NFC", cells[column].strip()) for column in columns))


def _rows(lines: Iterator[str], separator: str, path: Path) -> Iterator[Row]:
    """Yield rows that are not blank."""
    rows: Iterator[Row]
    if separator == "\t":
        rows = enumerate((line.split("\t") for line in lines), start=1)
    else:
        rows = _csv_rows(lines, separator, path)
    return ((number, row) for number, row in rows if any(cell.strip() for cell in row))


def _csv_rows(lines: Iterator[str], separator: str, path: Path) -> Iterator[Row]:
    reader, number = csv.reader((line + "\n" for line in lines), delimiter=separator), 0
    try:
        for row in reader:
            number = reader.line_num
            yield number, row
    except csv.Error as error:  # a missing quotation mark makes a cell as long as the file
        raise UserError(f"{path}, line {number + 1}: not CSV ({error}). Is a quotation mark missing?") from error


def _separator(sample: Sequence[str]) -> str:
    """Return the separator that is in most lines: a tab, a semicolon or a comma."""
    lines = [line for line in sample if line.strip()]
    return max("\t;,", key=lambda separator: sum(separator in line for line in lines))


def _columns(header: Sequence[str], source: str, target: str, path: Path) -> tuple[int, int] | None:
    """Return the indices of the columns that a header names, or None if the first row is not a header.

    Two codes of other languages are an entry: "it" and "so" are words.

    Raises:
        UserError: If the first row names languages, but only one of the two.
    """
    names = [cell.strip().lower() for cell in header]
    if tuple(names[:2]) == _HEADER:
        return 0, 1
    if len(names) < 2 or not all(name and canonical_code(name) for name in names):
        return None
    found = [next((i for i, name in enumerate(names) if _is_language(name, code)), None) for code in (source, target)]
    if found[0] is not None and found[1] is not None:
        return found[0], found[1]
    if len(names) == 2 and found == [None, None]:
        return None
    lacking = source if found[0] is None else target
    raise UserError(
        f"{path}: the columns are {', '.join(names)}; none is {lacking}. Check --from and --to, or the file."
    )


def _is_language(name: str, code: str) -> bool:
    """Return whether a name is a code of a language, also without a region."""
    found = canonical_code(name)
    return found is not None and (same_language(found, code) or found.split("-")[0] == code.split("-")[0])
