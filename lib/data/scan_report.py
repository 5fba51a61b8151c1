"""What of a source cannot be used: counted, listed by place, and an error if that is asked for."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.errors import UserError

MOST_REPORTED = 1000  # places listed in damage.json; all are counted
NO_BYTES, NO_FILE = "picture of no bytes", "picture file missing or empty"
NO_PICTURES = "product without pictures"
NON_FATAL = (NO_BYTES, NO_FILE, NO_PICTURES)  # the record stays


@dataclass
class ScanReport:
    """What cannot be used, counted by reason; the first places are kept."""

    counts: Counter[str] = field(default_factory=Counter)
    places: list[tuple[int, str]] = field(default_factory=list)

    def add(self, reason: str, places: np.ndarray, names: Sequence[object] | None = None) -> None:
        """`names`: what distinguishes each of the places that are kept, shown after the reason."""
        if len(places) == 0:
            return
        self.counts[reason] += len(places)
        shown = min(len(places), MOST_REPORTED)
        for i in range(shown):
            what = reason if names is None else f"{reason} {names[i]}"
            self.places.append((int(places[i]), what))

    def write(self, path: Path, unit: str) -> None:
        records = [{unit: place, "reason": reason} for place, reason in sorted(self.places)]
        report = {"counts": self.counts, "records": records[:MOST_REPORTED]}
        path.write_text(json.dumps(report, indent=1))


def stop_if_strict(folder: Path, source: Path) -> None:
    """Raise UserError if anything of the source of this index was passed over (`--strict`)."""
    report = json.loads((folder / "damage.json").read_text())
    if report["counts"]:
        listed = ", ".join(f"{count} x {reason}" for reason, count in report["counts"].items())
        (unit, place), *_ = report["records"][0].items()
        raise UserError(
            f"{source}: --strict: {listed}; the first at {unit} {place}, more in"
            f" {folder / 'damage.json'}; mend the file or leave --strict out"
        )
