"""The exceptions for errors that the user can correct."""


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


class DamagedFile(UserError):
    """A file that is missing, truncated or changed since it was written; not one that the system could not read."""
