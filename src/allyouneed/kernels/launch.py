"""Compilation of kernels, and their execution on PyTorch's own threads.

A kernel is a function (part, ...), where `part` is the index of a piece of work. The other parameters are integers
unless annotated: `float` for fp32, the pointers of `records.py` for tensors and arrays, or a `Record` class for
records. Each thread takes the next part when it becomes free. Parts write to disjoint memory, so the result does not
depend on which thread ran which part.

PyTorch's threads belong to OpenMP. A second pool would compete with it for the cores, since OpenMP's idle threads spin.
Kernels are therefore started through the OpenMP library that PyTorch has loaded (GOMP_parallel, the entry point of
GCC's OpenMP); without it, one thread runs all parts.
"""

from __future__ import annotations

import ctypes
import inspect
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from numba import cfunc, njit, types

from allyouneed.kernels.records import RecordType, converter, numba_type, reinterpret
from allyouneed.kernels.simd import fetch_and_increment
from allyouneed.kernels.target import has_avx512, has_vnni

_thread = threading.local()
_compiling = threading.Lock()
_compilers: dict[str, Callable[[], Any]] = {}  # by the kernel's full name


@contextmanager
def one_thread() -> Iterator[None]:
    """Run kernels that this Python thread calls on this thread only, for callers that assign the cores themselves."""
    _thread.alone = True
    try:
        yield
    finally:
        _thread.alone = False


def kernel(body: Callable[..., None]) -> Callable[..., None]:
    """Turn a function (part, ...) into a kernel: calling `name(parts, *values)` runs all parts.

    The kernel is compiled at the first call and cached on disk. Pointer parameters take contiguous tensors or arrays,
    or 0 for null; `float` parameters also take integers.
    """
    arguments = _arguments(body)
    converters = [converter(kind) for kind in arguments.fields.values()]
    compiled: list[Any] = []

    def compile_once() -> Any:
        if not compiled:
            with _compiling:  # otherwise two threads may compile it, and one copy would be freed while it runs
                if not compiled:
                    compiled.append(_compile(body, arguments))
        return compiled[0]

    _compilers[f"{body.__module__}.{body.__name__}"] = compile_once

    def run(parts: int, *values: Any) -> None:
        words = (convert(value) for convert, value in zip(converters, (0, parts, *values), strict=True))
        packed = (ctypes.c_int64 * len(converters))(*words)
        address = ctypes.addressof(packed)
        threads = 1 if getattr(_thread, "alone", False) else min(parts, torch.get_num_threads())
        start = _start_threads() if threads > 1 else None
        if start is not None:
            start(compile_once().address, address, threads, 0)
        else:
            compile_once().ctypes(address)

    return run


def compile_kernel(name: str) -> bool:
    """Compile a kernel, or load it from the cache, without running it.

    Args:
        name: Full name of the kernel, for example "allyouneed.kernels.dropout._drop".

    Returns:
        Whether it was in the cache.
    """
    import_module(name.rpartition(".")[0])
    return bool(_compilers[name]().cache_hits)


def _arguments(body: Callable[..., None]) -> RecordType:
    """Make the record type of a kernel's arguments; its first fields are the next part and the number of parts."""
    parameters = list(inspect.signature(body, eval_str=True).parameters.values())[1:]
    fields = {parameter.name: numba_type(parameter.annotation) for parameter in parameters}
    return RecordType(f"{body.__name__}_arguments", {"next_part_": types.int64, "parts_": types.int64, **fields})


def _compile(body: Callable[..., None], arguments: RecordType) -> Any:
    """Compile the loop over parts to a C function that takes the address of a kernel's arguments.

    The loop is generated as text, with the kernel among its globals. In a closure, the kernel would be part of Numba's
    cache key, and a compiled kernel never compares equal to an earlier one. The loop's name contains a hash of the
    sources that the kernel may call, because Numba would not detect changes to them.
    """
    name = f"{body.__name__}_{_version(Path(inspect.getfile(body)).parent)}"
    values = ", ".join(f"arguments.{field}" for field in list(arguments.fields)[2:])
    text = f"""
def {name}(address):
    arguments = view(address)
    part = fetch_and_increment(address)
    while part < arguments.parts_:
        body(part, {values})
        part = fetch_and_increment(address)
"""
    known = {
        "__name__": body.__module__,
        "body": njit(body),
        "view": reinterpret(types.int64, arguments),
        "fetch_and_increment": fetch_and_increment,
    }
    exec(compile(text, inspect.getfile(body), "exec"), known)
    signature = types.void(types.int64)
    try:
        return cfunc(signature, cache=True)(known[name])
    except RuntimeError:  # neither the package's folder nor the user's cache is writable
        pass
    except (OSError, EOFError, UnpicklingError) as error:  # the disk is full, or a file was truncated
        warnings.warn(
            f"Numba cannot keep {name} on disk ({error}), so it is compiled at every start. Free disk space, and "
            "delete the kernels' *.nbi files in __pycache__ or NUMBA_CACHE_DIR.",
            stacklevel=2,
        )
    return cfunc(signature)(known[name])


@cache
def _version(folder: Path) -> str:
    """Hash the inputs of compilation: the sources that a kernel may call, and the instruction sets that they use."""
    files = sorted({*Path(__file__).parent.glob("*.py"), *folder.glob("*.py")})
    target = repr((has_avx512(), has_vnni())).encode()
    return sha256(b"".join([target, *(path.read_bytes() for path in files)])).hexdigest()[:16]


@cache
def _start_threads() -> Callable[..., None] | None:
    """Return GOMP_parallel(function, argument, threads, flags) of the libgomp that PyTorch uses, if it uses one."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            loaded = {line.split(maxsplit=5)[-1].strip() for line in maps if "libgomp" in line}
    except OSError:
        return None
    library = _of_torch(loaded, Path(torch.__file__).resolve().parents[1])
    if library is None:
        return None
    start = ctypes.CDLL(library).GOMP_parallel
    start.argtypes, start.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return start


def _of_torch(loaded: set[str], packages: Path) -> str | None:
    """Select PyTorch's copy of a library, in `torch` or `torch.libs`, or the only copy that is loaded.

    Other packages ship copies too; the path of site-packages may contain "torch" as well.
    """
    paths = [path for path in loaded if Path(path).is_relative_to(packages)]
    of_torch = [path for path in paths if Path(path).relative_to(packages).parts[0] in ("torch", "torch.libs")]
    candidates = of_torch or list(loaded)
    return candidates[0] if len(candidates) == 1 else None
