"""The one exception for what a user can mend."""


class UserError(Exception):
    """Something the user gave is wrong. The message is one line: what, where (file and line), and the remedy.

    The command line prints it without a traceback and leaves with exit code 2.
    """
