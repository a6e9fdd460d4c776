"""Loss of power for `benchmarks/faults.py`: the states in which a disk may be found, from a trace of a command's calls.

Only what was synced is certain. A file's content is that of its last sync; a new, renamed or deleted name is certain
after its folder was synced. Of everything later, a seed chooses what had reached the disk.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """A call of a trace, see `trace` in faults.c."""

    what: str
    path: str
    other: str
    number: int
    data: bytes


def read_trace(path: Path, root: Path) -> list[Call]:
    """Read the calls of a trace, with paths relative to a folder, whose own is empty."""
    content, at, calls = path.read_bytes(), 0, []
    start = len(str(root)) + 1
    while at < len(content):
        end = content.index(b"\n", at)
        what, name, other, number, size = content[at:end].decode().split("\t")
        at = end + 1 + int(size)
        calls.append(Call(what, name[start:], other[start:], int(number), content[end + 1 : at]))
    return calls


class _File:
    def __init__(self) -> None:
        self.content, self.synced = bytearray(), b""


class _Folder:
    """A folder with the names that programs see, and those that are certain to be on the disk."""

    def __init__(self) -> None:
        self.names: dict[str, _File | _Folder] = {}
        self.synced: dict[str, _File | _Folder] = {}


class Disk:
    """A folder's content after some calls; it is empty before.

    Args:
        calls: The calls, in their order.
    """

    def __init__(self, calls: list[Call]):
        self._folder = _Folder()
        for call in calls:
            self._apply(call)

    def files(self, chance: random.Random | None = None) -> Iterator[tuple[str, bytes | None]]:
        """Yield paths relative to the root with contents, None for folders: as programs see them, or after a crash.

        Args:
            chance: Chooses what had reached the disk; None for no crash.
        """
        strict = chance is not None and chance.random() < 0.5  # else, names are on the disk in their order, as on ext4
        yield from _walk(self._folder, "", chance, strict)

    def _apply(self, call: Call) -> None:
        if not call.path:
            if call.what == "sync":
                self._folder.synced = dict(self._folder.names)
            return
        folder, name = self._find(call.path)
        if folder is None:  # of a deleted file
            return
        entry = folder.names.get(name)
        if call.what in ("create", "empty") and not isinstance(entry, _Folder):
            entry = folder.names.setdefault(name, _File())
            if call.what == "empty" and isinstance(entry, _File):
                entry.content.clear()
        elif call.what == "mkdir":
            folder.names[name] = _Folder()
        elif call.what == "unlink":
            folder.names.pop(name, None)
        elif call.what == "rename":
            to, new = self._find(call.other)
            if to is not None and entry is not None:
                to.names[new] = folder.names.pop(name)
        elif isinstance(entry, _File):
            self._change(entry, call)
        elif call.what == "sync" and isinstance(entry, _Folder):
            entry.synced = dict(entry.names)

    @staticmethod
    def _change(file: _File, call: Call) -> None:
        if call.what == "write":
            file.content.extend(bytes(max(0, call.number - len(file.content))))
            file.content[call.number : call.number + len(call.data)] = call.data
        elif call.what == "cut":
            del file.content[call.number :]
            file.content.extend(bytes(call.number - len(file.content)))
        elif call.what == "sync":
            file.synced = bytes(file.content)

    def _find(self, path: str) -> tuple[_Folder | None, str]:
        *parents, name = path.split("/")
        folder = self._folder
        for parent in parents:
            entry = folder.names.get(parent)
            if not isinstance(entry, _Folder):
                return None, name
            folder = entry
        return folder, name


def _walk(
    folder: _Folder, prefix: str, chance: random.Random | None, strict: bool
) -> Iterator[tuple[str, bytes | None]]:
    names = dict(folder.names)
    if chance is not None and strict:
        for name in {**folder.synced, **folder.names}:
            if folder.synced.get(name) is not folder.names.get(name) and chance.random() < 0.5:
                _restore(names, name, folder.synced.get(name))
    for name, entry in names.items():
        if isinstance(entry, _Folder):
            yield prefix + name, None
            yield from _walk(entry, f"{prefix}{name}/", chance, strict)
        else:
            yield prefix + name, _content(entry, chance)


def _restore(names: dict[str, _File | _Folder], name: str, entry: _File | _Folder | None) -> None:
    if entry is None:
        names.pop(name, None)
    else:
        names[name] = entry


def _content(file: _File, chance: random.Random | None) -> bytes:
    """Return the content, of which what was not synced may be missing, cut or zeros."""
    written = bytes(file.content)
    if chance is None or written == file.synced:
        return written
    start = file.synced if written.startswith(file.synced) else b""
    cut = chance.randrange(len(start), len(written) + 1) if len(written) > len(start) else len(start)
    return chance.choice((file.synced, written, written[:cut], start + bytes(len(written) - len(start))))
