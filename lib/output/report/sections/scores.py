"""Headline figures, the ladder, and whether probabilities can be trusted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from lib.evaluation.metrics import Estimate, accuracy
from lib.output.report.blocks import (
    LOCKED,
    OUT_OF_FOLD,
    Block,
    Chart,
    Lines,
    Section,
    Text,
    Tile,
    Tiles,
    interval,
    missing,
    percent,
)
from lib.output.report.charts import FAINT, GROUND, HEIGHT, INK, SERIES, WIDTH, draw
from lib.output.report.part import PartPredictions

NUM_BINS = 10  # of probabilities
ROW_HEIGHT = 0.21  # inches of a row of the ladder
MAX_LADDER_ROWS = 80  # drawn; scores.json has all


def headline_section(
    scores: Sequence[dict[str, Any]],
    submitted: str,
    promise: dict[str, Any],
    calibration: dict[str, Any],
    ladder_text: str,
) -> Section:
    """The figures that count. Arguments: scores.json, the name of the submitted row, promise.json,
    calibration.json and ladder.txt of the artifact `submit`."""
    final = next(row for row in scores if row["layer"] == "blend" and row["name"] == submitted)
    locked = Estimate(final["accuracy"], final["low"], final["high"], final["n"])
    tiles = [
        _tile("Locked accuracy", locked, "products that nothing was fitted to", LOCKED),
        _tile("Out-of-fold accuracy", Estimate(**promise["out_of_fold"]), "products", OUT_OF_FOLD),
    ]
    if (alone := promise["locked_without_twin"]) is not None and promise["locked_with_twin"]:
        of = "products unlike those trained on"
        tiles.append(_tile("Without a near twin", Estimate(**alone), of, LOCKED))
    if "test" in promise:
        expected = Estimate(**promise["test"]["expected_accuracy"])
        differs = "unlike" if promise["test"]["differs"] else "like"
        tiles.append(
            _tile("Expected accuracy", expected, f"to classify, {differs} the labelled", "estimate")
        )
    tiles += [_accepted_tile(calibration), _tile("Mean F1", *_mean_f1(promise))]
    notes = ladder_text.rstrip().rpartition("\n\n")[2]
    lead = (
        f"The submitted blend is {submitted}. Every figure has a 95 % interval. Out-of-fold figures"
        " chose the settings; the locked part was only scored."
    )
    return Section("headline", "Headline", lead, [Tiles(tiles), Lines(notes, "What to know")])


def _tile(label: str, estimate: Estimate, of: str, origin: str) -> Tile:
    low, high = 100 * estimate.low, 100 * estimate.high
    detail = f"{low:.1f} .. {high:.1f}; {estimate.n:,} {of}"
    return Tile(label, percent(estimate.value), detail, origin)


def _mean_f1(promise: dict[str, Any]) -> tuple[Estimate, str, str]:
    facts = promise["mean_f1"]
    return Estimate(**facts["estimate"]), f"products of {facts['classes']:,} classes", OUT_OF_FOLD


def _accepted_tile(calibration: dict[str, Any]) -> Tile:
    locked, wanted = calibration["locked"], calibration["precision_wanted"]
    if locked["precision"] is None:
        return Tile("Accepted", "none", f"none reaches a precision of {percent(wanted)}", LOCKED)
    precision = Estimate(**locked["precision"])
    detail = f"of products, with a precision of {interval(precision)}; promised: {percent(wanted)}"
    return Tile("Accepted", percent(locked["coverage"]), detail, LOCKED)


def ladder_section(scores: Sequence[dict[str, Any]], submitted: str) -> Section:
    """Every step of the pipeline, with its interval."""
    rows = scores[:MAX_LADDER_ROWS]
    lead = (
        "Every step of the pipeline on the same products, from single networks to blends. The bars"
        " are 95 % intervals. A step is better than another only if the paired comparison says so."
    )
    blocks: list[Block] = [
        Chart(
            draw(
                "ladder",
                "accuracy of every step with its interval",
                lambda axes: _paint_ladder(axes, rows, submitted),
                WIDTH,
                1 + ROW_HEIGHT * len(rows),
            ),
            f"Accuracy of {len(rows)} steps, {scores[0]['n']:,} products."
            f" The diamond is the submitted blend, {submitted}.",
            LOCKED,
            wide=True,
        )
    ]
    if len(rows) < len(scores):
        shown = f"The first {len(rows)} of {len(scores)} steps are shown"
        blocks.append(Text(f"{shown}; submit/scores.json has all."))
    return Section("ladder", "The ladder", lead, blocks)


def _paint_ladder(axes: Axes, rows: Sequence[dict[str, Any]], submitted: str) -> None:
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    for y, row in enumerate(rows):
        color = SERIES[layers.index(row["layer"]) % len(SERIES)]
        final = row["layer"] == "blend" and row["name"] == submitted
        axes.plot([row["low"], row["high"]], [y, y], color=color, linewidth=2)
        axes.plot(
            row["accuracy"], y, "D" if final else "o", color=color, markersize=7 if final else 4.5
        )
    axes.set_yticks(range(len(rows)), [f"{row['layer']}: {row['name']}" for row in rows], size=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("accuracy")


def reliability_section(locked: PartPredictions, calibration: dict[str, Any]) -> Section:
    """Whether a probability of 0.9 is right nine times in ten, and from where on to accept."""
    threshold = calibration["threshold"]
    lead = (
        "Of the predictions with a probability of 0.9, nine in ten should be right: the points"
        " should lie on the diagonal. Calibration and threshold were fitted out-of-fold."
    )
    if not len(locked.product):
        return Section("reliability", "Reliability", lead, missing("The locked part is empty."))
    error = calibration["locked"]["expected_calibration_error"]
    accept = (
        "No threshold reaches the precision that was asked for, so nothing is accepted."
        if threshold is None
        else f"Predictions right of the dashed line ({threshold:.3f}) are accepted."
    )
    reliability = Chart(
        draw("reliability", "accuracy by probability", lambda a: _paint_bins(a, locked, threshold)),
        f"Accuracy by probability, with 95 % intervals. Expected calibration error {error:.3f}."
        f" {accept}",
        LOCKED,
    )
    coverage = Chart(
        draw("coverage", "precision by coverage", lambda a: _paint_coverage(a, locked, threshold)),
        "Precision of the most probable predictions, by the fraction of products that is accepted.",
        LOCKED,
    )
    return Section("reliability", "Reliability", lead, [reliability, coverage])


def reliability_bins(part: PartPredictions) -> list[tuple[float, Estimate]]:
    """Mean probability and accuracy of the products in each of the equally wide bins."""
    index = np.minimum((part.probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    bins = []
    for number in np.unique(index).tolist():
        chosen = index == number
        group = None if part.group is None else part.group[chosen]
        mean = float(part.probability[chosen].mean(dtype=np.float64))
        bins.append((mean, accuracy(part.correct[chosen], group=group)))
    return bins


def _paint_bins(axes: Axes, part: PartPredictions, threshold: float | None) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    total = len(part.product)
    for mean, estimate in reliability_bins(part):
        axes.plot([mean, mean], [estimate.low, estimate.high], color=SERIES[0])
        size = 3 + 9 * (estimate.n / total) ** 0.5
        axes.plot(mean, estimate.value, "o", color=SERIES[0], markersize=size, mec=GROUND)
    if threshold is not None:
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="probability", ylabel="fraction right")


def _paint_coverage(axes: Axes, part: PartPredictions, threshold: float | None) -> None:
    order = np.argsort(-part.probability, kind="stable")
    count = np.arange(1, len(order) + 1)
    precision = np.cumsum(part.correct[order]) / count
    shown = np.unique(np.linspace(0, len(order) - 1, 200).astype(np.int64))
    axes.plot(count[shown] / len(order), precision[shown], color=SERIES[0])
    if threshold is not None:
        coverage = float((part.probability >= threshold).mean())
        axes.axvline(coverage, color=INK, linestyle="--", linewidth=1)
    axes.set(xlim=(0, 1), ylim=(None, 1.01), xlabel="fraction accepted", ylabel="precision")


def chart_height(num_rows: int) -> float:
    """Inches of a chart with a row for each of some names."""
    return max(HEIGHT / 2, 0.8 + 0.24 * num_rows)
