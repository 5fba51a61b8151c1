"""Names of classes that may not be meant as they stand: alike but for case, or words for none."""

import re
import unicodedata
from collections.abc import Iterable

NO_VALUE = {
    *("", "nan", "null", "none", "nil", "na", "n/a", "#n/a", "#na", "<na>", "n.a.", "nat"),
    *("undefined", "missing", "unknown", "(blank)", "-", "--", "?", "."),
}
MAX_SHOWN = 10  # pairs or words in a caution


def name_cautions(labels: Iterable[str]) -> list[str]:
    """A line that lists names that look the same, and one that lists words for a missing value."""
    names = sorted(set(labels) - {""})
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_look(name), []).append(name)
    groups = [" = ".join(map(repr, same)) for same in alike.values() if len(same) > 1]
    words = [repr(name) for name in names if name.strip().casefold() in NO_VALUE]
    cautions = []
    if groups:
        cautions.append(f"categories that look the same are kept apart: {_shown(groups)}")
    if words:
        cautions.append(
            f"taken as names of categories: {_shown(words)}; leave the field empty if there is none"
        )
    return cautions


def _look(name: str) -> str:
    """A name without what the eye may miss: case, accents' encoding, blanks, hyphens, 1 and 1.0."""
    text = unicodedata.normalize("NFKC", name).casefold()
    text = re.sub(r"\s*([/|>])\s*", r"\1", re.sub(r"[\s_\u200b-]+", " ", text)).strip(" /")
    return re.sub(r"^(\d+)\.0+$", r"\1", text)


def _shown(items: list[str]) -> str:
    more = f" and {len(items) - MAX_SHOWN} more" if len(items) > MAX_SHOWN else ""
    return ", ".join(items[:MAX_SHOWN]) + more
