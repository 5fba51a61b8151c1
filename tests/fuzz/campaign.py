"""Fuzz all readers, or one: `python -m tests.fuzz.campaign --family bson --first 123 --count 1`.

Without --family, --count inputs are shared out by the weights of the families. The last lines are
the table of docs/reliability.md. Exit status 1: there are findings.
"""

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

from lib.errors import one_line
from tests.fuzz import worker
from tests.fuzz.families import load_families
from tests.fuzz.family import Family

COLUMNS = ("family", "tried", "accepted", "refused", "passed over", "behind checksum", "findings")
KINDS = (
    worker.ACCEPTED,
    worker.REFUSED,
    worker.PASSED_OVER,
    worker.BEHIND_CHECKSUM,
    worker.FINDING,
)
MAX_SHOWN = 25  # findings of a family that are printed


@dataclass
class Tally:
    """What became of the inputs of a family."""

    family: str
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[worker.Result] = field(default_factory=list)
    seconds: float = 0.0

    def row(self) -> list[str]:
        """The line of the table."""
        tried = sum(self.counts.values())
        return [self.family, f"{tried:,}", *(f"{self.counts[kind]:,}" for kind in KINDS)]


def fuzz(family: Family, numbers: range, show: bool = False) -> Tally:
    """Read inputs of a family in a temporary folder."""
    tally, start = Tally(family.name), time.monotonic()
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    box = Path(tempfile.mkdtemp(prefix="fuzz-", dir=base))
    try:
        for result in worker.run_inputs(family, numbers, box):
            tally.counts[result.kind] += 1
            if result.kind == worker.FINDING:
                tally.findings.append(result)
                if len(tally.findings) <= MAX_SHOWN:
                    print(f"  {family.name} --first {result.number}: {result.text}", flush=True)
            elif show:
                print(f"  {result.number}: {result.kind} {one_line(result.text)}", flush=True)
    finally:
        shutil.rmtree(box, ignore_errors=True)
    tally.seconds = time.monotonic() - start
    return tally


def shares(families: Sequence[Family], total: int) -> list[int]:
    """How many of the inputs each family gets, at least one."""
    whole = sum(family.weight for family in families)
    return [max(1, round(total * family.weight / whole)) for family in families]


def markdown(tallies: Sequence[Tally]) -> str:
    """The table of a campaign."""
    rows = [tally.row() for tally in tallies]
    sums = Tally("all", sum((tally.counts for tally in tallies), Counter())).row()
    lines = [COLUMNS, ["---", *["---:"] * (len(COLUMNS) - 1)], *rows, sums]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a campaign; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--family", action="append", default=[], help="only this one; repeatable")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--count", type=int, default=10_000, help="inputs of all families together")
    parser.add_argument("--quick", action="store_true", help="without libraries behind checksums")
    parser.add_argument("--csv", type=Path, help="write the table to this file, too")
    arguments = parser.parse_args(argv)
    tallies = []
    families = load_families(*arguments.family)
    if arguments.quick:
        families = [family for family in families if not family.is_slow]
    for family, count in zip(families, shares(families, arguments.count), strict=True):
        numbers = range(arguments.first, arguments.first + count)
        tally = fuzz(family, numbers, show=count <= 3)
        tallies.append(tally)
        rate = sum(tally.counts.values()) / max(tally.seconds, 1e-9)
        counts = dict(zip(COLUMNS, tally.row(), strict=True))
        print(f"{counts} {tally.seconds:.1f} s, {rate:.0f}/s", flush=True)
    print(markdown(tallies))
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([COLUMNS, *(t.row() for t in tallies)])
    return int(any(tally.findings for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
