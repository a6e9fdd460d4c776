"""Compiles kernels, and runs them on PyTorch's own threads.

A kernel is a function (part, ...): `part` numbers the piece of work; what follows are whole numbers, most of them
addresses of tensors, and numbers annotated `float`. Parts are handed out one by one to whichever thread is free, and
write to different places, so that the result does not depend on who did what.

PyTorch's threads are OpenMP's. A second pool beside it would fight with it for the cores: its idle threads wait in a
busy loop. So the work is started through the very library that PyTorch has loaded (GOMP_parallel, the entry that GCC's
OpenMP compiles to); where there is none, one thread does all.
"""

from __future__ import annotations

import ctypes
import inspect
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from numba import cfunc, njit, types
from torch import Tensor

from allyouneed.kernels.simd import get, get_long, take_one
from allyouneed.kernels.target import has_avx512, has_vnni

_COUNT, _GIVEN = 1, 2  # places of the number of parts, and of what a kernel was given; at 0 is the next part
_here = threading.local()
_compiling = threading.Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Kernels called within, by this thread of Python, run on it alone: for those who share the cores themselves."""
    _here.alone = True
    try:
        yield
    finally:
        _here.alone = False


def kernel(body: Callable[..., None]) -> Callable[..., None]:
    """A decorator: `name(parts, *values)` runs all parts. Contiguous tensors and arrays stand for their addresses.

    Compiled at its first use, and kept on disk for the next process. What a parameter annotated `float` is given may be
    a whole number; all others take whole numbers alone.
    """
    made: list[Any] = []
    floats = [place for place, name in enumerate(_given(body)) if _is_float(body, name)]

    def compiled() -> Any:
        if not made:
            with _compiling:  # two threads would make two, and one of them would go while it runs
                if not made:
                    made.append(_compile(body))
        return made[0]

    def run(parts: int, *values: float | Tensor | np.ndarray) -> None:
        arguments = (ctypes.c_int64 * (_GIVEN + len(values)))(0, parts, *map(_word, values))
        for place in floats:
            arguments[_GIVEN + place] = word_of_float(float(values[place]))
        address = ctypes.addressof(arguments)
        threads = 1 if getattr(_here, "alone", False) else min(parts, torch.get_num_threads())
        start = _start_threads() if threads > 1 else None
        if start is not None:
            start(compiled().address, address, threads, 0)
        else:
            compiled().ctypes(address)

    return run


def _given(body: Callable[..., None]) -> list[str]:
    """Names of a kernel's parameters after the part."""
    return list(inspect.signature(body).parameters)[1:]


def _is_float(body: Callable[..., None], name: str) -> bool:
    return body.__annotations__.get(name) in ("float", float)


def _word(value: float | Tensor | np.ndarray) -> int:
    if type(value) is int:  # most are
        return value
    if isinstance(value, np.ndarray):
        return value.__array_interface__["data"][0]
    if isinstance(value, Tensor):
        return value.data_ptr()
    return word_of_float(value) if isinstance(value, float) else int(value)


def word_of_float(value: float) -> int:
    """Whose low half is an fp32."""
    return int.from_bytes(struct.pack("<f", value), "little")


def _compile(body: Callable[..., None]) -> Any:
    """The loop over parts, as a C function of the address of what a kernel was given.

    It is made as text, with the kernel among its globals: what a function closes over is part of what Numba finds it
    by on disk, and a compiled kernel never looks the same twice. Its name tells the version of all that it calls, of
    which Numba would not see changes.
    """
    name = f"{body.__name__}_{_version(Path(inspect.getfile(body)).parent)}"
    read = [
        f"get(arguments, {2 * place})" if _is_float(body, one) else f"get_long(arguments, {place})"
        for place, one in enumerate(_given(body), start=_GIVEN)
    ]
    text = f"""
def {name}(arguments):
    part = take_one(arguments)
    while part < get_long(arguments, {_COUNT}):
        body(part, {", ".join(read)})
        part = take_one(arguments)
"""
    known = {"__name__": body.__module__, "body": njit(body), "get": get, "get_long": get_long, "take_one": take_one}
    exec(compile(text, inspect.getfile(body), "exec"), known)
    signature = types.void(types.int64)
    try:
        return cfunc(signature, cache=True)(known[name])
    except RuntimeError:  # neither our folder nor the user's cache can be written
        pass
    except (OSError, EOFError, UnpicklingError) as error:  # the disk is full, or something cut a file short
        warnings.warn(
            f"Numba cannot keep {name} on disk ({error}), so it is compiled at every start: free space, and delete "
            "*.nbi of kernels where they are, in __pycache__ or NUMBA_CACHE_DIR",
            stacklevel=2,
        )
    return cfunc(signature)(known[name])


@cache
def _version(folder: Path) -> str:
    """Hash the sources of this package and of a kernel's own folder, where all that it may call is defined, and the
    instruction sets that these choose their constants by."""
    files = sorted({*Path(__file__).parent.glob("*.py"), *folder.glob("*.py")})
    chosen_by = repr((has_avx512(), has_vnni())).encode()
    return sha256(b"".join([chosen_by, *(path.read_bytes() for path in files)])).hexdigest()[:16]


@cache
def _start_threads() -> Callable[..., None] | None:
    """libgomp's GOMP_parallel(function, argument, threads, flags), of the copy that PyTorch runs on."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            loaded = {line.split(maxsplit=5)[-1].strip() for line in maps if "libgomp" in line}
    except OSError:
        return None
    ours = _of_torch(loaded, Path(torch.__file__).resolve().parents[1])
    if ours is None:
        return None
    start = ctypes.CDLL(ours).GOMP_parallel
    start.argtypes, start.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return start


def _of_torch(loaded: set[str], packages: Path) -> str | None:
    """Of copies of a library the one that came with PyTorch, in `torch` or `torch.libs`; else the only one there is.

    Other packages bring copies of their own; that an environment is called torch says nothing of what is in it.
    """
    paths = [path for path in loaded if Path(path).is_relative_to(packages)]
    ours = [path for path in paths if Path(path).relative_to(packages).parts[0] in ("torch", "torch.libs")]
    found = ours or list(loaded)
    return found[0] if len(found) == 1 else None
