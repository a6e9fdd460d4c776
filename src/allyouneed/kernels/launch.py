"""Compilation of kernels, and their execution on PyTorch's own threads.

A kernel is a function (part, ...), where `part` is the index of a piece of work. The other parameters are integers
unless annotated: `float` for fp32, the pointers of `records.py` for tensors and arrays, or a `Record` class for
records. Each thread takes the next part when it becomes free. Parts write to disjoint memory, so the result does not
depend on which thread ran which part.

PyTorch's threads belong to OpenMP. A second pool would compete with it for the cores, since OpenMP's idle threads spin.
Kernels are therefore started through the OpenMP library that PyTorch has loaded (GOMP_parallel, the entry point of
GCC's OpenMP); without it, on a pool of Python threads, which start more slowly.
"""

from __future__ import annotations

import ctypes
import inspect
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from numba import types
from numba.core.ccallback import CFunc
from numba.core.sigutils import normalize_signature

from allyouneed.kernels import capabilities, disk_cache
from allyouneed.kernels.compiler import KernelCompiler, kernel_function
from allyouneed.kernels.records import RecordType, converter, numba_type, reinterpret
from allyouneed.kernels.simd_memory import fetch_and_increment
from allyouneed.kernels.storage import Missing, Storage

_thread = threading.local()
_compiling = threading.Lock()
_kernels: dict[str, _Kernel] = {}  # by full name


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run kernels that this Python thread calls on at most `count` threads, instead of PyTorch's number of threads."""
    before, _thread.limit = getattr(_thread, "limit", 0), count
    try:
        yield
    finally:
        _thread.limit = before


def kernel(body: Callable[..., None]) -> Callable[..., None]:
    """Turn a function (part, ...) into a kernel: calling `name(parts, *values)` runs all parts.

    The kernel is compiled at the first call and cached on disk. Pointer parameters take contiguous tensors or arrays,
    or 0 for null; `float` parameters also take integers.
    """
    arguments = _arguments(body)
    converters = [converter(kind) for kind in arguments.fields.values()]
    compiled = _kernels[f"{body.__module__}.{body.__name__}"] = _Kernel(body, arguments)

    def run(parts: int, *values: Any) -> None:
        words = (convert(value) for convert, value in zip(converters, (0, parts, *values), strict=True))
        packed = (ctypes.c_int64 * len(converters))(*words)
        address = ctypes.addressof(packed)
        count = min(parts, getattr(_thread, "limit", 0) or torch.get_num_threads())
        if count > 1:
            _start_threads()(compiled.code.address, address, count)
        else:
            compiled.code.ctypes(address)

    return run


def compile_kernel(name: str) -> None:
    """Compile a kernel, or load it from the cache, without running it.

    Args:
        name: Full name of the kernel, for example "allyouneed.kernels.dropout._drop".
    """
    _ = _find(name).code


def load_kernel(name: str) -> bool:
    """Load a kernel from the cache; return whether it was there."""
    return _find(name).load()


def is_stored(name: str) -> bool:
    """Return whether the cache has a kernel, which is compiled if it is not."""
    return _find(name).code.is_stored


def _find(name: str) -> _Kernel:
    module, _, own_name = name.rpartition(".")
    body = getattr(import_module(module), own_name)
    if name not in _kernels:  # as in `segmentation.py`
        kernel(body)
    return _kernels[name]


class _Kernel:
    """A kernel that is compiled, or loaded from the cache, when it is first needed."""

    def __init__(self, body: Callable[..., None], arguments: RecordType):
        self._body, self._arguments = body, arguments
        self._code: _Code | None = None

    @property
    def code(self) -> _Code:
        """The compiled C function, which takes the address of a kernel's arguments."""
        if self._code is None:
            with _compiling:  # otherwise two threads may compile it, and one copy would be freed while it runs
                if self._code is None:
                    self._code = _Code(_loop(self._body, self._arguments))
        return self._code

    def load(self) -> bool:
        """Load the kernel from the cache; return whether it is loaded."""
        with _compiling:
            if self._code is None:
                self._code = _load(_loop(self._body, self._arguments))
        return self._code is not None


