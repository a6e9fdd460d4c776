"""Reading of `model.bin`, CTranslate2's file of weights, in all its binary versions.

The layout is that of `specs/model_spec.py` (writer) and `src/models/model.cc` (reader) of CTranslate2: a version, the
name and revision of the specification, then variables (name, shape, type, data), then aliases. Numbers are
little-endian. Nothing is allocated before the file is known to have the bytes: the data of variables are views of the
mapped file.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from allyouneed.errors import UserError
from allyouneed.untrusted import cannot_read, open_regular

WEIGHTS, CONFIG = "model.bin", "config.json"
VOCABULARIES = tuple(f"{side}_vocabulary.{kind}" for side in ("shared", "source", "target") for kind in ("json", "txt"))
FILES = (WEIGHTS, CONFIG, *VOCABULARIES)
REMEDY = "Get the model again, or convert it again with CTranslate2's converters."
_NEWEST_VERSION = 6
_TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")  # in the order of CTranslate2's DataType
_SIZES = {"float32": 4, "int8": 1, "int16": 2, "int32": 4, "float16": 2, "bfloat16": 2}
_TYPE_OF_SIZE = {4: "float32", 2: "int16", 1: "int8"}  # before version 4, only sizes are stored
_MOST_VARIABLES = 1 << 17
_LONGEST_NAME = 1024
_MOST_DIMENSIONS = 8
_LEAST_BYTES = {"variables": 9, "aliases": 6}  # of an entry
_INT16_SCALE = 1000.0  # of weights in int16 without a stored scale, see ops/quantize.cc


class Variable(NamedTuple):
    """A stored variable.

    Attributes:
        type: One of CTranslate2's type names, for example "int8".
        values: The values, those of bfloat16 as bit patterns in uint16.
    """

    type: str
    values: np.ndarray

    def tensor(self) -> Tensor:
        """Return the values as fp32."""
        if self.type == "bfloat16":
            return torch.from_numpy((self.values.astype(np.uint32) << 16).view(np.float32))
        return torch.from_numpy(self.values.astype(np.float32))


class ModelFile(NamedTuple):
    """Content of a `model.bin`.

    Attributes:
        path: The file.
        version: Binary version.
        specification: Name of the specification, for example TransformerSpec; empty in version 1.
        revision: Revision of the specification.
        variables: Variables and aliases by name.
    """

    path: Path
    version: int
    specification: str
    revision: int
    variables: dict[str, Variable]


class ModelFolder(NamedTuple):
    """Files of a model, from a folder or from an archive.

    Attributes:
        path: The folder, for messages.
        files: Content of the files by name.
    """

    path: Path
    files: Mapping[str, memoryview]


def map_folder(path: Path) -> ModelFolder:
    """Map the files that CTranslate2 reads into memory, without reading them.

    Raises:
        UserError: If a file cannot be read.
    """
    files = {name: path / name for name in FILES if (path / name).is_file()}
    return ModelFolder(path, {name: _mapped(file) for name, file in files.items()})


def _mapped(path: Path) -> memoryview:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
    except OSError as error:
        raise cannot_read(path, error, REMEDY) from error


def read_model(folder: ModelFolder) -> ModelFile:
    """Read a folder's `model.bin`.

    Args:
        folder: The folder.

    Raises:
        UserError: If the file is missing, truncated or damaged, or was written by a newer version of CTranslate2.
    """
    path = folder.path / WEIGHTS
    if WEIGHTS not in folder.files:
        raise UserError(f"{path}: missing. {REMEDY}")
    cursor = _Cursor(folder.files[WEIGHTS], path)
    version = cursor.number("I")
    if not 1 <= version <= _NEWEST_VERSION:
        raise UserError(
            f"{path}: binary version {version} of CTranslate2's format; versions 1 to {_NEWEST_VERSION} can be read. "
            f"{REMEDY}"
        )
    specification, revision = (cursor.string(), cursor.number("I")) if version >= 2 else ("", 1)
    variables: dict[str, Variable] = {}
    for _ in range(cursor.count("variables")):
        name = cursor.string()
        if name in variables:
            raise cursor.damage(f"the variable {name!r} occurs twice")
        variables[name] = cursor.variable(name, version)
    if version >= 3:
        for _ in range(cursor.count("aliases")):
            alias, name = cursor.string(), cursor.string()
            if name not in variables or alias in variables:
                raise cursor.damage(f"{alias!r} cannot be an alias of {name!r}")
            variables[alias] = variables[name]
            if f"{name}_scale" in variables:
                variables.setdefault(f"{alias}_scale", variables[f"{name}_scale"])
    if cursor.remaining:
        raise cursor.damage(f"{cursor.remaining:,} bytes follow the end of the model")
    return ModelFile(path, version, specification, revision, variables)


class _Cursor:
    """Position in the file; every read is checked against the file's size."""

    def __init__(self, data: memoryview, path: Path):
        self.data, self.path, self.offset = data, path, 0

    @property
    def remaining(self) -> int:
        return len(self.data) - self.offset

    def damage(self, what: str) -> UserError:
        return UserError(f"{self.path}: damaged at byte {self.offset:,}: {what}. {REMEDY}")

    def take(self, size: int, what: str) -> memoryview:
        if size > self.remaining:
            raise self.damage(f"{what} has {size:,} bytes, but the file has only {self.remaining:,} more")
        self.offset += size
        return self.data[self.offset - size : self.offset]

    def number(self, code: str) -> int:
        [value] = struct.unpack(f"<{code}", self.take(struct.calcsize(f"<{code}"), "a number"))
        return int(value)

    def string(self) -> str:
        length = self.number("H")
        if not 1 <= length <= _LONGEST_NAME:
            raise self.damage(f"a name of {length:,} bytes")
        try:
            return bytes(self.take(length, "a name")[:-1]).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.damage("a name is not UTF-8") from error

    def count(self, what: str) -> int:
        count = self.number("I")
        if count > min(_MOST_VARIABLES, self.remaining // _LEAST_BYTES[what]):
            raise self.damage(f"{count:,} {what}, more than the file can have")
        return count

    def variable(self, name: str, version: int) -> Variable:
        dimensions = self.number("B")
        if dimensions > _MOST_DIMENSIONS:
            raise self.damage(f"{name!r} has {dimensions} dimensions")
        shape = [self.number("I") for _ in range(dimensions)]
        code, size = self.number("B"), self.number("I")
        if version >= 4:
            kind = _TYPES[code] if code < len(_TYPES) else None
        else:
            kind, size = _TYPE_OF_SIZE.get(code), size * code
        if kind is None:
            raise self.damage(f"{name!r} has an unknown type {code}")
        if math.prod(shape) * _SIZES[kind] != size:
            raise self.damage(f"{name!r} of shape {shape} and type {kind} cannot have {size:,} bytes")
        dtype = np.dtype("uint16" if kind == "bfloat16" else kind).newbyteorder("<")
        return Variable(kind, np.frombuffer(self.take(size, f"{name!r}"), dtype).reshape(shape))


class Variables:
    """Variables of a model by name, which remembers those that were never used.

    Args:
        model: The file's content.
    """

    def __init__(self, model: ModelFile):
        self.path, self._variables = model.path, model.variables
        self._unused = dict.fromkeys(model.variables)

    def __contains__(self, name: str) -> bool:
        return name in self._variables

    @property
    def unused(self) -> list[str]:
        """Names of variables that were never used."""
        return list(self._unused)

    def number(self, name: str, default: float) -> float:
        """Return a scalar, or the default if there is none.

        Raises:
            UserError: If the variable is not a finite number.
        """
        if name not in self:
            return default
        variable = self._use(name)
        value = float(variable.tensor()) if variable.values.size == 1 else math.nan
        if not math.isfinite(value):
            raise UserError(f"{self.path}: {name} is not a number. {REMEDY}")
        return value

    def type_of(self, name: str) -> str:
        """Return the type of a variable, or an empty text if it does not exist."""
        return self._variables[name].type if name in self else ""

    def text(self, name: str, default: str) -> str:
        """Return a stored text, as before version 6, or the default if there is none.

        Raises:
            UserError: If it is not UTF-8.
        """
        if name not in self:
            return default
        try:
            return self._use(name).values.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path}: {name} is not UTF-8. {REMEDY}") from error

    def vector(self, name: str, size: int) -> Tensor:
        """Return a vector of `size` entries in fp32.

        Raises:
            UserError: If it is missing or has another shape.
        """
        return self._checked(name, (size,), self._floats(name))

    def matrix(self, name: str, columns: int | None = None, rows: int | None = None) -> Tensor:
        """Return a matrix in fp32, dequantised by its stored scale: one per row in int8, one for all in int16.

        Raises:
            UserError: If it is missing or has another shape, type or scale than CTranslate2 writes.
        """
        stored = self._use(name)
        values = self._checked(name, (rows, columns), self._floats(name, ("int8", "int16")))
        if stored.type not in ("int8", "int16"):
            return values
        scale = self._scale(name, stored.type, len(values))
        return values.div_(scale[:, None] if scale.dim() else scale)

    def _scale(self, name: str, kind: str, rows: int) -> Tensor:
        scale_name = f"{name}_scale"
        if kind == "int16" and scale_name not in self:
            return torch.tensor(_INT16_SCALE)
        scale = self._floats(scale_name)
        if scale.numel() == 1 and (kind == "int16" or rows == 1):
            scale = scale.reshape(())
        if scale.shape not in ((), (rows,)) or not (scale.isfinite() & (scale > 0)).all():
            raise UserError(f"{self.path}: {scale_name} is not a positive scale for each of {rows:,} rows. {REMEDY}")
        return scale

    def _floats(self, name: str, also: tuple[str, ...] = ()) -> Tensor:
        variable = self._use(name)
        if variable.type not in ("float32", "float16", "bfloat16", *also):
            raise UserError(f"{self.path}: {name} has the type {variable.type}, which is not supported. {REMEDY}")
        return variable.tensor()

    def _checked(self, name: str, shape: tuple[int | None, ...], values: Tensor) -> Tensor:
        fits = len(shape) == values.dim() and all(
            size in (None, found) for size, found in zip(shape, values.shape, strict=True)
        )
        if not (fits and values.numel()):
            expected = " × ".join("n" if size is None else f"{size:,}" for size in shape)
            raise UserError(f"{self.path}: {name} has the shape {list(values.shape)}, expected {expected}. {REMEDY}")
        if not values.isfinite().all():
            raise UserError(f"{self.path}: {name} contains infinite values or NaN. {REMEDY}")
        return values

    def _use(self, name: str) -> Variable:
        self._unused.pop(name, None)
        try:
            return self._variables[name]
        except KeyError as error:
            raise UserError(f"{self.path}: has no variable {name}. {REMEDY}") from error
