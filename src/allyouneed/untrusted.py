"""Typed and bounded reading of files that may come from somebody else: models are handed between people.

Pipes and devices are not opened; sizes, nesting and numbers of values are limited; a header is compared with the size
of its file, and a file with the memory of the machine, before memory is allocated. `read_typed` reads all JSON that has
a known form.
"""

from __future__ import annotations

import errno
import json
import math
import os
import reprlib
import stat
import struct
import tomllib
from collections import Counter
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from allyouneed.errors import DamagedFile, UserError

T = TypeVar("T")
_DEEPEST_JSON = 50  # lists and objects within one another
_MOST_DOTS = 500  # in a line of TOML
_LARGEST_JSON = 1 << 28  # bytes
_MOST_VALUES = 2_000_000  # of JSON; each takes at most about 100 bytes of memory, and 300 if it has another type
_MOST_ERRORS = 1000  # pydantic describes all errors or none, which takes 1 kB for each
_LARGEST_HEADER = 100 << 20  # bytes of a safetensors file, the limit of the format
_AN_OBJECT = "input should be a valid dictionary"
_MOST_DIMENSIONS = 16
_MOST_FILES = 10_000  # of a model's folder
# What the system reports of a path that is not a file, or not one of that size; other errors say nothing about content.
_NO_SUCH_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EFBIG, errno.ELOOP, errno.ENXIO}


