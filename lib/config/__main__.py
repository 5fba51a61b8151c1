"""Print the reference of all settings, or of one.

python -m lib.config                       # all
python -m lib.config train.lr              # one key, or one table such as stack
python -m lib.config --markdown > docs/settings.md
"""

import argparse
import contextlib
import os
import sys

from lib.config import reference
from lib.errors import UserError


def main() -> int:
    """Print what is asked for; exit status 2 and one line on stderr for an unknown key."""
    parser = argparse.ArgumentParser(
        prog="python -m lib.config", description=__doc__.split("\n")[0]
    )
    parser.add_argument("key", nargs="?", default="", metavar="KEY", help="a key or a table")
    parser.add_argument("--markdown", action="store_true", help="the text of docs/settings.md")
    arguments = parser.parse_args()
    try:
        text = reference.markdown() if arguments.markdown else reference.describe(arguments.key)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with contextlib.suppress(BrokenPipeError):  # `| head` has read enough
        sys.stdout.write(text.rstrip("\n") + "\n")
        sys.stdout.flush()
        return 0
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
