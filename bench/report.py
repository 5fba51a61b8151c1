"""Measurement and output of all benchmarks: fresh processes, medians, the table, the last line.

A benchmark prints a table and, with `--json`, one last line for programs:

    {"bench": "index", "ratios": {"index_vs_decode_file_iter": 5.1, ...}}

A ratio compares two measurements of the same run; above 1 is better than the baseline. `MIN_RATIOS`
of a benchmark has the smallest value of each ratio that passes.

A task is a function that prepares (reads files, compiles code) and returns the function to measure.
"""

import argparse
import ctypes
import importlib
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lib.runtime import workers


@dataclass(frozen=True)
class Measurement:
    """wall, cpu: seconds, child processes included. peak: maximum resident memory in MB."""

    wall: float
    cpu: float
    peak: float
    result: Any = None


@dataclass(frozen=True)
class Row:
    """One line of the table: `count` units of work, and its runs (figures: the median)."""

    name: str
    count: int
    unit: str
    runs: Sequence[Measurement]

    @property
    def wall(self) -> float:
        """Seconds, median of the runs."""
        return statistics.median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """CPU seconds, median of the runs."""
        return statistics.median(run.cpu for run in self.runs)

    @property
    def peak(self) -> float:
        """MB, maximum of the runs."""
        return max(run.peak for run in self.runs)


def ratio(baseline: Row, ours: Row, by: str = "wall") -> float:
    """Median over the runs of baseline / ours; each pair was measured in the same turn."""
    pairs = zip(baseline.runs, ours.runs, strict=True)
    return statistics.median(getattr(a, by) / getattr(b, by) for a, b in pairs)


def run_in_turns(
    tasks: Mapping[str, Callable[[], Measurement]], runs: int
) -> dict[str, list[Measurement]]:
    """Run each task `runs` times, in turns, so that other load affects all tasks alike."""
    results: dict[str, list[Measurement]] = {name: [] for name in tasks}
    for _ in range(runs):
        for name, task in tasks.items():
            results[name].append(task())
    return results


def parser(module: str, description: str) -> argparse.ArgumentParser:
    """The arguments that all benchmarks share."""
    argument_parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description.strip().splitlines()[0],
        epilog=f"example: python -m {module} --runs 5 --json",
    )
    argument_parser.add_argument(
        "--runs", type=int, default=5, help="runs of each measurement (%(default)s)"
    )
    argument_parser.add_argument(
        "--json", action="store_true", help="ratios as one last line of JSON"
    )
    return argument_parser


def measure(task: Callable[..., Any], *arguments: Any) -> Measurement:
    """Run `task` in a fresh process and measure the function that it returns."""
    context = get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(send, task, arguments))
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:
        raise SystemExit(f"{task.__name__} failed, see above") from None
    finally:
        process.join()


def _measure(send: Any, task: Callable[..., Any], arguments: Sequence[Any]) -> None:
    """In the fresh process: prepare, run and send the measurement."""
    workers.tune_malloc()  # as the stages do
    work = task(*arguments)
    _forget_peak()
    cpu, wall = cpu_seconds(), time.perf_counter()
    result = work()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    send.send(Measurement(wall, cpu, max(resident_mb("VmHWM"), children), result))


def _forget_peak() -> None:
    """Reset the peak, so that memory of the preparation does not count."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # glibc keeps freed memory
        trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def resident_mb(field: str = "VmRSS") -> float:
    """Resident memory of this process in MB, mapped files included; "VmHWM": its maximum."""
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def cpu_seconds() -> float:
    """CPU seconds of this process and of its finished child processes."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def print_report(
    bench: str,
    title: str,
    rows: Sequence[Row],
    ratios: Mapping[str, float],
    min_ratios: Mapping[str, float],
    as_json: bool,
) -> None:
    """Print the table, the ratios with their minimum and, with `as_json`, the last line."""
    print_table(title, rows)
    print_ratios(ratios, min_ratios)
    if as_json:
        print_json(bench, ratios)


def print_json(bench: str, ratios: Mapping[str, float]) -> None:
    """Print the last line, for programs."""
    rounded = {name: round(value, 4) for name, value in ratios.items()}
    print(json.dumps({"bench": bench, "ratios": rounded}))


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rates by wall and by CPU second, and the peak memory of one process."""
    print(f"{title}\n{describe_machine()}\n")
    width = max(len(row.name) for row in rows)
    print(
        f"{'':{width}}  {'wall':>9}  {'CPU':>9}  {'rate by wall':>22}  {'by CPU':>12}  {'peak':>8}"
    )
    for row in rows:
        print(
            f"{row.name:{width}}  {row.wall:7.2f} s  {row.cpu:7.2f} s"
            f"  {_rate(row.count / row.wall):>12} {row.unit + '/s':>9}"
            f"  {_rate(row.count / max(row.cpu, 1e-9)):>12}  {row.peak:5.0f} MB"
        )


def print_ratios(ratios: Mapping[str, float], min_ratios: Mapping[str, float]) -> None:
    """Print each ratio with its minimum."""
    print()
    for name, value in ratios.items():
        missed = "" if value >= min_ratios[name] else ", MISSED"
        print(f"{name:28} {value:8.2f}  (at least {min_ratios[name]:g}{missed})")


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def require(module: str, package: str) -> Any:
    """Import a module that only benchmarks need; exits with one line if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        pins = (Path(__file__).parents[1] / "requirements-dev.txt").read_text().split()
        pin = next(pin for pin in pins if pin.startswith(f"{package}=="))
        raise SystemExit(
            f"error: this benchmark needs {package}; run {sys.executable} -m pip install {pin}"
        ) from None


def describe_machine() -> str:
    """Cores, processor, memory and Python version in one line."""
    model = platform.machine()
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores()} cores of {model}, {memory:.0f} GB, Python {platform.python_version()}"


def _rate(value: float) -> str:
    """A rate with three digits, or as a whole number from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
