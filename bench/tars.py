"""The index of a WebDataset tar against a loop over `tarfile`, on the same cached file.

    python -m bench.tars --samples 500000 --json

A sample is an image and a class, of a block each: two members. Baseline: `for member in tar` of the
standard library, with its list of members emptied as the package webdataset does. Compiled code is
loaded first.
"""

import argparse
import sys
import tarfile
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bench import report
from bench.report import Row
from lib.config.load import from_tree
from lib.data.sources.webdataset.listing import list_samples
from lib.data.sources.webdataset.tar_file import TarScan, iter_members, map_tar

MIN_RATIOS = {"members_vs_tarfile": 4.0, "listing_vs_tarfile": 2.0}
BLOCK = 512
FORMATS: dict[str, Any] = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
MTIME = {"gnu": 0.0, "pax": 0.5}  # a fraction of a second needs a pax header


def write_tar(path: Path, samples: int, form: str) -> None:
    """Write a tar of two small members a sample, in the headers of `tarfile`."""
    templates = {suffix: _template(suffix, form) for suffix in ("jpg", "cls")}
    with path.open("wb", buffering=1 << 22) as sink:
        for number in range(samples):
            key = b"%09d" % number
            for suffix, (head, header, total) in templates.items():
                content = key if suffix == "jpg" else b"%09d" % (number % 1000)
                checksum = b"%06o\0 " % (total + sum(key))
                sink.write(head + key + header[9:148] + checksum + header[156:])
                sink.write(content + bytes(BLOCK - len(content)))
        sink.write(bytes(2 * BLOCK))


def _template(suffix: str, form: str) -> tuple[bytes, bytes, int]:
    """What precedes the header of a member, the header, and the sum of its bytes but the key."""
    info = tarfile.TarInfo(f"{0:09d}.{suffix}")
    info.size, info.mtime = 9, MTIME[form]
    whole = info.tobuf(FORMATS[form])
    header = whole[-BLOCK:]
    return whole[:-BLOCK], header, sum(header[9:148]) + 8 * 32 + sum(header[156:])


def by_tarfile(path: Path) -> Callable[[], int]:
    """The baseline: the number of members."""

    def work() -> int:
        count = 0
        with tarfile.open(path, "r:") as tar:
            known: list[tarfile.TarInfo] = vars(tar)["members"]
            for _ in tar:
                count += 1
                known.clear()
        return count

    return work


def members(path: Path) -> Callable[[], int]:
    """Names, places and sizes of all members; returns their number."""
    _scan(path.with_name("small.tar"))
    return partial(_scan, path)


def _scan(path: Path) -> int:
    with map_tar(path) as mapped:
        return sum(len(block.names) for block in iter_members(mapped, TarScan()))


def listing(path: Path) -> Callable[[], int]:
    """All samples with their classes, as stage 01 lists them; returns twice their number."""
    _scan(path.with_name("small.tar"))
    data = from_tree({"name": "x", "data": {"source": "webdataset"}}, [], "bench").data

    def work() -> int:
        return 2 * len(list_samples(path, [path], path.parent, True, data).keys)

    return work


def main() -> None:
    """Write the files, measure and print the report."""
    parser = report.parser("bench.tars", __doc__)
    parser.add_argument("--samples", type=int, default=500_000, help="2 members each (%(default)s)")
    parser.add_argument("--format", choices=FORMATS, default="gnu", help="(%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.tar"
        write_tar(path, arguments.samples, arguments.format)
        write_tar(path.with_name("small.tar"), 3, arguments.format)
        measure_all(path, arguments)


def measure_all(path: Path, arguments: argparse.Namespace) -> None:
    """Measure all ways on one file, check that they agree and print the report."""
    tasks = {
        "tarfile": partial(report.measure, by_tarfile, path),
        "members": partial(report.measure, members, path),
        "samples and classes": partial(report.measure, listing, path),
    }
    runs = report.run_in_turns(tasks, arguments.runs)
    count = 2 * arguments.samples
    for name, results in runs.items():
        if any(run.result != count for run in results):
            sys.exit(f"{name}: not the {count} members of the file")
    rows = {name: Row(name, count, "member", runs[name]) for name in tasks}
    title = f"{count:,} members, {arguments.format}, {path.stat().st_size / 1e9:.2f} GB, hot file"
    ratios = {
        "members_vs_tarfile": report.ratio(rows["tarfile"], rows["members"]),
        "listing_vs_tarfile": report.ratio(rows["tarfile"], rows["samples and classes"]),
    }
    report.print_report("tars", title, list(rows.values()), ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