def open_regular(path: Path) -> BufferedReader:
    """Open a file that may come from somebody else: a pipe or a device, which may never end, is refused.

    Raises:
        OSError: If it cannot be read, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # does not wait for a writer
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        code, reason = (errno.EISDIR, "is a folder") if stat.S_ISDIR(mode) else (errno.EINVAL, "not a regular file")
        raise OSError(code, reason, str(path))
    return open(descriptor, "rb")


def read_regular(path: Path, largest: int | None = None) -> bytes:
    """Read a file that may come from somebody else, see `open_regular`.

    Args:
        path: The file.
        largest: Maximum number of bytes; None for no limit.

    Raises:
        OSError: If it cannot be read, is not a regular file or is too large.
    """
    with open_regular(path) as file:
        size = _size(file)
        if largest is not None and size > largest:
            raise OSError(errno.EFBIG, f"has {size:,} bytes, and at most {largest:,} are read", str(path))
        return file.read()


def _size(file: BufferedReader) -> int:
    return os.fstat(file.fileno()).st_size


def check_regular(path: Path) -> None:
    """Check that a file, or each file in a folder, is neither a pipe nor a device, which may never end.

    Raises:
        UserError: If one is, or the folder has too many files for a model.
    """
    found = 0
    inside = ((Path(folder), names) for folder, _, names in os.walk(path))
    for folder, names in inside if path.is_dir() else [(path.parent, [path.name])]:
        for file in (folder / name for name in names):
            found += 1
            if found > _MOST_FILES:
                raise UserError(f"{path}: has more than {_MOST_FILES:,} files. Give the folder of one model.")
            if file.exists() and not file.is_file():
                raise UserError(f"{file}: is a pipe or a device, not a file of a model. Delete it.")


def parse_json(text: str | bytes, any_text: bool = False) -> Any:
    """Parse JSON that may come from somebody else.

    Args:
        text: The JSON.
        any_text: Accept text that is not Unicode, such as names of files with other bytes.

    Raises:
        ValueError: If it is not JSON, is nested too deeply, has too many values, an object with a name twice, a number
            that is not finite, or text that is not Unicode.
    """
    check_number_of_values(text)
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    pending = [content]
    for _ in range(_DEEPEST_JSON):
        inner: list[Any] = []
        for each in pending:
            if isinstance(each, dict):
                inner += each.keys()
                inner += each.values()
            elif isinstance(each, list):
                inner += each
            elif isinstance(each, float) and not math.isfinite(each):
                raise ValueError(f"has {each}, which is not a number")
            elif isinstance(each, str) and not any_text and not each.isascii():
                each.encode()  # UnicodeEncodeError is a ValueError
        if not inner:
            return content
        pending = inner
    raise ValueError("is nested too deeply")


def check_number_of_values(text: str | bytes) -> None:
    """Raise ValueError if JSON may have more values than are read: each follows one of four characters."""
    count = sum(map(text.count, ",:[{")) if isinstance(text, str) else sum(map(text.count, (b",", b":", b"[", b"{")))
    if count > _MOST_VALUES:
        raise ValueError(f"has more than {_MOST_VALUES:,} values")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, whose names must be different: which value would count depends on the program."""
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"has {twice[:40]!r} twice in an object")
    return found


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML that may come from somebody else.

    Raises:
        ValueError: If it is not TOML, or a line has so many dots that its names take quadratic time.
        RecursionError: If it is nested too deeply.
    """
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
        raise ValueError(f"a line has more than {_MOST_DOTS} dots")
    return tomllib.loads(text)


def read_typed(path: Path, kind: type[T], remedy: str, any_text: bool = False) -> T:
    """Read JSON of a known form from a file that may come from somebody else.

    Args:
        path: The file.
        kind: Type of the content: a model of pydantic, a dataclass, or a type such as `dict[str, int]`.
        remedy: Advice to the user, appended to error messages.
        any_text: Accept text that is not Unicode, such as names of files with other bytes.

    Raises:
        DamagedFile: If the file is missing, too large, not JSON or of another form. The message names the first wrong
            field as a path, such as `config.model.d_model`, and what is expected of it.
        UserError: If the system cannot read it.
    """
    try:
        return checked(parse_json(read_regular(path, _LARGEST_JSON).decode("utf-8"), any_text), kind, path, remedy)
    except OSError as error:
        raise cannot_read(path, error, remedy) from error
    except ValueError as error:
        raise DamagedFile(f"{path}: damaged, or not the expected JSON ({_line(error)}). {remedy}") from error


def checked(content: object, kind: type[T], path: Path, remedy: str) -> T:
    """Check the form of content that was read from a file; see `read_typed`.

    Raises:
        DamagedFile: If the content has another form.
    """
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise DamagedFile(f"{path}: {mistake(error)}. {remedy}") from error


def mistake(error: ValidationError) -> str:
    """Describe the first of the errors that pydantic found, as in `config.model.d_model = 'a': input should be ...`."""
    if error.error_count() > _MOST_ERRORS:
        return f"{error.error_count():,} values have another form than expected"
    first = error.errors(include_url=False)[0]
    name = ".".join(map(str, first["loc"]))[:80] or "content"
    name = name if name.isprintable() else ascii(name)
    value = "" if first["type"] == "missing" else f" = {reprlib.repr(first['input'])[:80]}"
    expected = _AN_OBJECT if first["type"] in ("model_type", "dataclass_type") else _line_of(first["msg"].lower())
    return f"{name}{value}: {expected}"


def cannot_read(path: Path, error: OSError, remedy: str) -> UserError:
    """Return the error to raise for an operating system error during reading.

    Args:
        path: The file.
        error: The error.
        remedy: Advice to the user if the file is missing. Otherwise, for example after an error of the disk, its
            content may be intact.
    """
    if error.errno in _NO_SUCH_FILE:
        return DamagedFile(f"{path}: missing or not readable ({_reason(error)}). {remedy}")
    return UserError(
        f"{path}: cannot be read ({_reason(error)}). Its content may be intact: keep it, check the disk and the "
        "permissions, then run the same command again."
    )


def changed(path: Path, remedy: str) -> DamagedFile:
    """Return the error to raise for content that does not match its checksum."""
    return DamagedFile(f"{path}: truncated or changed since it was written. {remedy}")


def check_memory(path: Path, size: int) -> None:
    """Check, before a file is read, that this machine can hold it.

    Args:
        path: The file.
        size: Its size in bytes.

    Raises:
        UserError: If the file is larger than the memory of the machine.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise UserError(f"{path}: has {size:,} bytes, and this machine {memory:,} bytes of memory. It cannot be read.")


def count_elements(path: Path) -> int:
    """Return the number of elements of all tensors of a safetensors file, reading its header only.

    Raises:
        UserError: If the file cannot be read, or its header does not describe it.
    """
    try:
        with open_regular(path) as file:
            size = _size(file)
            [length] = struct.unpack("<Q", file.read(8))
            if length > min(_LARGEST_HEADER, size - 8):
                raise ValueError("its header is longer than the file")
            tensors = {k: v for k, v in parse_json(file.read(length)).items() if k != "__metadata__"}
        if max((each["data_offsets"][1] for each in tensors.values()), default=0) != size - 8 - length:
            raise ValueError("it is truncated, or longer than its header states")
        shapes = [each["shape"][:_MOST_DIMENSIONS] for each in tensors.values()]  # safetensors itself checks them
        check_memory(path, size)
        return sum(map(math.prod, shapes))
    except OSError as error:
        raise cannot_read(path, error, "Get it again.") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise UserError(f"{path}: not a safetensors file ({_line(error)}).") from error


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _line(error: Exception) -> str:
    return _line_of(str(error)) or type(error).__name__


def _line_of(text: str) -> str:
    return " ".join(text.split())[:200]
