"""The cache of compiled loops, which numba keeps beside the modules or in the user's folder."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
VARIABLE = "NUMBA_CACHE_DIR"


def use_writable_cache() -> None:
    """Give numba a folder of this run alone if neither of its own two can be written.

    Otherwise it refuses to compile. A folder that stays could be filled by another user with code
    of theirs. Call it before numba is imported.
    """
    if VARIABLE in os.environ or _can_write(PACKAGE) or any(map(_can_write, _user_folders())):
        return
    folder = os.environ[VARIABLE] = tempfile.mkdtemp(prefix="numba-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def _user_folders() -> list[Path]:
    """The user's folder of caches; none for a user without a home, as in many containers."""
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return [Path(folder)]
    try:
        return [Path.home() / ".cache"]
    except RuntimeError:
        return []


def _can_write(folder: Path) -> bool:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK)
