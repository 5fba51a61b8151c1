"""Stage 01 against `bson.decode_file_iter` and `md5sum` on the same cached file.

    python -m bench.index --products 300000 --json

Baselines: iteration over the decoded documents (the first step of any conversion to files), and
`md5sum` of the file. Each measurement runs in its own process. Compiled code is loaded first; the
start of the second process is measured.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import bson

from bench import generate, report
from bench.report import Row
from lib.data.records import load_batch
from lib.data.sources.bson_file import scan_file, scan_range

MIN_RATIOS = {
    "index_vs_decode_file_iter": 4.0,
    "index_md5_vs_md5sum": 0.9,
    "index_two_processes": 1.6,
}


def decode_all(path: Path) -> Callable[[], int]:
    """The baseline: decode all documents by pymongo's C extension; returns the number of images."""

    def work() -> int:
        with path.open("rb") as file:
            return sum(len(record["imgs"]) for record in bson.decode_file_iter(file))

    return work


def index(path: Path, jobs: int, md5: bool) -> Callable[[], int]:
    """Scan all ranges, write them and read them, as stage 01 does; returns the number of images."""
    scan_range(path, 0, 1)

    def work() -> int:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            files, _ = scan_file(path, Path(folder) / "ranges", jobs, md5)
            return sum(len(load_batch(file).offset) for file in files)

    return work


def md5sum(path: Path) -> Callable[[], None]:
    """The baseline: coreutils over the same bytes."""

    def work() -> None:
        subprocess.run(["md5sum", path], check=True, stdout=subprocess.DEVNULL)

    return work


def main() -> None:
    """Write the file, measure and print the report."""
    parser = report.parser("bench.index", __doc__)
    parser.add_argument("--products", type=int, default=300_000, help="8.2 KB each (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.bson"
        images = generate.write_bson(path, arguments.products)
        measure_all(path, images, arguments)


def measure_all(path: Path, images: int, arguments: argparse.Namespace) -> None:
    """Measure all ways on one file, check that they agree and print the report."""
    tasks = {
        "bson.decode_file_iter": partial(report.measure, decode_all, path),
        "index, without md5": partial(report.measure, index, path, 1, False),
        "md5sum": partial(report.measure, md5sum, path),
        "index, one process": partial(report.measure, index, path, 1, True),
        "index, two processes": partial(report.measure, index, path, 2, True),
    }
    runs = report.run_in_turns(tasks, arguments.runs)
    for name, results in runs.items():
        if any(run.result not in (None, images) for run in results):
            sys.exit(f"{name}: not the {images} images of the file")
    size = path.stat().st_size
    rows = {name: Row(name, size // 1_000_000, "MB", runs[name]) for name in tasks}
    title = f"{arguments.products:,} products, {images:,} images, {size / 1e9:.2f} GB, hot file"
    one_process = rows["index, one process"]
    ratios = {
        "index_vs_decode_file_iter": report.ratio(
            rows["bson.decode_file_iter"], rows["index, without md5"]
        ),
        "index_md5_vs_md5sum": report.ratio(rows["md5sum"], one_process),
        "index_two_processes": report.ratio(one_process, rows["index, two processes"]),
    }
    report.print_report("index", title, list(rows.values()), ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
