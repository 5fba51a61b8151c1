"""The one exception whose message is meant for the person at the shell."""


class UserError(Exception):
    """Bad input, a bad setting or a stale artifact.

    The message is one line that names the file, the place and the remedy. `lib.cli` prints it
    without a traceback and exits with status 2.
    """
