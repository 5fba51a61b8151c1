"""Write files so that a crash leaves the old file or the new one, never half of one."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; fsync it and rename it over `path` on success.

    One process at a time may write a path: a kill leaves a temporary file, which the next takes.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    yield temporary
    fsync(temporary)
    temporary.replace(path)
    fsync(path.parent)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """An advisory lock that ends with its process, so that kill -9 leaves nothing to clear.

    path: of a file that is made for it, and stays. Raises BlockingIOError if another process has
    the lock, and OSError for a folder or a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW)) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, atomically. Raises TypeError for what JSON cannot hold."""
    text = json.dumps(value, indent=1)
    with atomic_write(path) as temporary:
        temporary.write_text(text + "\n")


def fsync(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
