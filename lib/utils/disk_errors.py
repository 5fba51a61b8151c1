"""Errors of files and disks that their owner can mend, as lines for the user."""

import errno
import shutil
from pathlib import Path

# Rights, a read-only or failing disk, a limit of the size, a file where a folder should be.
BLAMED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}
MIN_FREE_BYTES = 8 << 20  # with less than this left, a failed write means a full disk


def blame(error: Exception) -> str | None:
    """The file that an error names and what is wrong with it; None for other errors."""
    if isinstance(error, OSError) and error.errno in BLAMED and error.filename:
        return f"{error.filename}: {error.strerror}"
    return None


def is_disk_full(error: Exception, folder: Path) -> bool:
    """Whether an error came from the lack of space on the disk of a folder."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # Several libraries report it in words of their own, so look at the disk itself.
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free < MIN_FREE_BYTES
