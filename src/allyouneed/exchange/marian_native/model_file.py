"""Reading of Marian's model files, `.npz` and `.bin`: names, shapes, and values as float32.

A `.bin` file has a version, headers of all items (lengths of name, shape and data, and the type), the names, the shapes
and, after padding, the data of each item. Source: `common/binary.cpp` of marian-dev 1.12. Nothing is unpickled, and no
size in a file is trusted before it has been compared with the file's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from tokenize import TokenError
from typing import IO
from zipfile import ZipFile

import numpy as np

from allyouneed.errors import UserError
from allyouneed.exchange.marian_native.element_types import ELEMENT_TYPES, ElementType
from allyouneed.exchange.marian_native.names import MODEL_SETTINGS
from allyouneed.zip_files import ZipLimits, damage_reported, open_zip

_LIMITS = ZipLimits(entries=100_000, unpacked=1 << 36, entry=1 << 34)
_PLAIN, _ENCRYPTED = 1, 2  # versions of `.bin`
_HEADER = struct.Struct("<4Q")  # lengths: name, type, dimensions, data
_MOST_ITEMS, _LONGEST_NAME, _MOST_DIMENSIONS = 100_000, 1000, 8
_NUMPY_KINDS = "fiu"
_REMEDY = "Get the file again."


@dataclass(frozen=True)
class ModelFile:
    """Contents of a model file.

    Attributes:
        tensors: Values by name, float32, read-only by convention.
        settings: The training options as YAML; None if the file has none.
        types: Names of the element types of the tensors, for example {"float32", "intgemm8"}.
    """

    tensors: Mapping[str, np.ndarray]
    settings: str | None
    types: frozenset[str]


def read_model(file: IO[bytes], name: str) -> ModelFile:
    """Read a model file.

    Args:
        file: The open file, which can seek.
        name: Its name, for messages; it ends in .npz or .bin.

    Raises:
        UserError: If the file is damaged, encrypted or has a type of elements that cannot be read.
    """
    items = _npz_items(file, name) if name.endswith(".npz") else _bin_items(file, name)
    tensors: dict[str, np.ndarray] = {}
    settings, types = None, set()
    for item, kind, values in items:
        if item == MODEL_SETTINGS:
            settings = values.tobytes().rstrip(b"\0").decode("utf-8", "replace")
        elif not item.startswith("special:"):
            tensors[item] = values.astype(np.float32, copy=False)
            types.add(kind)
    return ModelFile(tensors, settings, frozenset(types))


def _npz_items(file: IO[bytes], name: str) -> Iterator[tuple[str, str, np.ndarray]]:
    with open_zip(file, name, _LIMITS) as archive:
        for entry in archive.namelist():
            if entry.endswith(".npy"):
                values = _read_array(archive, entry, name)
                yield entry.removesuffix(".npy"), values.dtype.name, values


def _read_array(archive: ZipFile, entry: str, name: str) -> np.ndarray:
    size = archive.getinfo(entry).file_size
    with damage_reported(name), archive.open(entry) as stream:
        read_header = _header_reader(np.lib.format.read_magic(stream))
        try:
            shape, fortran, dtype = read_header(stream)
        except (SyntaxError, TokenError, RecursionError, MemoryError) as error:  # of Python's parser, which numpy calls
            raise ValueError(f"the header of {entry} is not readable") from error
        if dtype.kind not in _NUMPY_KINDS or dtype.hasobject:
            raise UserError(f"{name}: {entry} has elements of type {dtype}, not numbers. {_REMEDY}")
        start, count = stream.tell(), math.prod(shape)
        if fortran or start + count * dtype.itemsize != size:
            raise UserError(f"{name}: {entry} does not have the size or order that its header states. {_REMEDY}")
        return np.frombuffer(stream.read(), dtype).reshape(shape)


def _header_reader(version: tuple[int, int]) -> Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype]]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"version {version} of the npy format")
    reader: Callable[[IO[bytes]], tuple[tuple[int, ...], bool, np.dtype]] = readers[version]
    return reader


def _bin_items(file: IO[bytes], name: str) -> Iterator[tuple[str, str, np.ndarray]]:
    reader = _Reader(file, name)
    version = reader.integer()
    if version == _ENCRYPTED:
        raise UserError(f"{name}: the model is encrypted. Save it with Marian without an encryption key.")
    if version != _PLAIN:
        raise UserError(f"{name}: version {version} of Marian's .bin format is not known; version 1 is. {_REMEDY}")
    count = reader.integer()
    headers = [_HEADER.unpack(reader.take(_HEADER.size)) for _ in range(reader.checked(count, _MOST_ITEMS, "items"))]
    names = [
        reader.take(reader.checked(length, _LONGEST_NAME, "characters in a name"))
        .rstrip(b"\0")
        .decode("utf-8", "replace")
        for length, _, _, _ in headers
    ]
    shapes = [
        struct.unpack(f"<{length}i", reader.take(4 * reader.checked(length, _MOST_DIMENSIONS, "dimensions")))
        for _, _, length, _ in headers
    ]
    reader.take(reader.checked(reader.integer(), 1 << 16, "bytes of padding"))
    if len(set(names)) < len(names):
        raise UserError(f"{name}: two tensors have the same name. {_REMEDY}")
    for item, shape, (_, code, _, size) in zip(names, shapes, headers, strict=True):
        data, kind = reader.take(size), _element_type(code, item, name)
        if not kind.fits(shape) or len(data) < kind.bytes_for(shape):
            raise UserError(f"{name}: the data of {item} do not fit its shape {list(shape)}. {_REMEDY}")
        yield item, kind.name, kind.values(data, shape, item)


def _element_type(code: int, item: str, name: str) -> ElementType:
    if code in ELEMENT_TYPES:
        return ELEMENT_TYPES[code]
    raise UserError(
        f"{name}: {item} has elements of type {code:#x}, packed for one processor. Import the model.npz "
        "that the file was made from."
    )


class _Reader:
    """Reads a `.bin` file and refuses to read beyond its end."""

    def __init__(self, file: IO[bytes], name: str):
        self._file, self._name = file, name
        self._left = file.seek(0, 2)
        file.seek(0)

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        if size > self._left:
            raise UserError(f"{self._name}: the file ends too early: it is incomplete or no model. {_REMEDY}")
        self._left -= size
        return self._file.read(size)

    def integer(self) -> int:
        """Return the next number."""
        return int.from_bytes(self.take(8), "little")

    def checked(self, count: int, most: int, what: str) -> int:
        """Return a count, which is at most `most`."""
        if count > most:
            raise UserError(f"{self._name}: {count} {what}: the file is damaged or no model. {_REMEDY}")
        return count
