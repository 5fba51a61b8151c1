"""Fingerprints: notice that a file or folder of the user changed, without reading all of it."""

import hashlib
import json
import os
import stat
from functools import cache
from pathlib import Path

from lib.errors import UserError
from lib.pipeline.shards import is_pattern, list_shards

SAMPLE_BYTES = 1 << 20  # bytes of each sample
SHARD_BYTES = 1 << 16  # of the two samples of one of several files
NOT_REGULAR = -1  # instead of the size of a named pipe, socket or device


@cache
def fingerprint(path: Path) -> str:
    """Size and SHA-256 of three samples of a file: its start, middle and end.

    58 GB cannot be hashed at every start. A change of size, head or tail is noticed; a byte changed
    in place elsewhere is not. For a folder: the names and sizes of its files, none of their bytes.
    For a pattern of several files: name, size, start and end of each. Images that a CSV names are
    not part of its fingerprint. Raises UserError if the path does not exist or cannot be read.
    """
    try:
        if is_pattern(path):
            return _fingerprint_of_shards(list_shards(path, ()))
        if path.is_dir():
            files = list_files(path)
            return f"{len(files)}:{hashlib.sha256(json.dumps(files).encode()).hexdigest()}"
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: neither a file nor a folder; save its content as a file")
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


def _fingerprint_of_shards(paths: list[Path]) -> str:
    """Of many files, heads and tails alone: a tar that is written anew has other times in both."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode("utf-8", "surrogateescape"))
        with path.open("rb") as file:
            digest.update(file.read(SHARD_BYTES))
            file.seek(max(0, size - SHARD_BYTES))
            digest.update(file.read(SHARD_BYTES))
    return f"{len(paths)}:{digest.hexdigest()}"


def list_files(folder: Path) -> list[tuple[str, int]]:
    """Relative names (with /) and sizes in bytes of the files below a folder, sorted.

    Hidden files and folders are left out. Links are followed, but every folder is entered once: a
    link to a folder that is listed already adds nothing. A broken link has size 0; what is no
    regular file, such as a named pipe, has size NOT_REGULAR. Raises OSError for a folder that
    cannot be read.
    """
    files: list[tuple[str, int]] = []
    entered: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        links = []
        for start in waiting:
            links += _list_real_folders(folder, start, entered, files)
        waiting = sorted(links)
    return sorted(files)


def _list_real_folders(
    folder: Path, start: str, entered: set[tuple[int, int]], files: list[tuple[str, int]]
) -> list[str]:
    """Add the files below `start`, without those behind links; returns the linked folders."""
    links: list[str] = []
    inner = [start]
    while inner:
        inside = inner.pop()
        status = os.stat(folder / inside)
        if (status.st_dev, status.st_ino) in entered:
            continue
        entered.add((status.st_dev, status.st_ino))
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = f"{inside}/{entry.name}" if inside else entry.name
                if entry.is_dir():
                    (links if entry.is_symlink() else inner).append(name)
                else:
                    files.append((name, _size(entry)))
    return links


def _size(entry: os.DirEntry) -> int:
    try:
        status = entry.stat()
    except OSError:  # a broken link, or a link to itself
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else NOT_REGULAR
