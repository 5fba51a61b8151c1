"""SHA-256 of a file, compared with the published one."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from lib.errors import UserError

BLOCK_BYTES = 8 << 20  # read at a time


def verify_checksum(path: Path, published: Mapping[str, str]) -> None:
    """Compare the SHA-256 of `path` with the one that is published for its name, if any.

    published: SHA-256 in hex by file name. Reads the whole file. Raises UserError if they differ.
    """
    if path.name not in published:
        return
    actual, expected = _sha256(path), published[path.name].lower()
    if actual != expected:
        raise UserError(
            f"{path}: its SHA-256 is {actual}, but data.sha256 has {expected}; download the file"
            " again or correct the config"
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with (
        path.open("rb", buffering=0) as file,
        tqdm(
            total=path.stat().st_size,
            unit="B",
            unit_scale=True,
            desc=f"SHA-256 of {path.name}",
            disable=None,
        ) as bar,
    ):
        block = memoryview(bytearray(BLOCK_BYTES))
        while count := file.readinto(block):
            digest.update(block[:count])
            bar.update(count)
    return digest.hexdigest()
