"""The folder of compiled kernels, and what they were compiled from.

This module does not import Numba, which takes longer than to find out that all kernels are compiled.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PACKAGE = Path(__file__).parents[1]
_COMPILED = (_PACKAGE / "kernels", _PACKAGE / "translation" / "engine")  # folders with kernels
_IMPORT = re.compile(r"^from allyouneed(\S*) import (\([^)]*\)|.*)", re.MULTILINE)
_TARGET = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX", "NUMBA_OPT")  # what Numba compiles for
ENDING = ".kernel"  # of the name of a file with a compiled kernel
_COMPLETE = "complete-"  # part of the name of a file that marks a complete cache or group of kernels


@cache
def folder() -> Path | None:
    """Return the folder of compiled kernels, or None if none can be written.

    It is in `NUMBA_CACHE_DIR` if that is set, else next to the sources, else in the user's cache. A folder that has
    all kernels may be read-only.
    """
    own = f"allyouneed-{_hash(str(_PACKAGE).encode())}"
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        candidates = [Path(given) / own]
    else:
        candidates = [_PACKAGE / "kernels" / "__pycache__", *(place / own for place in _user_caches())]
    complete = [each for each in candidates if _has_files(each / _mark())]
    return next(iter(complete), None) or next(filter(_can_write, candidates), None)


def is_complete(group: str = "") -> bool:
    """Return whether the folder has every kernel, compiled from these sources for this processor.

    Args:
        group: A group of kernels of `names.py`. By default all.
    """
    found = folder()
    return found is not None and any(_has_files(found / mark) for mark in {_mark(), _mark(group)})


def _has_files(mark: Path) -> bool:
    """Return whether the files that a mark lists exist."""
    try:
        names = mark.read_text("utf-8").split()
    except OSError:
        return False
    return bool(names) and all(os.path.exists(mark.with_name(name)) for name in names)


def mark_complete(group: str = "") -> None:
    """Record that the folder has every kernel.

    Args:
        group: A group of kernels of `names.py`, if the folder has not all.
    """
    found = folder()
    if found is None or is_complete(group):
        return
    mark = _mark(group)
    with suppress(OSError):
        for stale in found.glob(f"{mark.partition(_COMPLETE)[0]}{_COMPLETE}*"):
            stale.unlink()
        (found / mark).write_text("\n".join(sorted(file.name for file in found.glob(f"*{ENDING}"))), "utf-8")


@contextmanager
def locked(on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Wait until no other process fills the folder.

    Args:
        on_wait: Called if one does.
    """
    found = folder()
    if found is None or sys.platform == "win32" or not os.access(found, os.W_OK):
        yield
        return
    with open(found / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def sources_hash(path: Path) -> str:
    """Hash a file with kernels and everything that may be compiled into them."""
    return _hash(*(file.read_bytes() for file in sorted(sources(path))))


def sources(path: Path) -> set[Path]:
    """Return a file, and the files of kernels that it imports, directly or indirectly."""
    found, pending = set[Path](), [path]
    while pending:
        if (file := pending.pop()) not in found:
            found.add(file)
            pending += [other for other in _imported(file.read_text("utf-8")) if other.parent in _COMPILED]
    return found


def _imported(text: str) -> Iterator[Path]:
    """Return the files of the package that a source may import."""
    for module, names in _IMPORT.findall(text):
        place = _PACKAGE.joinpath(*module.split(".")[1:])
        for each in (place, *(place / name for name in re.findall(r"\w+", names))):
            for file in (each.with_suffix(".py"), each / "__init__.py"):
                if file.is_file():
                    yield file


def key(path: Path) -> str:
    """Hash what a file with kernels is compiled from and with, and the processor that it is compiled for."""
    return _hash(sources_hash(path).encode(), _environment())


@cache
def _mark(group: str = "") -> str:
    """Return the name of the file that marks a complete cache, which depends on all that compilation depends on."""
    sources = [file.read_bytes() for place in _COMPILED for file in sorted(place.glob("*.py"))]
    return f"{group and group + '-'}{_COMPLETE}{_hash(*sources, _environment())}"


def _environment() -> bytes:
    target = [platform.machine(), _processor(), *(os.environ.get(name, "") for name in _TARGET)]
    versions = [sys.implementation.cache_tag, version("numba"), version("llvmlite")]
    return repr([*target, *versions]).encode()


@cache
def processor_name() -> str:
    """Return the processor's name and a hash of its instruction sets, since clouds give one name to several."""
    text = _processor()
    names = (line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
    return f"{next(names, platform.machine())} {_hash(text.encode())[:8]}"


def lists_instructions(name: str) -> bool:
    """Return whether the operating system lists instructions of this name, whatever kernels are compiled for."""
    return name in _processor().split()


def _processor() -> str:
    """Return the model and the instruction sets of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return platform.processor()
    return "\n".join(line for line in text.splitlines() if line.startswith(("model", "flags", "Features", "CPU")))


def _user_caches() -> list[Path]:
    """Return the folder of the user's caches; none for a user without a home."""
    place = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return [] if place.startswith("~") else [Path(place)]


def _can_write(place: Path) -> bool:
    with suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
    return os.access(place, os.W_OK | os.X_OK)


def _hash(*contents: bytes) -> str:
    return sha256(b"\0".join(contents)).hexdigest()[:16]
