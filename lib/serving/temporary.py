"""A folder in memory that a process deletes at its end, or the next one if it was killed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.utils.files import file_lock

FAST = Path("/dev/shm")  # memory, where the machine has it as a folder
PREFIX, LOCK = "predictor-", "alive.lock"


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder for temporary files. Folders of processes that were killed are deleted first.

    parent: memory by default, or the folder of the system for such files. A lock in each folder
    says that its process is alive: what kill -9 leaves would fill the memory.
    """
    if parent is None:
        parent = FAST if FAST.is_dir() else Path(tempfile.gettempdir())
    for lock in parent.glob(f"{PREFIX}*/{LOCK}"):
        with suppress(OSError), file_lock(lock):
            shutil.rmtree(lock.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        with file_lock(folder / LOCK):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
