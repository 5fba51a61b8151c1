"""Output of the studies: a section of a Markdown page, with a CSV file and a figure beside it."""

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # write files, open no window

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lib.evaluation.metrics import Estimate
from lib.utils.files import atomic_write
from studies.tables import verdict

BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#777777"
COLORS = (BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9", GREY)  # distinct for color-blind readers
WIDTH, HEIGHT = 8.0, 4.5  # inches


def write_section(page: Path, key: str, text: str) -> None:
    """Replace the section `key` of a page, or append it; the rest of the page stays as it is."""
    start, end = f"<!-- {key}: written by a study -->", f"<!-- end of {key} -->"
    section = f"{start}\n{text.strip()}\n{end}"
    page.parent.mkdir(parents=True, exist_ok=True)
    content = page.read_text() if page.exists() else "# Quick, Draw!\n"
    marked = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
    if marked.search(content):
        content = marked.sub(lambda _: section, content)
    else:
        content = f"{content.rstrip()}\n\n{section}\n"
    with atomic_write(page) as temporary:
        temporary.write_text(content)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows with the same keys. columns: the header; by default the keys of the first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def subplots(num_columns: int = 1, num_rows: int = 1, height: float = HEIGHT) -> tuple[Figure, Any]:
    """A figure and its axes: one, an array of them, or for several rows a list of arrays."""
    figure, axes = plt.subplots(
        num_rows, num_columns, figsize=(WIDTH, height), layout="constrained"
    )
    for ax in np.ravel(axes):
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25)
    return figure, axes


def log_scale(axes: Any, counts: Sequence[int]) -> None:
    """A logarithmic x axis with a tick at each count (ascending), except where labels overlap."""
    axes.set_xscale("log")
    min_ratio = (max(counts) / min(counts)) ** (1 / 20)
    ticks = [count for count, following in pairwise(counts) if following > min_ratio * count]
    ticks.append(counts[-1])
    axes.set_xticks(ticks, [f"{count:,}" for count in ticks], rotation=45)
    axes.minorticks_off()


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG and close it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    plt.close(figure)


def percent(estimate: Estimate) -> str:
    """A share in percent with its interval: "50.0 (25.0..75.0)"."""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} ({low:.1f}..{high:.1f})"


def points(estimate: Estimate) -> str:
    """A gain in percentage points with its interval, marked "none" if that contains zero."""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:+.1f} ({low:+.1f}..{high:+.1f}){verdict(estimate)}"


def csv_columns(name: str, estimate: Estimate) -> dict[str, float]:
    """Columns NAME, NAME_low and NAME_high of a CSV file, rounded to four digits."""
    values = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
    return {name + suffix: round(value, 4) for suffix, value in values.items()}


def from_columns(row: Mapping[str, Any], name: str) -> Estimate:
    """The inverse of `csv_columns`; the number of products is lost (0)."""
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], 0)
