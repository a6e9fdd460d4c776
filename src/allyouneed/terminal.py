"""What every verb needs of the terminal: where messages go, and how a command is typed."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED = 130  # exit code
_ONE_OR_TWO_FILES = ("--train", "--valid", "--test")

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.NAME=VALUE", help="Overrides any setting. May be given several times."),
]


Given = TypeVar("Given", str, list[str] | None)


def text(given: Given) -> Given:
    """For what a model is to read: bytes that are no UTF-8 are a mistake there, as they are not in a path."""
    try:
        for each in [given] if isinstance(given, str) else given or []:
            each.encode("utf-8")
    except UnicodeEncodeError:
        raise typer.BadParameter("it is not UTF-8") from None
    return given


def finite(given: float | None) -> float | None:
    """For minutes, penalties and the like: bounds may let `nan` pass, and one bound alone lets `inf`."""
    if given is not None and not math.isfinite(given):
        raise typer.BadParameter("it is not a finite number")
    return given


@contextmanager
def saying_how_to_go_on() -> Iterator[None]:
    """Ctrl-C, in the middle of whatever it was, ends with the command that goes on."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; what is done is saved. Go on with the same command:\n  {shlex.join([program(), *sys.argv[1:]])}")
        raise SystemExit(INTERRUPTED) from None  # not typer.Exit: of that `main` says once more what it was


def spread(arguments: list[str]) -> list[str]:
    """`--train A B` as `--train A --train B`, since an option of click has a fixed number of values. `--` ends
    options."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    single, name, values = [], None, 0
    for argument in arguments[:end]:
        if argument.startswith("-") and argument != "-":
            name, values = (argument, 0) if argument in _ONE_OR_TWO_FILES else (None, 0)
        elif name is not None:
            values += 1
            if values == 2:
                single.append(name)
            elif values > 2:
                name = None
        single.append(argument)
    return [*single, *arguments[end:]]


def console() -> Console:
    """For what is said while the work goes on: standard error, so that standard output has results alone.

    Paths and text are shown as they are: no [markup], no :pictures:.
    """
    from rich.console import Console

    return Console(stderr=True, markup=False, emoji=False)


def open_closed_streams() -> None:
    """What the caller closed (`>&-`) is None to Python, and its number would go to the next file that is opened.

    Standard error then goes nowhere, the system refuses to write on standard output, and standard input stays None.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if name != "stdin":
                setattr(sys, name, open(opened, "w", encoding="utf-8"))  # noqa: SIM115


def say(line: str) -> None:
    """On standard error, at once."""
    print(line, file=sys.stderr, flush=True)


def program() -> str:
    """What the user has to type for `allyouneed`."""
    if shutil.which("allyouneed"):
        return "allyouneed"
    if Path(sys.argv[0]).name == "allyouneed":  # called by its path, the environment not being active
        return shlex.quote(os.path.relpath(sys.argv[0]))
    return shlex.join([sys.executable, "-m", "allyouneed"])
