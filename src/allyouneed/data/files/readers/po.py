"""Gettext catalogues (PO): the messages and their finished translations, or two catalogues of the same messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from babel.messages.catalog import Catalog
from babel.messages.pofile import PoFileError, PoFileParser

from allyouneed.data.files.grouping import language_in, without_language
from allyouneed.data.files.lines import SPACES
from allyouneed.data.files.opening import open_content
from allyouneed.data.files.readers.units import Unit, UnitFile
from allyouneed.data.files.selection import Columns, closeness, other_language
from allyouneed.errors import UserError

_LARGEST = 1 << 28  # bytes
_LONGEST_REASON = 200  # characters
_UNCLOSED = re.compile(  # Babel would remove the last character instead
    rb'^[ \t]*(?:msg(?:id|id_plural|str|ctxt)(?:\[\d+\])?[ \t]+)?"(?:[^"\\\n]|\\.)*$', re.MULTILINE
)
_LINE_END = re.compile(rb"\r\n|\r(?=[ \t]*(?:[\"#\r\n]|msg|\Z))")
_ENOUGH = 0.5  # share of translated messages of a catalogue that is not just the messages themselves


class _Text(NamedTuple):
    """A text of a message: what identifies it in all catalogues, itself, and its finished translation or ""."""

    key: tuple[str, str, bool]
    line: int
    text: str
    translation: str


def open_pairs(path: Path, columns: Columns) -> UnitFile:
    """Open a catalogue, whose messages are the texts of one language and whose translations are those of another."""
    return UnitFile(path, columns, partial(_units, path, columns.codes))


def open_catalogues(paths: Sequence[Path], columns: Columns) -> list[UnitFile]:
    """Open several catalogues.

    Catalogues of the source and of the target language that differ in their language only are read together: their
    translations of the same message are a pair. A catalogue of one of both languages is read with its messages.

    Args:
        paths: The catalogues.
        columns: Languages of source and target.

    Raises:
        UserError: If a catalogue cannot be read, or none is in one of the languages.
    """
    if columns.codes is None:
        return [open_pairs(path, columns) for path in paths]
    sides: tuple[dict[str, Path], dict[str, Path]] = ({}, {})
    languages = {path: language_of(path) for path in paths}
    for side, wanted in zip(sides, columns.codes, strict=True):
        fits = {path: closeness(wanted, language) for path, language in languages.items() if language}
        for path, _ in sorted(((p, fit) for p, fit in fits.items() if fit is not None), key=lambda each: each[1]):
            side.setdefault("" if len(paths) == 2 else without_language(path, languages[path]), path)
    opened = []
    for name in dict.fromkeys((*sides[0], *sides[1])):
        source, target = (side.get(name) for side in sides)
        if source and target and source != target and all(map(_is_translated, (source, target))):
            opened.append(UnitFile(target, columns, partial(_joined, source, target, columns.codes)))
        else:
            opened += [open_pairs(each, columns) for each in (source, target) if each and _is_translated(each)]
    unknown = [path for path, language in languages.items() if not language]
    return [*opened, *(open_pairs(path, columns) for path in unknown)]


def language_of(path: Path) -> str:
    """Return the language of a catalogue by its header, else by its path; "" if neither names it."""
    header = _read(path).locale_identifier
    if header:
        return str(header)
    names = (path.name.removesuffix(".po").rpartition(".")[2], *path.parts[-2::-1][:3])
    return next((code for name in names if (code := language_in(name))), "")


def _is_translated(path: Path) -> bool:
    texts = list(_texts(path))
    return sum(bool(each.translation) for each in texts) > _ENOUGH * len(texts)


def _units(path: Path, languages: tuple[str, str] | None, wants: Callable[[str], bool]) -> Iterator[Unit]:
    language = language_of(path)
    language = language or (languages[1] if languages else "und")
    original = other_language(languages, language)
    for each in _texts(path):
        if each.translation:
            yield Unit(each.line, {original: each.text, language: each.translation})


def _joined(source: Path, target: Path, languages: tuple[str, str], wants: Callable[[str], bool]) -> Iterator[Unit]:
    sources = {each.key: each.translation for each in _texts(source)}
    for each in _texts(target):
        if each.translation and (text := sources.get(each.key)):
            yield Unit(each.line, {languages[0]: text, languages[1]: each.translation})


def _texts(path: Path) -> Iterator[_Text]:
    """Yield the texts of all messages; the plural forms of one are those of one and of many."""
    for message in _read(path):
        if not message.id or not isinstance(message.id, str | tuple | list):
            continue
        forms = message.string if isinstance(message.string, tuple | list) else (message.string,)
        ids = (message.id,) if isinstance(message.id, str) else tuple(message.id)
        chosen = ((0, 0),) if len(ids) == 1 else ((0, 0), (1, -1)) if len(forms) > 1 else ((1, 0),)
        for index, form in chosen:
            yield _Text(
                (message.context or "", ids[0], bool(index)),
                message.lineno or 0,
                ids[index],
                "" if message.fuzzy else str(forms[form] or ""),
            )


def _read(path: Path) -> Catalog:
    with open_content(path) as stream:
        data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise UserError(f"{path}: a catalogue of more than {_LARGEST >> 20} MiB. Divide it.")
    data = _LINE_END.sub(b"\n", data).translate(SPACES, b"\0")
    if broken := _UNCLOSED.search(data):
        line = data.count(b"\n", 0, broken.start()) + 1
        raise UserError(f"{path}:{line}: not a line of a catalogue (quotation mark not closed). Correct it.")
    catalogue = Catalog()
    try:
        _Parser(catalogue, ignore_obsolete=True).parse(BytesIO(data))
    except PoFileError as error:
        reason = _brief(str(error).removesuffix(f" on {error.lineno}"))
        raise UserError(f"{path}:{error.lineno + 1}: not a line of a catalogue ({reason}). Correct it.") from error
    except (ValueError, LookupError, AttributeError) as error:
        raise UserError(f"{path}: a damaged catalogue ({_brief(str(error))}). Check it with msgfmt -c.") from error
    return catalogue


def _brief(reason: str) -> str:
    """Return a reason on one line of limited length."""
    return " ".join(reason.split())[:_LONGEST_REASON]


class _Parser(PoFileParser):
    """Babel's parser, which reports invalid lines but ignores plural forms that the header does not announce."""

    def _invalid_pofile(self, line: str, lineno: int, msg: str) -> None:
        if "more translations" not in msg:
            raise PoFileError(msg, self.catalog, line, lineno)
