"""The exception for mistakes that the user can correct."""


class UserError(Exception):
    """Something the user provided is wrong.

    The message is one line: what is wrong, where (file and line), and what to do. The command line prints it without a
    traceback and exits with code 2.
    """
