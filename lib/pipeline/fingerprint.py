"""Fingerprints: notice that a file or folder of the user changed, without reading all of it."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path

from lib.errors import UserError

SAMPLE_BYTES = 1 << 20  # bytes of each sample


@cache
def fingerprint(path: Path) -> str:
    """Size and SHA-256 of three samples of a file: its start, middle and end.

    58 GB cannot be hashed at every start. A change of size, head or tail is noticed; a byte changed
    in place elsewhere is not. For a folder: the names and sizes of its files, none of their bytes.
    Images that a CSV names are not part of its fingerprint. Raises UserError if the path does not
    exist or cannot be read.
    """
    try:
        if path.is_dir():
            files = list_files(path)
            return f"{len(files)}:{hashlib.sha256(json.dumps(files).encode()).hexdigest()}"
        size = path.stat().st_size
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for offset in sorted({0, size // 2, max(0, size - SAMPLE_BYTES)}):
                file.seek(offset)
                digest.update(file.read(SAMPLE_BYTES))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; set its path in the config or with --set data.root=FOLDER"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return f"{size}:{digest.hexdigest()}"


def list_files(folder: Path) -> list[tuple[str, int]]:
    """Relative names (with /) and sizes in bytes of the files below a folder, sorted.

    Hidden files and folders are left out. Links are followed; a broken link has size 0. Raises
    OSError for a folder that cannot be read.
    """
    files = []
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(parent, folder)
        for name in names:
            if not name.startswith("."):
                path = os.path.join(parent, name)
                size = os.stat(path).st_size if os.path.exists(path) else 0
                files.append((name if inside == "." else f"{inside}/{name}", size))
    return sorted(files)


def _raise(error: OSError) -> None:
    raise error
