"""Public names of a package that are imported on first use (PEP 562).

`import allyouneed` and `allyouneed --help` must not load PyTorch or Numba, which take seconds. A package lists its
public names here instead of importing them; callers write `from allyouneed import training` and `training.train(...)`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType

_exclusion = False  # of imported objects from garbage collection


def attach(package: str, names: Mapping[str, str], submodules: Iterable[str] = ()) -> Callable[[str], object]:
    """Make the `__getattr__` of a package's `__init__.py`.

    Args:
        package: The package's `__name__`.
        names: For each public name, the module that defines it.
        submodules: Submodules to import on first access as attributes.

    Returns:
        The module-level `__getattr__`, which returns the value of an attribute.
    """
    modules = frozenset(submodules)

    def get(name: str) -> object:
        if name in names:
            with _without_collection():
                return getattr(import_module(names[name]), name)
        if name in modules:
            with _without_collection():
                return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


def exclude_from_collection() -> None:
    """Exclude what is imported on first use from garbage collection, in a program that has the process to itself.

    The million objects of PyTorch and Numba live until its end, and collections would go through them repeatedly.
    """
    global _exclusion
    _exclusion = True


def defer(name: str) -> None:
    """Load a package when one of its attributes is first used, in a program that has the process to itself.

    `import torch` then takes no time, so that a command starts other processes before it loads PyTorch, and these
    compile kernels without it. `from torch import ...` loads it. To be called before threads are started.
    """
    if name not in sys.modules and (spec := find_spec(name)):
        package = _Deferred(name)
        package.__spec__, package.__file__ = spec, spec.origin
        sys.modules[name] = package


class _Deferred(ModuleType):
    """A package that is not loaded. `importlib.util.LazyLoader` would load it at once: `import` reads `__spec__`."""

    def __getattr__(self, attribute: str) -> object:
        """Load the package, since it has no attributes yet."""
        name, spec = self.__name__, self.__spec__
        if spec is None or spec.loader is None:
            raise ImportError(f"{name} cannot be loaded")
        self.__class__ = ModuleType  # type: ignore[assignment]
        self.__dict__.update(module_from_spec(spec).__dict__)
        try:
            spec.loader.exec_module(self)
        except BaseException:
            del sys.modules[name]
            raise
        return getattr(self, attribute)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause garbage collection, which finds next to nothing while modules are loaded and takes a fifth of the time."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        if _exclusion and is_enabled:
            gc.freeze()
    finally:
        if is_enabled:
            gc.enable()
