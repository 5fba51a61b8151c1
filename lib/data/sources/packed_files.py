"""Gzipped drawings of Quick, Draw!, which are unpacked before they are listed.

This module imports no heavy library: the stages are declared with it.
"""

import gzip
import shutil
import zlib
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from lib.errors import UserError
from lib.utils.files import atomic_write

PACKED_SUFFIX = ".ndjson.gz"


def list_packed(source: Path, classes: Sequence[str] = ()) -> list[Path]:
    """The gzipped files in a folder, or `source` itself. classes: only these; () for all."""
    files = [source] if source.is_file() else sorted(source.glob(f"*{PACKED_SUFFIX}"))
    files = [path for path in files if path.name.endswith(PACKED_SUFFIX)]
    return [
        path for path in files if not classes or path.name.removesuffix(PACKED_SUFFIX) in classes
    ]


def unpack(source: Path, folder: Path, classes: Sequence[str] = ()) -> int:
    """Unpack the files of `list_packed` into `folder`; returns how many there are.

    An image is read by its offset, which a gzipped file does not have. Files that are already
    unpacked are kept. Raises UserError for an incomplete gzip file.
    """
    files = list_packed(source, classes)
    for path in tqdm(files, unit=" files", desc="unpacking", disable=None):
        target = folder / path.name.removesuffix(".gz")
        if not target.exists():
            _unpack_file(path, target)
    return len(files)


def _unpack_file(path: Path, target: Path) -> None:
    try:
        with (
            atomic_write(target) as temporary,
            gzip.open(path) as packed,
            temporary.open("wb") as sink,
        ):
            shutil.copyfileobj(packed, sink)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a complete gzip file ({error}); download it again") from None
