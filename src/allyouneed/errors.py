"""The exceptions for errors that the user can correct."""

_LONGEST = 2000  # characters of a message, which may have names from files of other people


class UserError(Exception):
    """Error in the user's input.

    The message is one line: what is wrong, where (file and line), and what to do. The command line prints it without a
    traceback and exits with code 2.

    Attributes:
        exit_code: Exit code of the command line.
        is_reported: Whether another process of the same run prints the message; None if that was not decided.
    """

    exit_code: int = 2
    is_reported: bool | None = None

    def __str__(self) -> str:
        message = super().__str__()
        half = _LONGEST // 2 - 5
        return message if len(message) <= _LONGEST else f"{message[:half]} ... {message[-half:]}"


class DamagedFile(UserError):
    """A file that is missing, truncated or changed since it was written; not one that the system could not read."""
