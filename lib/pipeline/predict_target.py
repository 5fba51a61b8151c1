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
from lib.pipeline.shards import is_pattern, list_shards

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
    **dict.fromkeys((".tar", ".tar.gz", ".tgz"), "webdataset"),  # a packed one is an error later
    **dict.fromkeys((".parquet", ".pq", ".arrow", ".feather"), "parquet"),
    **dict.fromkeys(IMAGE_SUFFIXES, "folders"),
}
SHARDS = ("webdataset", "parquet")  # kinds of which a pattern may name several files
FOLDERS_OF = {"npy", "strokes", *SHARDS}  # kinds of which a folder may hold several files
ACCEPTED = (
    "--new takes a .bson, .csv, .npy, .ndjson, .tar, .parquet or .arrow file, an image, a folder of"
    " images or of such files but .bson and .csv, or a quoted pattern such as 'new-{0..9}.tar'"
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
        return sum(path.stat().st_size for path in list_shards(self.path, ())) <= SMALL


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
        if is_pattern(path):
            return _kind_of_pattern(path)
        if path.is_dir():
            names = [name for name, _ in list_files(path)]
            if not names:
                raise UserError(f"{path}: the folder is empty; {ACCEPTED}")
            return (_common_kind(names) & FOLDERS_OF or {"folders"}).pop()
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


def _kind_of_pattern(path: Path) -> str:
    """The kind of the files that a pattern stands for."""
    kinds = _common_kind([file.name for file in list_shards(path, ())]) & set(SHARDS)
    if not kinds:
        raise UserError(
            f"{path}: a pattern stands for files of one of the kinds {', '.join(SHARDS)}"
        )
    return kinds.pop()


def _common_kind(names: list[str]) -> set[str]:
    """The kind that all files share, "" for an unknown one; an empty set if they differ."""
    kinds = {
        next((kind for end, kind in KIND_OF_SUFFIX.items() if name.lower().endswith(end)), "")
        for name in names
    }
    return kinds if len(kinds) == 1 else set()
