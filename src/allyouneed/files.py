"""Atomic writing and checked reading of files and folders.

A folder is written under a temporary name next to its destination, synced and then renamed: if the process is killed,
either the old or the new folder remains, complete. Its `manifest.json` holds the SHA-256 of every other file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.untrusted import check_memory, count_elements, read_regular, read_typed

MANIFEST = "manifest.json"
_UNFINISHED = ".unfinished"
_REPLACED = ".replaced"
_LONGEST_NAME = 255  # bytes

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
        UserError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from error


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
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_synced(temporary, content)
        os.replace(temporary, path)
    except BaseException as error:  # Ctrl-C too
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise cannot_write(path, error) from error
        raise


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


def write_folder(folder: Path, contents: Mapping[str, bytes | str]) -> None:
    """Write a folder of files and their manifest atomically, replacing an existing folder.

    Args:
        folder: Destination.
        contents: File contents by name.

    Raises:
        UserError: If a file cannot be written, for example because the disk is full. An existing folder is kept.
    """
    with _atomic_folder(folder) as temporary:
        for name, content in contents.items():
            _write_synced(temporary / name, content)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Create a folder atomically from files that the caller writes.

    Args:
        folder: Destination, new or empty.

    Yields:
        A temporary folder, which becomes `folder`, with a manifest, when the block ends without an exception.

    Raises:
        UserError: If `folder` contains files, or cannot be written.
    """
    is_current = folder.name in ("", "..")  # such a folder cannot be replaced by renaming
    if is_current or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise UserError(f"{folder} already exists. Choose a new or empty folder, or delete it first.")
    with _atomic_folder(folder) as temporary:
        yield temporary


@contextmanager
def _atomic_folder(folder: Path) -> Iterator[Path]:
    temporary, replaced = _temporary_names(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover_folder(folder)
        temporary.mkdir()
        yield temporary
        names = sorted(path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file())
        sums = {name: sha256(temporary / name) for name in names if not name.endswith(".md")}  # users may edit Markdown
        _write_synced(temporary / MANIFEST, json.dumps({"sha256": sums}, indent=1))
        if folder.exists():
            folder.rename(replaced)
        temporary.rename(folder)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        recover_folder(folder)


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
        UserError: If the manifest or a file is missing, truncated or changed.
    """
    sums = read_typed(folder / MANIFEST, _Manifest, remedy).sha256
    for name in {**dict.fromkeys(required), **sums}:
        if not (folder / name).is_file():
            raise UserError(f"{folder / name}: missing. {remedy}")
        check_memory(folder / name, (folder / name).stat().st_size)
        if name not in sums or sha256(folder / name) != sums[name]:
            raise UserError(f"{folder / name}: truncated or changed since it was written. {remedy}")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file to the CPU.

    Raises:
        UserError: If the file cannot be read or is not a safetensors file.
    """
    count_elements(path)  # before memory is allocated
    try:
        return tensors_from_bytes(read_regular(path))
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}.") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not a safetensors file ({_line(error)}).") from error


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Serialise named tensors in the safetensors format."""
    return tensors_to_bytes({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})


def read_json(path: Path, remedy: str, check: Callable[[dict[str, Any]], object] = lambda _: None) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        remedy: Advice to the user, appended to error messages.
        check: Validator, which raises ValueError, KeyError, TypeError or AttributeError for invalid content.

    Raises:
        UserError: If the file is missing, too large, nested too deeply, no JSON object, or does not pass `check`.
    """
    content = read_typed(path, dict[str, Any], remedy, any_text=True)
    try:
        check(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: damaged, or not the expected JSON ({_line(error)}). {remedy}") from error
    return content


def to_json(content: object) -> str:
    """Serialise to JSON for a file: indented, non-ASCII characters unescaped, with a final newline; see `json_line`."""
    return json_line(content, indent=1) + "\n"


def json_line(content: object, indent: int | None = None) -> str:
    """Serialise to JSON, with null for NaN and infinity, which JSON lacks."""
    try:
        return json.dumps(content, indent=indent, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(content), indent=indent, ensure_ascii=False, allow_nan=False)


def _finite(content: object) -> object:
    """Copy nested dictionaries and lists, with None for floats that are not finite."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


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
