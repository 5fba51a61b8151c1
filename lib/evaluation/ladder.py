"""The ladder: accuracy of every step of the pipeline on the locked part.

A row is a rule that predicts one class for each product: a network, a mean of networks, a booster,
a blend. All rows are scored on the same products, in the same order, so that any two can be
compared product by product.

    scores.json   a list of rows: name, layer, part, accuracy, low, high, n
    ladder.txt    the same as a table, and what the submitted row gains over the others
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.evaluation.metrics import Estimate, accuracy, error_reduction, gain


@dataclass(frozen=True)
class LadderRow:
    """Predictions of one step for the products of a part.

    layer: the kind of step: "cnn", "cnn tta", "cnn mean", "neighbors", "hash rule", "candidates",
    "l2", "blend", "tree". correct: bool [Q], whether the predicted class is right. group: int32
    [Q]; products of a group are resampled together for the intervals. baseline: what this row is,
    in words, if the submitted row is to be compared with it; else "".
    """

    name: str
    layer: str
    correct: np.ndarray
    group: np.ndarray | None = None
    baseline: str = ""


def to_records(rows: Sequence[LadderRow], part: str = "locked") -> list[dict[str, object]]:
    """The content of `scores.json`."""
    records: list[dict[str, object]] = []
    for row in rows:
        estimate = accuracy(row.correct, group=row.group)
        records.append(
            {
                "name": row.name,
                "layer": row.layer,
                "part": part,
                "accuracy": round(estimate.value, 6),
                "low": round(estimate.low, 6),
                "high": round(estimate.high, 6),
                "n": estimate.n,
            }
        )
    return records


def to_text(rows: Sequence[LadderRow], final: str, submitted: bool = True) -> str:
    """The content of `ladder.txt`.

    final: name of the row that is submitted, or would be if `submitted` is false.
    """
    width = max(len(row.name) for row in rows)
    products, group = f"{len(rows[0].correct):,} products", rows[0].group
    if group is not None:
        products += f" in {len(np.unique(group)):,} groups"
    lines = [f"accuracy on the locked part, {products} (95 % interval)", ""]
    layer = ""
    for row in rows:
        estimate = accuracy(row.correct, group=row.group)
        mark = ("  <- submitted" if submitted else "  <- final") if row.name == final else ""
        heading = row.layer if row.layer != layer else ""
        layer = row.layer
        lines.append(
            f"  {heading:<11} {row.name:<{width}}  {estimate.value:.4f}"
            f"  ({estimate.low:.4f} .. {estimate.high:.4f}){mark}"
        )
    return "\n".join([*lines, "", *_comparisons(rows, final)]) + "\n"


def best_row(rows: Sequence[LadderRow], layer: str) -> LadderRow:
    """The most accurate row of a layer; the first of equals."""
    of_layer = [row for row in rows if row.layer == layer]
    return max(of_layer, key=lambda row: float(row.correct.mean()))


def reduction_over_single_cnn(rows: Sequence[LadderRow], final: str) -> tuple[LadderRow, Estimate]:
    """The best single CNN with TTA, and the fraction of its errors that the final row avoids."""
    single = best_row(rows, "cnn tta")
    final_row = next(row for row in rows if row.name == final)
    return single, error_reduction(final_row.correct, single.correct, group=final_row.group)


def write(
    folder: Path,
    rows: Sequence[LadderRow],
    final: str,
    submitted: bool = True,
    notes: Sequence[str] = (),
) -> None:
    """Write `scores.json` and `ladder.txt`; `notes` are lines at the end of the latter."""
    (folder / "scores.json").write_text(json.dumps(to_records(rows), indent=1) + "\n")
    lines = "".join(f"{note}\n" for note in notes)
    (folder / "ladder.txt").write_text(to_text(rows, final, submitted) + lines)


def _comparisons(rows: Sequence[LadderRow], final: str) -> list[str]:
    """What the final row gains over the best single CNN, and over every baseline."""
    lines = []
    if not best_row(rows, "cnn tta").correct.all():
        single, fewer = reduction_over_single_cnn(rows, final)
        lines.append(
            f"{final}: {fewer.value:.1%} fewer errors than the best single CNN with TTA"
            f" ({single.name}; 95 % interval {fewer.low:.1%} .. {fewer.high:.1%}){_verdict(fewer)}"
        )
    final_row = next(row for row in rows if row.name == final)
    for row in rows:
        if row.baseline and row.name != final:
            more = gain(final_row.correct, row.correct, group=final_row.group)
            lines.append(gain_line(final, f"{row.layer} {row.name}, {row.baseline}", more))
    return lines


def gain_line(name: str, baseline: str, difference: Estimate) -> str:
    """What `name` gains over `baseline`, in points, and whether it is a gain."""
    value, low, high = (100 * x for x in (difference.value, difference.low, difference.high))
    return (
        f"{name}: {value:+.2f} points against {baseline} (95 % interval {low:+.2f} .. {high:+.2f})"
        f"{_verdict(difference)}"
    )


def _verdict(difference: Estimate) -> str:
    if difference.high < 0:
        return ": a loss"
    return "" if difference.low > 0 else ": no gain, the interval contains zero"
