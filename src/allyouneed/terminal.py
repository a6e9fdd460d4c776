"""What every verb needs of the terminal: where messages go, how a command is typed, and how it ends."""

from __future__ import annotations

import errno
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED, _USER_MISTAKE = 130, 2  # exit codes
_ONE_OR_TWO_FILES = ("--train", "--valid", "--test")

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.NAME=VALUE", help="Overrides any setting. May be given several times."),
]


def completing(*values: str) -> Callable[[], list[str]]:
    """Make the `autocompletion` of an option from its values; typed values are still checked by the command."""
    return lambda: list(values)


Device = Annotated[
    str,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda or auto (CUDA if there is a GPU).",
        autocompletion=completing("auto", "cpu", "cuda"),
        rich_help_panel="Speed",
    ),
]
ComputeType = Annotated[
    str,
    typer.Option(
        metavar="TYPE",
        help="float32, or int8 (faster; CPUs with AVX-512 VNNI).",
        autocompletion=completing("float32", "int8"),
        rich_help_panel="Speed",
    ),
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


def run_app(app: typer.Typer, mistake: type[Exception]) -> NoReturn:
    """Runs the verb of the command line and ends the process: mistakes become one line and an exit code.

    mistake: what a verb raises when its user can mend it.
    """
    open_closed_streams()
    if isinstance(sys.stdout, TextIOWrapper):  # a letter that the terminal does not know is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(args=spread(sys.argv[1:]), standalone_mode=False)
        sys.stdout.flush()
    except mistake as error:
        code = _mistake(str(error))
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output left
        code = 1
    except OSError as error:
        code = _mistake(_refusal(error))
    except Exception as error:
        explain = getattr(error, "format_message", None)  # click's own: unknown option, missing argument
        if explain is None:
            raise
        code = _misuse(explain(), getattr(getattr(error, "ctx", None), "command_path", "allyouneed"))
    if code == INTERRUPTED:  # what Typer makes of Ctrl-C
        say("interrupted")
    _forget_unwritten()
    sys.exit(code or 0)


def _forget_unwritten() -> None:
    """What standard output would not take: Python would try once more at its end, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _misuse(message: str, command: str) -> int:
    """command: as far as it was understood, `allyouneed translate`. Without a verb click's message is its help."""
    if message.startswith("Usage: "):
        say(message)
        return _USER_MISTAKE
    end = "" if message.endswith((".", "?")) else "."
    return _mistake(f"{message}{end} See {command} --help.") if message else _USER_MISTAKE


def _refusal(error: OSError) -> str:
    """The system's own words, but where the caller closed standard output, which it calls a bad file descriptor."""
    if error.errno == errno.EBADF and error.filename is None:
        return "standard output is closed: write to a file or a pipe."
    return f"{error.filename or 'input or output'}: {(error.strerror or str(error)).lower()}."


def _mistake(message: str) -> int:
    say(f"error: {message}")
    return _USER_MISTAKE