def _arguments(body: Callable[..., None]) -> RecordType:
    """Make the record type of a kernel's arguments; its first fields are the next part and the number of parts."""
    parameters = list(inspect.signature(body, eval_str=True).parameters.values())[1:]
    fields = {parameter.name: numba_type(parameter.annotation) for parameter in parameters}
    return RecordType(f"{body.__name__}_arguments", {"next_part_": types.int64, "parts_": types.int64, **fields})


def _loop(body: Callable[..., None], arguments: RecordType) -> Callable[[int], None]:
    """Make the loop over parts, a function that takes the address of a kernel's arguments.

    The loop is generated as text, with the kernel among its globals. In a closure, the kernel would be part of Numba's
    cache key, and a compiled kernel never compares equal to an earlier one.
    """
    values = ", ".join(f"arguments.{field}" for field in list(arguments.fields)[2:])
    text = f"""
def {body.__name__}(address):
    arguments = view(address)
    part = fetch_and_increment(address)
    while part < arguments.parts_:
        body(part, {values})
        part = fetch_and_increment(address)
"""
    known = {
        "__name__": body.__module__,
        "body": kernel_function(body),
        "view": reinterpret(types.int64, arguments),
        "fetch_and_increment": fetch_and_increment,
    }
    exec(compile(text, inspect.getfile(body), "exec"), known)
    loop: Callable[[int], None] = known[body.__name__]
    loop.__qualname__ = body.__qualname__  # names its file, see `storage.py`
    return loop


class _Code(CFunc):
    """The C function of a loop."""

    def __init__(self, loop: Callable[[int], None], may_compile: bool = True):
        signature = normalize_signature(types.void(types.int64))
        super().__init__(loop, signature, locals={}, options={}, pipeline_class=KernelCompiler)
        if folder := disk_cache.folder():
            self._cache = Storage(loop, folder, may_compile)
        self.compile()

    @property
    def is_stored(self) -> bool:
        """Whether later processes find this code on disk."""
        return isinstance(self._cache, Storage) and self._cache.holds


def _load(loop: Callable[[int], None]) -> _Code | None:
    """Load a kernel from the cache, if it is there."""
    if disk_cache.folder() is None:
        return None
    try:
        return _Code(loop, may_compile=False)
    except Missing:
        return None


@cache
def _start_threads() -> Callable[..., None]:
    """Return a function (function, argument, threads) that calls a compiled function on several threads.

    It is GOMP_parallel of the libgomp that PyTorch uses, if it uses one.
    """
    library = None if capabilities.openmp_fails() else _libgomp()
    if library is None:
        return _start_python_threads
    start = ctypes.CDLL(library).GOMP_parallel
    start.argtypes, start.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return lambda function, argument, threads: start(function, argument, threads, 0)


def _start_python_threads(function: int, argument: int, threads: int) -> None:
    """Call a compiled function, which releases the GIL, on this thread and others; it returns once no part is left."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64)(function)
    pool = _pool()
    others = [pool.submit(call, argument) for _ in range(threads - 1)] if pool else []
    call(argument)
    for other in others:
        if not other.cancel():  # it has started
            other.result()


@cache
def _pool() -> ThreadPoolExecutor | None:
    """Return a pool whose threads are all running, or None if the system does not allow as many."""
    count, ready = os.cpu_count() or 1, threading.Event()
    pool = ThreadPoolExecutor(count, "kernel")
    try:
        for _ in range(count):
            pool.submit(ready.wait)
    except RuntimeError:
        return None
    finally:
        ready.set()
    return pool


def _libgomp() -> str | None:
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            loaded = {line.split(maxsplit=5)[-1].strip() for line in maps if "libgomp" in line}
    except OSError:
        return None
    return _of_torch(loaded, Path(torch.__file__).resolve().parents[1])


def _of_torch(loaded: set[str], packages: Path) -> str | None:
    """Select PyTorch's copy of a library, in `torch` or `torch.libs`, or the only copy that is loaded.

    Other packages ship copies too; the path of site-packages may contain "torch" as well.
    """
    paths = [path for path in loaded if Path(path).is_relative_to(packages)]
    of_torch = [path for path in paths if Path(path).relative_to(packages).parts[0] in ("torch", "torch.libs")]
    candidates = of_torch or list(loaded)
    return candidates[0] if len(candidates) == 1 else None
