"""Bounded reading of files that may come from somebody else: models are handed between people.

Pipes and devices are not opened, nesting and sizes are limited, and a header is compared with the size of its file
before memory is allocated.
"""

from __future__ import annotations

import errno
import json
import math
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from allyouneed.errors import UserError

_DEEPEST_JSON = 50  # lists and objects within one another
_LARGEST_HEADER = 100 << 20  # bytes of a safetensors file, the limit of the format
_MOST_DIMENSIONS = 16
_MOST_FILES = 10_000  # of a model's folder


@contextmanager
def _regular(path: Path) -> Iterator[tuple[IO[bytes], int]]:
    """Open a regular file, and yield it and its size; raises OSError for others without waiting for a writer."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield file, status.st_size


def read_regular(path: Path, largest: int | None = None) -> bytes:
    """Read a file that may come from somebody else: a pipe or a device, which may never end, is not read.

    Args:
        path: The file.
        largest: Maximum number of bytes; None for no limit.

    Raises:
        OSError: If it cannot be read, is not a regular file or is too large.
    """
    with _regular(path) as (file, size):
        if largest is not None and size > largest:
            raise OSError(errno.EFBIG, f"has {size:,} bytes, and at most {largest:,} are read")
        return file.read()


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
        ValueError: If it is not JSON, is nested too deeply, or has text that is not Unicode.
    """
    try:
        content = json.loads(text)
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
            elif isinstance(each, str) and not any_text and not each.isascii():
                each.encode()  # UnicodeEncodeError is a ValueError
        if not inner:
            return content
        pending = inner
    raise ValueError("is nested too deeply")


def count_elements(path: Path) -> int:
    """Return the number of elements of all tensors of a safetensors file, reading its header only.

    Raises:
        UserError: If the file cannot be read, or its header does not describe it.
    """
    try:
        with _regular(path) as (file, size):
            [length] = struct.unpack("<Q", file.read(8))
            if length > min(_LARGEST_HEADER, size - 8):
                raise ValueError("its header is longer than the file")
            tensors = {k: v for k, v in parse_json(file.read(length)).items() if k != "__metadata__"}
        if max((each["data_offsets"][1] for each in tensors.values()), default=0) != size - 8 - length:
            raise ValueError("it is truncated, or longer than its header states")
        shapes = [each["shape"][:_MOST_DIMENSIONS] for each in tensors.values()]  # safetensors itself checks them
        return sum(map(math.prod, shapes))
    except OSError as error:
        raise UserError(f"{path}: {(error.strerror or str(error)).lower()}.") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise UserError(f"{path}: not a safetensors file ({_line(error)}).") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
