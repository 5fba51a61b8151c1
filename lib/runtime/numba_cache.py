"""The cache of compiled loops, which numba keeps beside the modules or in the user's folder."""

import os
import tempfile
import traceback
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
VARIABLE = "NUMBA_CACHE_DIR"


def use_writable_cache() -> None:
    """Give numba a folder of this run alone if neither of its own two can be written.

    Otherwise it refuses to compile. A folder that stays could be filled by another user with code
    of theirs. Call it before numba is imported.
    """
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if VARIABLE not in os.environ and not (_can_write(PACKAGE) or _can_write(home)):
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="numba-")


def explain_damaged_cache(error: BaseException) -> str | None:
    """A line for an error that reading the cache ended in; None for other errors.

    The exception may come from another process, with its traceback as text.
    """
    if "numba/core/caching.py" not in "".join(traceback.format_exception(error)):
        return None
    folder = os.environ.get(VARIABLE, str(PACKAGE))
    return (
        "the cache of compiled code is damaged;"
        f" delete it with: find {folder} -name '*.nb[ic]' -delete;"
    )


def _can_write(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
