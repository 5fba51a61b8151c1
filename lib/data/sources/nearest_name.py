"""The file that a missing name may mean: with other case or suffix, or spelled nearly alike."""

import os
import unicodedata
from difflib import get_close_matches
from pathlib import Path

MAX_COMPARED, MIN_LIKENESS = 1000, 0.8  # names of a folder that are compared letter by letter


def missing_hint(root: Path, name: str) -> str:
    """What a message says of the nearest file to a missing one; "" if none is near."""
    nearest = nearest_name(root, name)
    return f", but {nearest!r} is there" if nearest else ""


def nearest_name(root: Path, name: str) -> str:
    """The existing file most like the missing `name`, both relative to `root`; "" for none.

    The same name in other case comes first, then with another suffix, then in another folder, then
    a name spelled nearly alike.
    """
    folder, own = Path(name).parent, Path(name).name
    names = _names_in(root / folder)
    same_name = [other for other in names if _plain(other) == _plain(own)]
    same_stem = [o for o in names if _plain(Path(o).stem) == _plain(Path(own).stem)]
    if same_name or same_stem:
        return str(folder / (same_name or same_stem)[0])
    if folder != Path() and own in _names_in(root):
        return own
    close = get_close_matches(own, names[:MAX_COMPARED], 1, MIN_LIKENESS)
    return str(folder / close[0]) if close else ""


def _names_in(folder: Path) -> list[str]:
    """Sorted names in a folder; none if it does not exist."""
    try:
        return sorted(os.listdir(folder))
    except (OSError, ValueError):
        return []


def _plain(name: str) -> str:
    """A name without its case, and with accents in one form."""
    return unicodedata.normalize("NFC", name).casefold()
