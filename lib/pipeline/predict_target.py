"""The new products of `--new PATH`: what they are, and the name of their folder.

Only artifacts that depend on the products to classify are built, in
`work/<experiment>/new/<slug>/`; all others are those of the experiment. The slug holds a digest of
the path, so that several files and the experiment's own stay side by side.
"""

import hashlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lib.errors import UserError
from lib.pipeline.fingerprint import list_files

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"),
    *(".jp2", ".ppm", ".pgm", ".pbm", ".pnm"),
)
KIND_OF_SUFFIX = {
    ".bson": "bson",
    ".csv": "csv",
    ".npy": "npy",
    ".ndjson": "strokes",
    ".ndjson.gz": "strokes",
    **dict.fromkeys(IMAGE_SUFFIXES, "folders"),
}
ACCEPTED = (
    "--new takes a .bson, .csv, .npy or .ndjson file, an image, or a folder of images or of .npy or"
    " .ndjson files"
)
SMALL = 16 << 20  # bytes of a file, or of all files of a folder
MAX_NAME_LENGTH = 40  # characters of the file's name in a slug


@dataclass(frozen=True)
class PredictTarget:
    """path: absolute; source: what it is, as in `data.source`; slug: the name of its folder.

    folder: where its artifacts lie; None for `new/<slug>` of the experiment.
    """

    path: Path
    source: str
    slug: str
    folder: Path | None = None

    @cached_property
    def is_small(self) -> bool:
        """Whether importing libraries once for each stage takes longer than the products do."""
        if self.path.is_dir():
            return sum(size for _, size in list_files(self.path)) <= SMALL
        return self.path.stat().st_size <= SMALL


def predict_target(name: str) -> PredictTarget:
    """The new products in the file or folder `name`, relative to the current directory.

    Raises UserError if it does not exist, is empty, or is of no known kind.
    """
    if not name:
        raise UserError(ACCEPTED)
    path = Path(os.path.abspath(name))
    return PredictTarget(path, _source_kind(path), slug(path))


def slug(path: Path) -> str:
    """The file's own name and 8 hexadecimal digits of its path's digest."""
    name = re.sub(r"\W+", "-", path.name).strip("-")[:MAX_NAME_LENGTH]
    return f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def _source_kind(path: Path) -> str:
    try:
        if path.is_dir():
            names = [name for name, _ in list_files(path)]
            if not names:
                raise UserError(f"{path}: the folder is empty; {ACCEPTED}")
            return (_common_kind(names) & {"npy", "strokes"} or {"folders"}).pop()
        size = path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder; {ACCEPTED}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    kind = _common_kind([path.name]).pop()
    if not kind:
        raise UserError(f"{path}: unknown kind of file; {ACCEPTED}")
    if size == 0:
        raise UserError(f"{path}: the file is empty; fetch it again")
    return kind


def _common_kind(names: list[str]) -> set[str]:
    """The kind that all files share, "" for an unknown one; an empty set if they differ."""
    kinds = {
        next((kind for end, kind in KIND_OF_SUFFIX.items() if name.lower().endswith(end)), "")
        for name in names
    }
    return kinds if len(kinds) == 1 else set()
