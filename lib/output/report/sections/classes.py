"""Accuracy and F1 of the classes against their size, and the classes that fail.

The Open Images article looked at F1 against the size of a class, as a scatter plot and as a
histogram: a class whose F1 is low for its size has wrong labels, or is hard to tell from another.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from lib.evaluation.class_scores import ClassScores, score_classes
from lib.evaluation.metrics import Estimate, accuracy
from lib.output.report.blocks import Block, Chart, Section, Table, Text, interval, missing, percent
from lib.output.report.charts import GROUND, INK, SERIES, draw, log_counts, whole_numbers
from lib.output.report.names import ClassNames
from lib.output.report.part import PartPredictions

MAX_POINTS = 2000  # of a scatter plot
MIN_PRODUCTS = 5  # of a class in the table of the worst
NUM_WORST, MAX_LISTED = 20, 300  # classes in a table


class SizeBin(NamedTuple):
    """Classes of low <= labelled products < high: how many, accuracy, and mean F1."""

    low: int
    high: int
    num_classes: int
    accuracy: Estimate
    mean_f1: float


def size_section(part: PartPredictions, labelled: np.ndarray, locked: PartPredictions) -> Section:
    """Accuracy and F1 against class size.

    part: out-of-fold. labelled: int64 [C], labelled products of each class.
    """
    lead = (
        "Small classes are hard: there is little to learn from. A class far below others of its"
        " size has wrong labels, or looks like another class."
    )
    if not len(part.product):
        return Section("sizes", "Class sizes", lead, missing("No product is out-of-fold."))
    scores = score_classes(part.label, part.best, len(labelled))
    shown = _sample(np.flatnonzero(scores.products > 0))
    blocks: list[Block] = [
        _scatter("f1", "F1", scores.f1, labelled, shown, part.origin),
        _scatter("recall", "accuracy", scores.recall, labelled, shown, part.origin),
        *(_histograms(p, labelled) for p in (part, locked) if len(p.product)),
        _f1_histogram(scores, part.origin),
    ]
    num_classes = int((scores.products > 0).sum())
    if len(shown) < num_classes:
        blocks.append(Text(f"The scatter plots show {len(shown):,} of {num_classes:,} classes."))
    return Section("sizes", "Accuracy and F1 against class size", lead, blocks)


def size_bins(part: PartPredictions, labelled: np.ndarray) -> list[SizeBin]:
    """The classes in bins of about a factor of three in size; bins without products are left out.

    labelled: int64 [C], labelled products of each class.
    """
    scores = score_classes(part.label, part.best, len(labelled))
    edges = [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 2**62]
    bins = []
    for low, high in pairwise(edges):
        in_bin = (labelled >= low) & (labelled < high) & (scores.products > 0)
        chosen = in_bin[part.label]
        if chosen.any():
            group = None if part.group is None else part.group[chosen]
            estimate = accuracy(part.correct[chosen], group=group)
            mean = float(scores.f1[in_bin].mean())
            bins.append(SizeBin(low, high, int(in_bin.sum()), estimate, mean))
    return bins


def worst_section(part: PartPredictions, labelled: np.ndarray, names: ClassNames) -> Section:
    """The classes with the lowest F1, and all classes (a page of them)."""
    lead = (
        "The lowest F1 first. Precision: how many of the predictions of a class are right. Recall:"
        " how many of its products are found."
    )
    scores = score_classes(part.label, part.best, len(labelled))
    f1, group = scores.f1, part.group
    order = np.lexsort((-scores.products, f1))  # NaN, no product, comes last
    order = order[scores.products[order] > 0]
    worst = order[scores.products[order] >= MIN_PRODUCTS][:NUM_WORST]
    header = ["class", "most often taken for", "labelled", "products", "precision", "recall", "F1"]
    blocks: list[Block] = []
    if len(worst):
        rows = [_class_row(part, scores, labelled, names, int(c), group) for c in worst]
        caption = f"The {len(worst)} worst of the classes with at least {MIN_PRODUCTS} products."
        blocks.append(Table(caption, header, rows, part.origin, num_text=2))
    else:
        blocks += missing(f"No class has {MIN_PRODUCTS} products out-of-fold.")
    listed = order[:MAX_LISTED]
    rows = [_class_row(part, scores, labelled, names, int(c), group) for c in listed]
    caption = f"{len(listed):,} of {len(order):,} classes, the worst first"
    blocks.append(Table(caption, header, rows, part.origin, num_text=2, folded=True))
    return Section("worst", "Worst classes", lead, blocks)


def _class_row(
    part: PartPredictions,
    scores: ClassScores,
    labelled: np.ndarray,
    names: ClassNames,
    class_id: int,
    group: np.ndarray | None,
) -> list[str]:
    own = part.label == class_id
    recall = accuracy(part.correct[own], group=None if group is None else group[own])
    wrong = part.best[own & ~part.correct]
    taken = "-"
    if len(wrong):
        count = np.bincount(wrong)
        taken = f"{names.short[int(count.argmax())]} ({count.max():,})"
    precision = scores.precision[class_id]
    return [
        names.short[class_id],
        taken,
        f"{labelled[class_id]:,}",
        f"{scores.products[class_id]:,}",
        "never predicted" if np.isnan(precision) else percent(precision),
        interval(recall),
        f"{scores.f1[class_id]:.3f}",
    ]


def _sample(rows: np.ndarray) -> np.ndarray:
    """At most MAX_POINTS of the rows, drawn evenly."""
    if len(rows) <= MAX_POINTS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))


def _scatter(
    key: str, label: str, values: np.ndarray, labelled: np.ndarray, shown: np.ndarray, origin: str
) -> Chart:
    def paint(axes: Axes) -> None:
        axes.plot(
            labelled[shown],
            values[shown],
            "o",
            color=SERIES[0],
            markersize=4,
            alpha=0.55,
            markeredgewidth=0,
        )
        log_counts(axes)
        axes.set(xlabel="labelled products of the class", ylabel=label, ylim=(-0.03, 1.03))

    svg = draw(f"size-{key}", f"{label} of each class against its size", paint)
    return Chart(svg, f"{label} of each class against its size.", origin)


def _histograms(part: PartPredictions, labelled: np.ndarray) -> Chart:
    bins = size_bins(part, labelled)
    top = int(labelled.max())

    def paint(axes: Axes) -> None:
        x = np.arange(len(bins))
        values = np.array([row.accuracy.value for row in bins])
        ends = np.array([(row.accuracy.low, row.accuracy.high) for row in bins]).T
        axes.bar(x - 0.2, values, 0.38, color=SERIES[0], label="accuracy")
        axes.bar(x + 0.2, [row.mean_f1 for row in bins], 0.38, color=SERIES[1], label="mean F1")
        axes.vlines(x - 0.2, *ends, color=GROUND, linewidth=3)
        axes.vlines(x - 0.2, *ends, color=INK, linewidth=1.3)
        labels = [f"{row.low}-{min(row.high - 1, top)}\n{row.num_classes} cl." for row in bins]
        axes.set_xticks(x, labels, size=8)
        axes.set(xlabel="labelled products of a class; classes", ylim=(0, 1.03))
        axes.legend(fontsize=8, loc="upper left")

    key = "histogram-" + part.origin.split()[0]
    svg = draw(key, "accuracy and mean F1 by class size", paint)
    return Chart(svg, "Accuracy (95 % intervals) and mean F1 by class size.", part.origin)


def _f1_histogram(scores: ClassScores, origin: str) -> Chart:
    f1 = scores.f1[scores.products > 0]

    def paint(axes: Axes) -> None:
        axes.hist(f1, 20, range=(0, 1), color=SERIES[0], edgecolor=GROUND, linewidth=0.6)
        axes.set(xlabel="F1", ylabel="classes", xlim=(0, 1))
        whole_numbers(axes.yaxis)

    svg = draw("f1-histogram", "number of classes by F1", paint)
    return Chart(svg, f"F1 of {len(f1):,} classes.", origin)
