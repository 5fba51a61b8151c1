"""Errors of files and disks that their owner can mend, as lines for the user."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.utils.exception_chain import exception_chain

FULL = {errno.ENOSPC, errno.EDQUOT}
# Rights, a read-only or failing disk, limits, a file where a folder should be.
BLAMED = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE),
    *(errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
}
REMEDIES = {
    errno.EMFILE: "allow more open files (ulimit -n)",
    errno.EFBIG: "allow larger files (ulimit -f)",
}
MIN_FREE_BYTES = 8 << 20  # with less than this left, a failed write means a full disk


def explain_disk_error(error: BaseException, folder: Path) -> str | None:
    """What is wrong with a file or disk and what to do, in one line; None for other errors.

    folder: of the experiment, for an error that names no file.
    """
    cause = find_os_error(error)
    if is_disk_full(cause or error, folder):
        return f"{folder}: no space left on the disk; free some"
    if cause is None:
        return None
    remedy = REMEDIES.get(cause.errno or 0, "mend that")
    return f"{cause.filename or folder}: {cause.strerror or 'cannot be written'}; {remedy}"


def find_os_error(error: BaseException | None) -> OSError | None:
    """The error of a file or disk that an exception was raised from, or while handling it.

    Libraries turn a failed write into errors of their own.
    """
    for cause in exception_chain(error):
        if isinstance(cause, OSError) and (cause.errno in BLAMED | FULL or _is_short_write(cause)):
            return cause
    return None


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether an error came from the lack of space on the disk of a folder."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    if not isinstance(error, Exception):
        return False
    # Several libraries report it in words of their own, so look at the disk itself.
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free < MIN_FREE_BYTES


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of files that name none get this path: a failed read or write knows no name."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def _is_short_write(error: OSError) -> bool:
    """numpy says "5 requested and 0 written", without a number."""
    return error.errno is None and "requested and" in str(error.args)
