"""Gzipped drawings of Quick, Draw!, which are unpacked before they are listed.

This module imports no heavy library: the stages are declared with it.
"""

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from tqdm import tqdm

from lib.data.sources.file_kind import GZIP, check_kind
from lib.errors import UserError
from lib.pipeline.fingerprint import list_files
from lib.utils.files import atomic_write

MAX_RATIO = 100  # of unpacked to packed bytes; drawings have about 5, and gzip can have 1000
FREE_BYTES = 64 << 20  # that any file may unpack to
CHUNK = 1 << 20
PACKED_SUFFIX, PLAIN_SUFFIX = ".ndjson.gz", ".ndjson"


def list_packed(source: Path, classes: Sequence[str] = ()) -> list[Path]:
    """The gzipped files in a folder and its subfolders, or `source` itself.

    Not those that lie unpacked beside it. classes: only these; () for all.
    """
    if source.is_file():
        return [source] if _is_packed(source.name) else []
    names = [name for name, _ in list_files(source)] if source.is_dir() else []
    plain = {name.lower() for name in names}
    return [
        source / name
        for name in names
        if _is_packed(name)
        and name.lower().removesuffix(".gz") not in plain
        and (not classes or name[: -len(PACKED_SUFFIX)] in classes)
    ]


def unpack(source: Path, folder: Path, classes: Sequence[str] = ()) -> int:
    """Unpack the files of `list_packed` into `folder`; returns how many there are.

    An image is read by its offset, which a gzipped file does not have. Files that are already
    unpacked are kept; plain files of a folder are linked, so that all lie in one place. Raises
    UserError for an incomplete gzip file.
    """
    root = source if source.is_dir() else source.parent
    files, plain = list_packed(source, classes), _list_plain(source, classes)
    for path in tqdm(files, unit=" files", desc="unpacking", disable=None):
        target = folder / path.relative_to(root)
        target = target.with_name(target.name[: -len(".gz")])
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            _unpack_file(path, target)
    for name in plain:
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to((source / name).resolve())
    return len(files)


def _list_plain(source: Path, classes: Sequence[str]) -> list[str]:
    """Names of the files of a folder that need no unpacking."""
    names = [name for name, _ in list_files(source)] if source.is_dir() else []
    plain = [name for name in names if name.lower().endswith(PLAIN_SUFFIX)]
    return [name for name in plain if not classes or name[: -len(PLAIN_SUFFIX)] in classes]


def _is_packed(name: str) -> bool:
    return name.lower().endswith(PACKED_SUFFIX)


def _copy(path: Path, packed: gzip.GzipFile, sink: IO[bytes]) -> None:
    limit = max(FREE_BYTES, MAX_RATIO * path.stat().st_size)
    while data := packed.read(CHUNK):
        limit -= len(data)
        if limit < 0:
            raise UserError(
                f"{path}: unpacks to more than {MAX_RATIO} times its size, as no drawings do;"
                " delete it, or unpack it yourself"
            )
        sink.write(data)


def _unpack_file(path: Path, target: Path) -> None:
    check_kind(path, "a gzip archive", GZIP)
    try:
        with (
            atomic_write(target) as temporary,
            gzip.open(path) as packed,
            temporary.open("wb") as sink,
        ):
            _copy(path, packed, sink)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: not a complete gzip file ({error}); download it again") from None
