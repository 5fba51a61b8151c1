"""Files of boosters with their SHA-256 beside them: no library parses bytes that it did not write.

    fold-0.ubj          the model, in its library's format
    fold-0.ubj.sha256   its digest, as `sha256sum` writes and checks it

XGBoost, LightGBM and CatBoost end the process, or read beyond their memory, where a file is
damaged. So bytes are compared before a library sees them, in a finished artifact as well as in the
rest of an interrupted build.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from lib.errors import UserError
from lib.utils.files import atomic_write

SUFFIX = ".sha256"


def save(path: Path, write: Callable[[Path], None]) -> None:
    """Have `write` write a file, and record its digest: a kill leaves no file that is intact."""
    with atomic_write(path) as temporary:
        write(temporary)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    with atomic_write(_digest_path(path)) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n")


def load(path: Path) -> bytes:
    """The bytes that `save` wrote. Raises UserError if they are others, or their digest is gone."""
    try:
        data = path.read_bytes()
        words = _digest_path(path).read_bytes().split()
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing; {_remedy(path)}") from None
    if not words or words[0] != hashlib.sha256(data).hexdigest().encode():
        raise UserError(f"{path} is damaged: its SHA-256 is another; {_remedy(path)}")
    return data


def is_intact(path: Path) -> bool:
    """Whether `load` would return the file."""
    try:
        load(path)
    except UserError:
        return False
    return True


def remove(path: Path) -> None:
    """Delete a file and its digest, where there are any."""
    path.unlink(missing_ok=True)
    _digest_path(path).unlink(missing_ok=True)


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _remedy(path: Path) -> str:
    return f"delete the folder {path.parent} and run the same command again"
