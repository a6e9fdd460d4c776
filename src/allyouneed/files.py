"""Folders and files that are written whole or not at all, and checked when they are read.

A folder is written beside its place, synced, and then moved there in one rename: a process killed at any moment leaves
the old one or the new one, never half of either. Its `manifest.json` holds the SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from allyouneed.errors import UserError

MANIFEST = "manifest.json"
_BESIDE = ".unfinished"
_REPLACED = ".replaced"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes. Errors: `UserError` when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from error


def write_file(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all. Errors: `UserError` when the disk is full or cannot be written."""
    beside = path.with_name(path.name + _BESIDE)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(beside, content)
        os.replace(beside, path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise cannot_write(path, error) from error


def refuse_unwritable(output: Path, *inputs: Path) -> None:
    """Before the work. Errors: `UserError` where `output` cannot be a file, or is an input, which it would destroy."""
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UserError(f"cannot write {output}: no such folder, or a folder itself. Give the path of a file.")
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise UserError(f"{output}: input and output are the same file. Give another output.")


def write_folder(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Writes a folder of files and their manifest, replacing the one that is there, whole or not at all.

    Errors: `UserError` when the disk is full or cannot be written; the folder that was there is then untouched.
    """
    with _whole_or_not_at_all(folder) as beside:
        for name, content in contents.items():
            _write_synced(beside / name, content)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """For those who write files themselves: an empty folder, which becomes `folder` with a manifest at the end.

    Errors: `UserError` when there are files already, the disk is full or cannot be written.
    """
    has_no_name = folder.name in ("", "..")  # where one is: it cannot be moved
    if has_no_name or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise UserError(f"{folder} is there already: give a new or an empty folder, or delete it first.")
    with _whole_or_not_at_all(folder) as beside:
        yield beside


@contextmanager
def _whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    beside, replaced = _neighbours(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(folder)
        beside.mkdir()
        yield beside
        written = sorted(path.relative_to(beside).as_posix() for path in beside.rglob("*") if path.is_file())
        sums = {name: sha256(beside / name) for name in written if not name.endswith(".md")}  # prose may be edited
        _write_synced(beside / MANIFEST, json.dumps({"sha256": sums}, indent=1))
        if folder.exists():
            folder.rename(replaced)
        beside.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        recover_folder(folder)


def recover_folder(folder: Path) -> None:
    """Clears what a killed `write_folder` left, and brings the replaced folder back if the new one never came."""
    beside, replaced = _neighbours(folder)
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)
    for leftover in (beside, replaced):
        shutil.rmtree(leftover, ignore_errors=True)


def recover_all(parent: Path) -> None:
    """`recover_folder` for every folder below `parent` that needs it."""
    for suffix in (_BESIDE, _REPLACED):
        for place in parent.glob(f"*{suffix}"):
            recover_folder(place.with_suffix(""))


def check_folder(folder: Path, needed: Collection[str], remedy: str) -> None:
    """Compares every file of a folder with its manifest, which must list those `needed`.

    Errors: `UserError` naming the file that is missing, truncated or changed, followed by the remedy.
    """
    try:
        sums = dict(json.loads((folder / MANIFEST).read_text())["sha256"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder / MANIFEST}: missing or not readable. {remedy}") from error
    for name in {**dict.fromkeys(needed), **sums}:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing. {remedy}")
        if sha256(folder / name) != sums.get(name):
            raise UserError(f"{folder / name}: truncated or changed since it was written. {remedy}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, on the CPU. Errors: `UserError` when it is not one."""
    try:
        return tensors_from_bytes(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}.") from error
    except SafetensorError as error:
        raise UserError(f"{path}: not a safetensors file ({error}).") from error


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """The safetensors form of named tensors."""
    return tensors_to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def read_json(path: Path, remedy: str, check: Callable[[dict[str, Any]], object] = lambda _: None) -> dict[str, Any]:
    """A JSON object. Errors: `UserError` with the remedy when it is missing, broken or refused by `check`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
        check(content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: missing or not readable. {remedy}") from error
    return content


def to_json(content: object) -> str:
    """As files hold it: indented, in UTF-8's letters, with an end of line."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def cannot_write(path: Path, error: OSError) -> UserError:
    """What to raise for the system's own error."""
    reason = (error.strerror or str(error)).lower()
    return UserError(
        f"cannot write {path}: {reason}. What was saved before is intact: free space or choose another place, then run "
        "the same command again."
    )


def _neighbours(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(folder.name + _BESIDE), folder.with_name(folder.name + _REPLACED)


def _write_synced(path: Path, content: str | bytes) -> None:
    """A name of a file that is not UTF-8 becomes `\\udcff` and the like, which JSON reads back as what it was."""
    with open(path, "wb") as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
