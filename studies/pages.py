"""Where studies leave what they found: a section of a page, a CSV and a picture beside it."""

import csv
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # pictures are files here, never windows

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from lib.evaluation.metrics import Estimate
from lib.utils.files import atomic_write

BLUE, ORANGE, GREEN, RED, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#777777"
COLOURS = (BLUE, ORANGE, GREEN, RED, "#cc79a7", "#56b4e9", GREY)  # told apart by all eyes
WIDE, HIGH = 8.0, 4.5  # inches


def put(page: Path, key: str, text: str) -> None:
    """Put `text` where the page has the section `key`, or at its end; the rest stays as it is."""
    first, last = f"<!-- {key}: written by a study -->", f"<!-- end of {key} -->"
    section = f"{first}\n{text.strip()}\n{last}"
    page.parent.mkdir(parents=True, exist_ok=True)
    whole = page.read_text() if page.exists() else "# Quick, Draw!\n"
    marked = re.compile(re.escape(first) + ".*?" + re.escape(last), re.DOTALL)
    if marked.search(whole):
        whole = marked.sub(lambda _: section, whole)
    else:
        whole = f"{whole.rstrip()}\n\n{section}\n"
    with atomic_write(page) as temporary:
        temporary.write_text(whole)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same keys."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def figure(columns: int = 1, rows: int = 1, high: float = HIGH) -> tuple[Figure, Any]:
    """A figure and its axes, in lines where there are several rows."""
    made, axes = plt.subplots(rows, columns, figsize=(WIDE, high), layout="constrained")
    for one in np.ravel(axes):
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25)
    return made, axes


def counted(axes: Any, counts: Sequence[int]) -> None:
    """Counts along x on a scale of ratios, each with its number unless another is too near."""
    axes.set_xscale("log")
    room = (max(counts) / min(counts)) ** (1 / 20)
    shown = [one for one, more in pairwise(counts) if more > room * one]
    shown.append(counts[-1])
    axes.set_xticks(shown, [f"{count:,}" for count in shown], rotation=45)
    axes.minorticks_off()


def save(made: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        made.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    plt.close(made)


def percent(estimate: Estimate) -> str:
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} ({low:.1f}..{high:.1f})"


def points(estimate: Estimate) -> str:
    """A gain, and whether it is one."""
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    verdict = "" if low > 0 or high < 0 else ": none"
    return f"{value:+.1f} ({low:+.1f}..{high:+.1f}){verdict}"


def flat(name: str, estimate: Estimate) -> dict[str, float]:
    """Columns of a CSV: the value and its ends."""
    ends = {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
    return {name + end: round(value, 4) for end, value in ends.items()}


def estimate(row: Mapping[str, Any], name: str) -> Estimate:
    """Back from such columns, for the words of a table."""
    return Estimate(row[name], row[f"{name}_low"], row[f"{name}_high"], 0)
