"""Terminal handling shared by all commands: messages, option parsing, exit codes."""

from __future__ import annotations

import atexit
import errno
import math
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from allyouneed import lazy
from allyouneed.interruption import Interrupted, exit_now, ignoring_closed_terminal, raising_interrupts
from allyouneed.suggest import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

INTERRUPTED, _MISTAKE = 130, 2  # exit codes; 130 is that of Ctrl-C
_SEPARATOR = "\0"  # between the files of a group in the value of an option; no path contains it
_CORPORA, _FILES = ("--train", "--valid"), ("--test", "--tokenizer")  # options with one or two values
_WITHOUT_ARGUMENTS = ("train", "clean")  # commands
_SEVERAL_REFERENCES = ("evaluate", "compare")  # commands


def completing(*values: str) -> Callable[[], list[str]]:
    """Make an option's `autocompletion` from its values; the command still validates the typed value."""
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

TextOption = TypeVar("TextOption", str, list[str] | None)


def text(value: TextOption) -> TextOption:
    """Reject option values that are not valid UTF-8, which is required for text but not for paths."""
    try:
        for each in [value] if isinstance(value, str) else value or []:
            each.encode("utf-8")
    except UnicodeEncodeError:
        raise typer.BadParameter("not valid UTF-8") from None
    return value


def finite(value: float | None) -> float | None:
    """Reject `nan` and `inf`, which Typer's bounds may accept."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter("not a finite number")
    return value


@contextmanager
def resume_hint() -> Iterator[None]:
    """On Ctrl-C, SIGTERM and SIGHUP print the command that resumes the work, and exit with code 130, 143 or 129."""
    try:
        with raising_interrupts():
            yield
    except KeyboardInterrupt as error:
        interrupted = error if isinstance(error, Interrupted) else Interrupted()
        command = f"{program()} {shlex.join(sys.argv[1:])}"
        message = interrupted.message or f"{interrupted}; progress is saved"
        if "WORLD_SIZE" not in os.environ or os.environ.get("RANK") == "0":  # torchrun passes signals to all processes
            say(f"{message}. To resume, run the same command again:\n  {command}")
        exit_now(interrupted.exit_code)  # with typer.Exit, `run_app` would print "interrupted" again


class FileGroup(tuple[Path, ...]):
    """Files that an option takes as a unit: two parallel files, or any number of files with both sides."""


def file_group(value: str) -> FileGroup:
    """Parse the value of an option as `expand_options` joins it."""
    return FileGroup(map(Path, value.split(_SEPARATOR)))


def expand_options(arguments: list[str]) -> list[str]:
    """Rewrite options with one or two values, because click's options take a fixed number of values.

    `--test A B` becomes `--test A --test B`. Of `--train A B --train C`, which are two corpora, each becomes one value,
    as `file_group` reads it; a corpus may have more files. Arguments after `--` are left unchanged.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    single: list[str] = []
    name, values = None, 0
    for argument in arguments[:end]:
        if argument.startswith("-") and argument != "-":
            name, values = (argument, 0) if argument in (*_CORPORA, *_FILES) else (None, 0)
        elif name is not None:
            values += 1
            if name in _CORPORA and (values == 2 or (values > 2 and _is_more_text(arguments[0], argument))):
                single[-1] += f"{_SEPARATOR}{argument}"
                continue
            if values == 2 or (values > 2 and _is_reference(arguments[0], name, argument)):
                single.append(name)
            elif values > 2:
                name = None
        single.append(argument)
    return [*single, *arguments[end:]]


def _is_more_text(command: str, value: str) -> bool:
    """Return whether a third or later value of --train or --valid belongs to it: elsewhere, an argument may follow."""
    return command in _WITHOUT_ARGUMENTS or Path(value).is_file()


def _is_reference(command: str, option: str, value: str) -> bool:
    """Return whether a third or later value of --test is another reference: a file, where several are possible."""
    return option == "--test" and command in _SEVERAL_REFERENCES and Path(value).is_file()


def console() -> Console:
    """Return a console on standard error, for progress; standard output is for results.

    Paths and text are printed verbatim: no rich markup, no emoji codes.
    """
    from rich.console import Console  # imported here, so that commands such as `allyouneed --version` do not load rich

    return Console(stderr=True, markup=False, emoji=False)


