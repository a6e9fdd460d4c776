"""Loading of the module that `allyouneed verify FILE.py:NAME` names. The file is user code, and is executed."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from allyouneed.errors import UserError


def load_file(path: Path, debug: bool = False) -> ModuleType:
    """Execute a Python file as a module; files beside it can be imported.

    Args:
        path: The file.
        debug: Let errors of the file pass with their traceback.

    Returns:
        The module.

    Raises:
        UserError: If the file does not exist, or raises an error.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give FILE.py:NAME.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a Python file. Give FILE.py:NAME.")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        if debug:
            raise
        raise UserError(f"{path}{_line(error, path)}: {_words(error)}. Use --debug for the traceback.") from error
    finally:
        sys.path.remove(str(path.parent.resolve()))
    return module


def get_name(module: ModuleType, name: str) -> Any:
    """Return an attribute of a loaded file; NAME may have dots.

    Raises:
        UserError: If there is no such name.
    """
    value: Any = module
    for part in name.split("."):
        if not hasattr(value, part):
            names = ", ".join(n for n, x in vars(module).items() if callable(x) and not n.startswith("_"))
            raise UserError(f"{module.__file__} has no {name}. It defines {names or 'nothing callable'}.")
        value = getattr(value, part)
    return value


def split_target(target: str) -> tuple[Path, str]:
    """Split FILE.py:NAME.

    Raises:
        UserError: If a part is missing.
    """
    file, _, name = target.rpartition(":")
    if not file or not name:
        raise UserError(f"{target}: give FILE.py:NAME, the file and the name of the module, class or function in it.")
    return Path(file), name


def _line(error: BaseException, path: Path) -> str:
    """Return ", line N" of the last frame in the file."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno}"
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    return f", line {lines[-1]}" if lines else ""


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(".")
