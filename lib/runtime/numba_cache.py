"""The cache of compiled loops, which numba keeps beside the modules or in the user's folder."""

import os
import tempfile
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


def _can_write(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
