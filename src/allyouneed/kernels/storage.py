"""Compiled kernels on disk, one file for each kernel and target.

A file is used only if it is whole and was made from the present sources by the present releases. Numba's own cache has
two files, an index and code: after a crash between the two, or on a full disk, a new index refers to old code. Numba
can restore only what it has pickled. This adds no risk: the files contain machine code, and the folder is as trusted as
Python's `__pycache__`.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import pickle
import sys
import uuid
import warnings
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numba.core.compiler import CompileResult
from numba.core.runtime.nrt import rtsys
from numba.core.serialize import dumps

from allyouneed.kernels import disk_cache
from allyouneed.kernels.target import has_avx512, has_vnni

_CHECKSUM_BYTES = hashlib.sha256().digest_size


class Missing(Exception):
    """A kernel is not on disk."""


class Storage:
    """Stores and loads a compiled kernel, in the place of Numba's `FunctionCache`.

    Args:
        loop: The function that is compiled.
        folder: Where compiled kernels are.
        may_compile: Whether Numba compiles what is not on disk; otherwise `Missing` is raised.

    Attributes:
        holds: Whether the kernel is on disk.
    """

    def __init__(self, loop: Callable[[int], None], folder: Path, may_compile: bool):
        source = Path(inspect.getfile(loop))
        self.holds = False
        self._folder, self._may_compile = folder, may_compile
        instructions = f"{has_avx512():d}{has_vnni():d}"  # which vectors kernels use, see `target.py`
        name = loop.__qualname__.replace(".<locals>", "")  # functions of one module may define kernels of one name
        self._name = f"{source.stem}.{name}-{sys.implementation.cache_tag}-{instructions}"
        self._origin = repr((disk_cache.sources_hash(source), version("numba"), version("llvmlite"))).encode()

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """Load the kernel, without Numba's types and functions, whose set-up takes longer; None if it is missing."""
        rtsys.initialize(target_context)  # kernels may refer to its functions
        data = self._read(self._file(target_context.codegen()))
        self.holds = data is not None
        if data is not None:
            return CompileResult._rebuild(target_context, *pickle.loads(data))
        if not self._may_compile:
            raise Missing
        return None

    def save_overload(self, signature: Any, result: Any) -> None:
        """Store the kernel; if the disk is full, it is used without being stored."""
        try:
            self._write(self._file(result.codegen), dumps(result._reduce()))
            self.holds = True
        except OSError as error:
            _warn(self._folder, error.strerror)

    def _file(self, codegen: Any) -> Path:
        target = hashlib.sha256(repr(codegen.magic_tuple()).encode()).hexdigest()[:16]
        return self._folder / f"{self._name}-{target}{disk_cache.ENDING}"

    def _read(self, file: Path) -> bytes | None:
        try:
            content = file.read_bytes()
        except OSError:
            return None
        data = content[_CHECKSUM_BYTES:]
        return data if content[:_CHECKSUM_BYTES] == self._checksum(data) else None

    def _write(self, file: Path, data: bytes) -> None:
        temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
        try:
            os.makedirs(self._folder, exist_ok=True)
            temporary.write_bytes(self._checksum(data) + data)
            temporary.replace(file)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def _checksum(self, data: bytes) -> bytes:
        return hashlib.sha256(self._origin + data).digest()


@cache
def _warn(folder: Path, reason: str) -> None:
    """Warn once that kernels cannot be stored; Python's filters show a warning again after Numba has changed them."""
    warnings.warn(
        f"compiled kernels cannot be stored in {folder} ({reason}), so every start compiles them. Free disk space, or "
        "set NUMBA_CACHE_DIR to another folder.",
        stacklevel=2,
    )
