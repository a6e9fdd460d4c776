"""Public names of a package that are imported on first use (PEP 562).

`import allyouneed` and `allyouneed --help` must not load PyTorch or Numba, which take seconds. A package lists its
public names here instead of importing them; callers write `from allyouneed import training` and `training.train(...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


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
            return getattr(import_module(names[name]), name)
        if name in modules:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
