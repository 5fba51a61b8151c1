"""Report of what could not be used of a source: counts by reason, and the first locations."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.errors import UserError
from lib.pipeline.reading import reading

MAX_REPORTED = 100_000  # locations listed in scan_report.json; all are counted
NO_BYTES, NO_FILE = "image of no bytes", "image file missing or empty"
NO_IMAGES = "product without images"
NON_FATAL = (NO_BYTES, NO_FILE, NO_IMAGES)  # the record is still used


@dataclass
class ScanReport:
    """What could not be used, counted by reason; the first (location, reason) are kept.

    cautions: what was used, but may be other than meant.
    """

    counts: Counter[str] = field(default_factory=Counter)
    records: list[tuple[int, str]] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)

    def add(
        self, reason: str, locations: np.ndarray, names: Sequence[object] | None = None
    ) -> None:
        """Add one record for each location (int [n]).

        names: what tells the first locations apart, shown after the reason.
        """
        if len(locations) == 0:
            return
        self.counts[reason] += len(locations)
        for i in range(min(len(locations), MAX_REPORTED)):
            text = reason if names is None else f"{reason} {names[i]}"
            self.records.append((int(locations[i]), text))

    def first_of(self, reason: str) -> tuple[int, str]:
        """The least location with this reason, and what is shown of its name ("" for none)."""
        location, text = min(r for r in self.records if r[1].startswith(reason))
        return location, text.removeprefix(reason).strip()

    def first_fatal(self) -> tuple[int, str]:
        """(location, reason) of the first record that is not used at all."""
        return min(r for r in self.records if not r[1].startswith(NON_FATAL))

    def write(self, path: Path, unit: str) -> None:
        """Write the report as JSON. unit: what a location counts ("byte", "line", ...)."""
        records = [{unit: location, "reason": text} for location, text in sorted(self.records)]
        report = {"counts": self.counts, "records": records[:MAX_REPORTED]}
        report |= {"cautions": self.cautions} if self.cautions else {}
        path.write_text(json.dumps(report, indent=1))


def check_strict(folder: Path, source: Path) -> None:
    """Raise UserError if the index in `folder` left out anything of `source` (`--strict`)."""
    path = folder / "scan_report.json"
    with reading(path):
        report = json.loads(path.read_text())
        counts = ", ".join(f"{count} x {reason}" for reason, count in report["counts"].items())
        (unit, location), *_ = report["records"][0].items() if counts else [("", 0)]
    if counts:
        raise UserError(
            f"{source}: --strict: {counts}; the first at {unit} {location}, more in {path};"
            " repair the file or run without --strict"
        )
