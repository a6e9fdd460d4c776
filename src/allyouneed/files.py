"""Atomic writing and checked reading of files and folders.

A folder is written under a temporary name next to its destination, synced and then renamed: if the process is killed or
the power fails, either the old or the new folder remains, complete. Its `manifest.json` holds the SHA-256 of every
other file; a sealed JSON file holds its own. A file that the system cannot read is not reported as damaged.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from allyouneed.durable import create_folder, rename, sync
from allyouneed.errors import DamagedFile, UserError
from allyouneed.json_text import to_json
from allyouneed.untrusted import (
    cannot_read,
    changed,
    check_memory,
    checked,
    count_elements,
    open_regular,
    read_regular,
    read_typed,
)

MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished"
_REPLACED = ".replaced"
_LONGEST_NAME = 255  # bytes
_SEAL, _SEAL_LENGTH = "checksum", 64  # last key of a sealed object, and the characters of its value

TextFiles: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def _check_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or len(name.encode()) > _LONGEST_NAME or "\0" in name:
        raise ValueError("not the name of a file in the folder")
    return name


class _Manifest(BaseModel):
    """Content of `manifest.json`: the checksum of each other file."""

    sha256: dict[Annotated[str, AfterValidator(_check_name)], str]


def as_paths(files: TextFiles) -> list[Path]:
    """Return the paths of one file or of several."""
    return [Path(files)] if isinstance(files, str | os.PathLike) else [Path(file) for file in files]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal.

    Raises:
        UserError: If the file cannot be read, or is not a regular file.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise cannot_read(path, error, "Get it again.") from error


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file atomically, creating its folder if needed; a device or pipe is written to, not replaced.

    Raises:
        UserError: If the file cannot be written, for example because the disk is full.
    """
    temporary = path.with_name(path.name + _UNFINISHED)
    try:
        if path.exists() and not path.is_file():
            with open(path, "wb") as file:
                file.write(_as_bytes(content))
            return
        create_folder(path.parent)
        _write_synced(temporary, content)
        rename(temporary, path)
    except BaseException as error:  # Ctrl-C too
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


def delete_folder(folder: Path) -> None:
    """Delete a folder; if the program is killed meanwhile, `recover_all` deletes the rest.

    Raises:
        UserError: If it cannot be deleted.
    """
    temporary, _ = _temporary_names(folder)
    try:
        os.rename(folder, temporary)
        shutil.rmtree(temporary)
    except OSError as error:
        raise cannot_write(folder, error) from error


def intended_name(name: str) -> str:
    """Return the name that a file or folder was to get whose write was interrupted; other names are unchanged."""
    return name.removesuffix(_UNFINISHED).removesuffix(_REPLACED)


def check_output(output: Path, *inputs: Path) -> None:
    """Check, before a long task, that its output file can be written and is not one of its inputs.

    Raises:
        UserError: If `output` is a folder, its folder does not exist or is read-only, or it is the same file as an
            input.
    """
    if output.is_dir() or not output.absolute().parent.is_dir():
        raise UserError(f"cannot write {output}: it is a folder, or its folder does not exist. Give a file's path.")
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise UserError(f"{output}: input and output are the same file. Choose another output.")
    if not os.access(output if output.exists() and not output.is_file() else output.absolute().parent, os.W_OK):
        raise UserError(f"cannot write {output}: permission denied. Choose another output.")


def write_folder(folder: Path, contents: Mapping[str, bytes | str], replace: bool = True) -> None:
    """Write a folder of files and their manifest atomically.

    Args:
        folder: Destination.
        contents: File contents by name.
        replace: Whether an existing folder is replaced; otherwise see `new_folder`.

    Raises:
        UserError: If a file cannot be written, for example because the disk is full. An existing folder is kept.
    """
    with new_folder(folder, replace) as temporary:
        for name, content in contents.items():
            _write_synced(temporary / name, content)


def check_new_folder(folder: Path) -> None:
    """Check, before a long task, that the folder for its output does not exist, or is empty.

    Raises:
        UserError: If it exists and is not empty, or is the current folder, which cannot be replaced.
    """
    if _is_current(folder) or _is_used(folder):
        raise _exists(folder)


