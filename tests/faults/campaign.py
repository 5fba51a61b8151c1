"""Try many faults: `python -m tests.faults.campaign --count 1000`.

Every fault follows from its number: `--first 17 --count 1` tries number 17 again. Each line of the
CSV says what was done and what came of it. The exit status is 1 if any fault showed a defect.
"""

import argparse
import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from tests.faults.fault import KINDS, WEIGHTS, draw_fault
from tests.faults.reference import Reference, build_reference
from tests.faults.server import Server
from tests.faults.trial import Result, seed_of, try_fault


def main() -> int:
    """Try the faults and print how many ended in which way."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.campaign", description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="number of the first fault")
    parser.add_argument("--count", type=int, default=100, help="how many faults")
    parser.add_argument("--kind", choices=sorted(KINDS), help="only this kind")
    parser.add_argument("--csv", type=Path, default=Path("faults.csv"), help="results")
    arguments = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name, Server(Path(name)) as server:
        Path(name).chmod(0o755)  # some runs are those of another user
        reference = build_reference(server, Path(name))
        with arguments.csv.open("a", newline="") as file:
            rows = csv.writer(file)
            for number in tqdm(range(arguments.first, arguments.first + arguments.count)):
                kind, text, result = try_number(server, reference, number, arguments.kind)
                rows.writerow([number, kind, text, result.outcome, result.problem, result.line])
                file.flush()
                counts[kind, result.outcome] += 1
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:16} {outcome:10} {count:5}")
    return int(any(Result(outcome).is_defect for _, outcome in counts))


def try_number(
    server: Server, reference: Reference, number: int, only: str | None = None
) -> tuple[str, str, Result]:
    """Try the fault of a number; its kind, what it is, and its result."""
    rng = seed_of(number)
    kind = rng.choices(list(KINDS), WEIGHTS)[0]
    fault = draw_fault(only or kind, rng, reference, server)
    return fault.kind, fault.text, try_fault(server, reference, fault)


if __name__ == "__main__":
    sys.exit(main())
