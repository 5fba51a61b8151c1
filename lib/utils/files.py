"""Write files so that a crash leaves the old file or the new one, never half of one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path, shared: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; fsync it and rename it over `path` on success.

    shared: other processes may write the file at the same time; the last one wins.
    """
    temporary = path.with_name(f".{path.name}{f'.{os.getpid()}' if shared else ''}.tmp")
    yield temporary
    fsync(temporary)
    temporary.replace(path)
    fsync(path.parent)


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
