"""Whether a file is the one that was published."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from lib.errors import UserError

BLOCK = 8 << 20  # bytes read at a time


def verify(path: Path, published: Mapping[str, str]) -> None:
    """Compare the SHA-256 of `path` with the one published for its name, if there is one.

    Reads the whole file. Raises UserError if it differs.
    """
    if path.name not in published:
        return
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
        block = memoryview(bytearray(BLOCK))
        while count := file.readinto(block):
            digest.update(block[:count])
            bar.update(count)
    if digest.hexdigest() != published[path.name].lower():
        raise UserError(
            f"{path}: its SHA-256 is {digest.hexdigest()}, data.sha256 says"
            f" {published[path.name].lower()}; fetch the file again or mend the config"
        )
