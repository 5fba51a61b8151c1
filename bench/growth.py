"""Memory and time of stage 04 as the number of test products grows.

    python -m bench.growth --json                      # 1.77 million, and ten times as many
    python -m bench.growth --sizes 0.01,0.1,1 --json

The labelled products are those of `--scale`; the test products are multiples of the competition's
1,768,182, the generated ones over again where there are more (`bench/stages.py`). Each size runs
once, whatever `--runs`, each part of the stage in its own process.

Peak memory is all that is resident, pages of mapped files included. The lines after the table say
by which power of the products memory and time grow from one size to the next: 0 for constant, 1 for
as many times as there are products. Ratios compare the last size with the one before: 1.2 times its
memory, and its time for each product and a tenth more, divided by what was measured.
"""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import report, shape
from bench.report import Measurement, Row
from bench.stages import candidates, mean_features, write_experiment

PARTS = {"candidates": candidates, "mean of networks": mean_features}
MAX_MEMORY, MAX_TIME = 1.2, 1.1  # times the size before; of the time, for each product
MIN_RATIOS = {"memory_growth": 1.0, "time_growth": 1.0}


def measure_size(scale: float, size: float, folder: str | None) -> list[Measurement]:
    """The parts of stage 04 for so many times the competition's test products."""
    times = max(1, math.ceil(size))
    with tempfile.TemporaryDirectory(dir=folder) as name:
        report.measure(write_experiment, scale, size / times, times, Path(name))
        runs = []
        for task in PARTS.values():
            runs.append(report.measure(task, Path(name)))
            for columns in Path(name).rglob("columns.npy"):  # nothing reads them here
                columns.unlink()
    return runs


def print_growth(name: str, sizes: Sequence[float], values: Sequence[float]) -> None:
    """Print by which power of the size a value grows, and its ratio to the first."""
    pairs = zip(sizes[1:], sizes[:-1], values[1:], values[:-1], strict=True)
    slopes = [math.log(v / u) / math.log(n / m) for n, m, v, u in pairs]
    powers = ", ".join(f"{slope:.2f}" for slope in slopes)
    ratios = ", ".join(f"{value / values[0]:.2f}" for value in values[1:])
    print(f"{name}: powers {powers}; times the first size {ratios}")


def main() -> None:
    """Measure all sizes and print the report."""
    parser = report.parser("bench.growth", __doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the labelled products (%(default)s)"
    )
    parser.add_argument(
        "--sizes",
        default="1,10",
        help="of the test products, ascending: times the competition's (%(default)s)",
    )
    parser.add_argument("--folder", help="where 60 GB are free (default: where temporary files go)")
    arguments = parser.parse_args()
    sizes = [float(size) for size in arguments.sizes.split(",")]
    runs = [measure_size(arguments.scale, size, arguments.folder) for size in sizes]
    rows = [
        Row(f"{int(shape.TEST * size):,} products, {part}", of_size[0].result, "row", [run])
        for size, of_size in zip(sizes, runs, strict=True)
        for part, run in zip(PARTS, of_size, strict=True)
    ]
    peak = [max(run.peak for run in of_size) for of_size in runs]
    wall = [sum(run.wall for run in of_size) for of_size in runs]
    cpu = [sum(run.cpu for run in of_size) for of_size in runs]
    labelled = int(shape.TRAIN * arguments.scale)
    report.print_table(f"{labelled:,} labelled products, {shape.describe_ids()}", rows)
    print()
    for name, values in (("peak memory", peak), ("wall time", wall), ("CPU time", cpu)):
        print_growth(name, sizes, values)
    more = sizes[-1] / sizes[-2]
    ratios = {
        "memory_growth": MAX_MEMORY * peak[-2] / peak[-1],
        "time_growth": MAX_TIME * more * wall[-2] / wall[-1],
    }
    report.print_ratios(ratios, MIN_RATIOS)
    if arguments.json:
        report.print_json("growth", ratios)


if __name__ == "__main__":
    main()