def open_closed_streams() -> None:
    """Reopen standard streams that the caller closed (`>&-`), so that their descriptors are not reused.

    Output to a closed standard error is discarded, writing to a closed standard output fails, and a closed standard
    input remains None.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            if name != "stdin":
                setattr(sys, name, open(opened, "w", encoding="utf-8"))  # noqa: SIM115


def say(line: str) -> None:
    """Print a message to standard error, unbuffered; a terminal that was closed is ignored.

    `print` writes the newline separately, so the output of another thread could be inserted before it.
    """
    with ignoring_closed_terminal():
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def program() -> str:
    """Return the program's name as the user has to type it, quoted for the shell."""
    if shutil.which("allyouneed"):
        return "allyouneed"
    if Path(sys.argv[0]).name == "allyouneed":  # called by path: the environment is not active
        return shlex.quote(os.path.relpath(sys.argv[0]))
    return shlex.join([sys.executable, "-m", "allyouneed"])


def run_app(app: typer.Typer, mistake: type[Exception]) -> NoReturn:
    """Run the command that the user typed, and exit the process.

    Args:
        app: The command-line application.
        mistake: Exception for user errors, which are printed as one line, with exit code 2.
    """
    open_closed_streams()
    lazy.exclude_from_collection()
    lazy.defer("torch")
    end = _QuickEnd()
    atexit.register(end)  # first, and therefore called last
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"  # one line, without the line of the source
    if isinstance(sys.stdout, TextIOWrapper):  # the encoding may not support every character
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = app(args=expand_options(sys.argv[1:]), standalone_mode=False)
        sys.stdout.flush()
    except mistake as error:
        if not getattr(error, "is_reported", False):  # another process of the run prints it
            _user_mistake(str(error))
        code = getattr(error, "exit_code", _MISTAKE)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of the output exited
        code = 1
    except OSError as error:
        code = _user_mistake(_describe(error))
    except Exception as error:
        format_message = getattr(error, "format_message", None)  # click's usage errors
        if format_message is None:
            raise
        message = _unknown_option(error) or format_message()
        code = _usage_error(message, getattr(getattr(error, "ctx", None), "command_path", "allyouneed"))
    if code == INTERRUPTED:  # Typer's exit code for Ctrl-C
        say("interrupted")
    _discard_unwritten()
    end.code = code or 0
    sys.exit(end.code)


class _QuickEnd:
    """Ends the process without freeing all objects of its modules one by one, which takes PyTorch half a second.

    Attributes:
        code: Exit code; None if the program ends in another way, for which nothing is done.
    """

    code: int | None = None

    def __call__(self) -> None:
        if self.code is not None:
            with suppress(OSError, ValueError):  # closed streams
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(self.code)


def _discard_unwritten() -> None:
    """Discard buffered output that cannot be written, so that Python does not report it again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _unknown_option(error: Exception) -> str | None:
    """Describe click's `NoSuchOption`, which Typer has a copy of; return None for any other error."""
    if type(error).__name__ != "NoSuchOption":
        return None
    name, context = getattr(error, "option_name", ""), getattr(error, "ctx", None)
    known = [flag for each in context.command.get_params(context) for flag in each.opts] if context else []
    return f"there is no option {name!r}{did_you_mean(name, (flag for flag in known if flag.startswith('--')))}"


def _usage_error(message: str, command: str) -> int:
    """Report a usage error of a command such as `allyouneed translate`; a message may be click's usage text."""
    if message.startswith("Usage: "):
        say(message)
        return _MISTAKE
    end = "" if message.endswith((".", "?")) else "."
    return _user_mistake(f"{message}{end} See {command} --help.") if message else _MISTAKE


def _describe(error: OSError) -> str:
    """Describe an operating system error; for a closed standard output, the system reports "bad file descriptor"."""
    if error.errno == errno.EBADF and error.filename is None:
        return "standard output is closed: write to a file or a pipe."
    return f"{error.filename or 'input or output'}: {(error.strerror or str(error)).lower()}."


def _user_mistake(message: str) -> int:
    say(f"error: {message}")
    return _MISTAKE
