"""By what an original file or folder of the user is known again, without reading all of it."""

import hashlib
import json
import os
from functools import cache
from pathlib import Path

from lib.errors import UserError

SAMPLE_BYTES = 1 << 20  # read at each of the places that `fingerprint` looks at


@cache
def fingerprint(path: Path) -> str:
    """Size and SHA-256 over three samples (start, middle, end) of a file.

    58 GB cannot be hashed at every start; a file of another size, another head or another tail is
    noticed, a byte changed in place elsewhere is not. Of a folder: the names and sizes of its
    files, no byte of them. The pictures that a csv names are not looked at.
    """
    try:
        if path.is_dir():
            files = files_under(path)
            return f"{len(files)}:{hashlib.sha256(json.dumps(files).encode()).hexdigest()}"
        size = path.stat().st_size
        digest = hashlib.sha256()
        with path.open("rb") as file:
            for offset in sorted({0, size // 2, max(0, size - SAMPLE_BYTES)}):
                file.seek(offset)
                digest.update(file.read(SAMPLE_BYTES))
    except FileNotFoundError:
        raise UserError(
            f"{path}: no such file; set its place in the config or with --set data.root=FOLDER"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return f"{size}:{digest.hexdigest()}"


def files_under(folder: Path) -> list[tuple[str, int]]:
    """Relative names (with /) and sizes of the files below a folder, sorted; hidden ones are not.

    Links are followed; one that leads nowhere has size 0. Raises OSError for what cannot be read.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(parent, folder)
        for name in names:
            if not name.startswith("."):
                path = os.path.join(parent, name)
                size = os.stat(path).st_size if os.path.exists(path) else 0
                found.append((name if inside == "." else f"{inside}/{name}", size))
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error
