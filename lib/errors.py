"""The one exception whose message is meant for the person at the shell."""

MAX_MESSAGE, TAIL = 1600, 400  # characters; of a longer message the start and this end are shown


class UserError(Exception):
    """Bad input, a bad setting or a stale artifact.

    The message is one line that names the file, the place and the remedy. `lib.cli` prints it
    without a traceback and exits with status 2.
    """


class BeingBuilt(UserError):
    """Another process is building the same artifact."""


def one_line(text: str) -> str:
    """A message as it is shown: one line without control characters, cut in its middle if long.

    Names of files, columns and categories come from catalogs. Their bytes must neither move the
    cursor of a terminal nor look like another line of a log.
    """
    line = printable(" ".join(text.split()))
    if len(line) > MAX_MESSAGE:
        line = f"{line[: MAX_MESSAGE - TAIL]} ... {line[-TAIL:]}"
    return line


def printable(text: str) -> str:
    """A text of one or more lines, with escapes in place of other control characters."""
    if text.isprintable():
        return text
    kept = (
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )
    return "".join(kept)
