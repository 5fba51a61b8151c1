"""New products for a trained catalogue (`--new`, B3): what was named, and where its answers live.

Only the artifacts that depend on the products to classify are made, in
`work/<experiment>/new/<slug>/`; all others are those of the experiment. The slug holds a digest of
the path, so that several files, and the experiment's own, stay side by side.
"""

import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

from lib.config.schema import Config, PredictTarget
from lib.errors import UserError
from lib.fingerprint import files_under

KINDS = {
    ".bson": "bson",
    ".csv": "csv",
    ".npy": "npy",
    ".ndjson": "strokes",
    ".ndjson.gz": "strokes",
}
TAKEN = (
    "--new takes a .bson, .csv, .npy or .ndjson file, or a folder of pictures or of .npy or"
    " .ndjson files"
)
NAME_LENGTH = 40  # characters of the file's name in a slug


def choose(config: Config, name: str) -> Config:
    """The same experiment, asked about the products in `name`.

    `name`: a file or folder, relative to the current directory. Raises UserError if it is not
    there, is empty, or is of no kind that is known.
    """
    if not name:
        raise UserError(TAKEN)
    path = Path(os.path.abspath(name))
    return replace(config, asked=PredictTarget(str(path), _kind(path), slug(path)))


def slug(path: Path) -> str:
    """A name for the folder of these products: the file's own, and 8 digits of its place's."""
    name = re.sub(r"\W+", "-", path.name).strip("-")[:NAME_LENGTH]
    return f"{name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def _kind(path: Path) -> str:
    """What the file or folder is, as in `data.source`."""
    try:
        if path.is_dir():
            names = [name for name, _ in files_under(path)]
            if not names:
                raise UserError(f"{path}: the folder is empty; {TAKEN}")
            return (_kinds(names) & {"npy", "strokes"} or {"folders"}).pop()
        size = path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"{path}: no such file or folder; {TAKEN}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    kind = _kinds([path.name]).pop()
    if not kind:
        raise UserError(f"{path}: of no known kind; {TAKEN}")
    if size == 0:
        raise UserError(f"{path}: the file is empty; fetch it again")
    return kind


def _kinds(names: list[str]) -> set[str]:
    """What all of these files are: one kind, "" for none that is known; nothing if they differ."""
    found = {
        next((kind for end, kind in KINDS.items() if name.lower().endswith(end)), "")
        for name in names
    }
    return found if len(found) == 1 else set()