@contextmanager
def new_folder(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Create a folder atomically from files that the caller writes.

    A folder that exists with the same files is kept as it is: a command that was killed after it had written everything
    can be repeated.

    Args:
        folder: Destination.
        replace: Whether a folder with other files is replaced.

    Yields:
        A temporary folder, which becomes `folder`, with a manifest, when the block ends without an exception.

    Raises:
        UserError: If `folder` contains other files and is not to be replaced, or cannot be written.
    """
    if not replace and (_is_current(folder) or not (folder / MANIFEST).is_file()):
        check_new_folder(folder)
    temporary, replaced = _temporary_names(folder)
    try:
        create_folder(folder.parent)
        recover_folder(folder)
        if temporary.exists():  # it could not be removed: report why
            shutil.rmtree(temporary)
        temporary.mkdir()
        yield temporary
        inside = [temporary, *temporary.rglob("*")]
        names = sorted(path.relative_to(temporary).as_posix() for path in inside if path.is_file())
        sums = {name: sha256(temporary / name) for name in names if not name.endswith(".md")}  # users may edit Markdown
        if not replace and _is_used(folder):
            if _has_files(folder, sums):
                return
            raise _exists(folder)
        _write_synced(temporary / MANIFEST, _sealed({"sha256": sums}))
        for path in inside:
            sync(path)
        if folder.exists():
            folder.rename(replaced)
        rename(temporary, folder)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        with suppress(OSError):
            recover_folder(folder)


def _has_files(folder: Path, sums: Mapping[str, str]) -> bool:
    """Return whether the manifest of a folder has these checksums, and its files match them."""
    try:
        check_files(folder, sums, "")
        return read_manifest(folder, "") == sums
    except DamagedFile:
        return False


def _is_used(folder: Path) -> bool:
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def _is_current(folder: Path) -> bool:
    return folder.name in ("", "..")  # such a folder cannot be replaced by renaming


def _exists(folder: Path) -> UserError:
    return UserError(f"{folder} already exists. Choose a new or empty folder, or delete it first.")


def last_version(folder: Path) -> Path:
    """Return the folder; if the program was killed while it replaced it, the old one under its temporary name."""
    if folder.exists():
        return folder
    _, replaced = _temporary_names(folder)
    return replaced if replaced.exists() else folder


def recover_folder(folder: Path) -> None:
    """Remove temporary folders of an interrupted write, restoring the replaced folder if the new one is missing."""
    temporary, replaced = _temporary_names(folder)
    if replaced.exists() and not folder.exists():
        replaced.rename(folder)
    for leftover in (temporary, replaced):
        shutil.rmtree(leftover, ignore_errors=True)


def recover_all(parent: Path) -> None:
    """Call `recover_folder` for each folder in `parent` whose write was interrupted."""
    for suffix in (_UNFINISHED, _REPLACED):
        for leftover in parent.glob(f"*{suffix}"):
            recover_folder(leftover.with_suffix(""))


def check_folder(folder: Path, required: Collection[str], remedy: str) -> None:
    """Verify the checksums of all files in a folder.

    Args:
        folder: A folder with a manifest.
        required: Names that the manifest must contain.
        remedy: Advice to the user, appended to error messages.

    Raises:
        DamagedFile: If the manifest or a file is missing, truncated or changed.
        UserError: If the system cannot read one of them.
    """
    check_files(folder, {**dict.fromkeys(required, ""), **read_manifest(folder, remedy)}, remedy)


def read_manifest(folder: Path, remedy: str) -> dict[str, str]:
    """Read the checksums of a folder, by the names of its files; raises errors as `check_folder` does."""
    content, _ = read_sealed(folder / MANIFEST, _Manifest, remedy)
    return content["sha256"]


def add_to_manifest(folder: Path, *names: str) -> None:
    """Sync files that were written one after the other, and add their checksums to the manifest of their folder.

    Raises:
        UserError: If a file cannot be read, or the manifest cannot be read or written.
    """
    sums = read_manifest(folder, f"Delete {folder}.") if (folder / MANIFEST).exists() else {}
    for name in names:
        sync(folder / name)
        sums[name] = sha256(folder / name)
    write_sealed(folder / MANIFEST, {"sha256": dict(sorted(sums.items()))})  # the same after any interruption


def check_files(folder: Path, sums: Mapping[str, str], remedy: str) -> None:
    """Verify the SHA-256 of files in a folder, by name; raises errors as `check_folder` does."""
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise DamagedFile(f"{path}: missing. {remedy}")
        check_memory(path, path.stat().st_size)
        if sha256(path) != expected:
            raise changed(path, remedy)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file to the CPU.

    Raises:
        UserError: If the file cannot be read or is not a safetensors file.
    """
    count_elements(path)  # before memory is allocated
    try:
        return tensors_from_bytes(read_regular(path))
    except OSError as error:
        raise cannot_read(path, error, "Get it again.") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a safetensors file ({_line(error)}).") from error


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise named tensors in the safetensors format."""
    return tensors_to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object with its own checksum atomically; raises `UserError` if it cannot be written."""
    write_file(path, _sealed(content))


def read_sealed(path: Path, kind: Any, remedy: str) -> tuple[dict[str, Any], bool]:
    """Read a JSON object of a known form, and verify its checksum.

    Args:
        path: The file.
        kind: Type of the content without its checksum, as in `read_typed`.
        remedy: Advice to the user, appended to error messages.

    Returns:
        The content without its checksum, and whether it had one: earlier versions wrote none.

    Raises:
        DamagedFile: If the file is missing, damaged or of another form.
        UserError: If the system cannot read it.
    """
    content = read_typed(path, dict[str, Any], remedy, any_text=True)
    last = list(content.items())[-1:]
    is_sealed = bool(last) and isinstance(last[0][1], str) and len(last[0][1]) == _SEAL_LENGTH
    if is_sealed:
        content.popitem()
        if last != [(_SEAL, _sum_of(content))]:
            raise changed(path, remedy)
    checked(content, kind, path, remedy)
    return content, is_sealed


def _sealed(content: Mapping[str, Any]) -> str:
    return to_json({**content, _SEAL: _sum_of(content)})


def _sum_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(_as_bytes(to_json(content))).hexdigest()


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the `UserError` to raise for an operating system error during writing."""
    reason = (error.strerror or str(error)).lower()
    return UserError(
        f"cannot write {path}: {reason}. Files saved earlier are intact. Free space or choose another location, then "
        "run the same command again."
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _temporary_names(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(folder.name + _UNFINISHED), folder.with_name(folder.name + _REPLACED)


def _write_synced(path: Path, content: str | bytes) -> None:
    """Write and sync a file; surrogates from file names that are not UTF-8 become escapes, which JSON can restore."""
    with open(path, "wb") as file:
        file.write(_as_bytes(content))
        file.flush()
        os.fsync(file.fileno())


def _as_bytes(content: str | bytes) -> bytes:
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
