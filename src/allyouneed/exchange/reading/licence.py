"""The licence that a model's folder states, in the head of a model card or by a licence's text."""

from __future__ import annotations

import re
import zipfile
from contextlib import suppress
from pathlib import Path, PurePosixPath

from allyouneed.errors import UserError
from allyouneed.untrusted import open_regular
from allyouneed.zip_files import ZipLimits, open_zip

_CARD = "README.md"
LICENCE_FILES = (_CARD, *(f"{name}{end}" for name in ("LICENSE", "LICENCE", "COPYING") for end in ("", ".txt", ".md")))
MOST_LICENCE = 1 << 16  # bytes of a file in which a licence is looked for
_HEAD = re.compile(r"\A---[ \t]*\n(.*?)^---", re.MULTILINE | re.DOTALL)  # of a model card
_FIELD = re.compile(r"^licen[sc]e:[ \t]*([^\s#].*)?((?:\n[ \t]*-[ \t].*)*)$", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(r"^license_name:[ \t]*(\S.*)$", re.IGNORECASE | re.MULTILINE)  # where the licence is "other"
_PACKED = (".zip", ".argosmodel", ".tar", ".gz", ".tgz", ".bz2", ".xz")
_LIMITS = ZipLimits(entries=1000, unpacked=1 << 36, entry=1 << 34)


def find_licence(model: Path) -> str | None:
    """Find the licence that a model card states, or else the first line of a licence's text.

    Args:
        model: The model's folder, or a file in it, or an archive.
    """
    if model.is_file() and model.suffix in _PACKED:
        return _packed_licence(model)
    folder = model if model.is_dir() else model.parent
    for name in LICENCE_FILES:
        with suppress(OSError), open_regular(folder / name) as file:
            if licence := licence_in(name, _decoded(file.read(MOST_LICENCE))):
                return licence
    return None


def licence_in(name: str, text: str) -> str | None:
    """Return the licence that a file states, one of `LICENCE_FILES` with this text."""
    head = _HEAD.match(text)
    if head and (found := _field(head[1])):
        return f"{found} ({name})"
    first = next((line for line in map(_plain, text.splitlines()) if line), "") if name != _CARD else ""
    return f"{first} ({name})" if first else None


def _decoded(content: bytes) -> str:
    return content.decode("utf-8-sig", "replace").replace("\r\n", "\n")


def _plain(line: str) -> str:
    """Return a line without the marks of a Markdown heading or of emphasis."""
    return line.strip().lstrip("#").strip(" *_=-")


def _field(head: str) -> str:
    """Return the licence in the head of a model card, whose value may be a list."""
    found, named = _FIELD.search(head), _NAME.search(head)
    if found is None:
        return ""
    listed = [item.strip().removeprefix("-") for item in (found[2] or "").splitlines()]
    values = [value.strip(" \t\"'") for value in [*(found[1] or "").strip(" []").split(","), *listed]]
    return named[1].strip(" \t\"'") if named and values[:1] == ["other"] else ", ".join(filter(None, values))


def _packed_licence(path: Path) -> str | None:
    """Find the licence inside a ZIP file."""
    with suppress(OSError, UserError, zipfile.BadZipFile), open_zip(path, path.name, _LIMITS) as archive:
        entries = {PurePosixPath(entry).name: entry for entry in reversed(archive.namelist())}
        for name in LICENCE_FILES:
            if name in entries:
                with archive.open(entries[name]) as file:
                    content = file.read(MOST_LICENCE)
                if licence := licence_in(name, _decoded(content)):
                    return licence
    return None
