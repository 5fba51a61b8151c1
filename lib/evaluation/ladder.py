"""The ladder: what each rung adds, in accuracy on the locked part (C17, B5).

A rung is a rule that names one class for each product. All rungs are scored on the same products,
in the same order, so that two of them can be compared pair by pair.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.evaluation.metrics import Estimate, accuracy, fewer_errors, gain


@dataclass(frozen=True)
class LadderRow:
    """`correct` bool [products]: whether the rung names the right class.

    group int32 [products]: products of one are resampled together for the intervals. baseline: in
    words, what the final rung is compared with here; "" if it is not.
    """

    name: str
    layer: str  # "cnn", "cnn tta", "cnn mean", "hash rule", "candidates", "l2", "blend", "tree" ...
    correct: np.ndarray
    group: np.ndarray | None = None
    baseline: str = ""


def scores(rungs: list[LadderRow], part: str = "locked") -> list[dict[str, str | float | int]]:
    """Machine-readable rows: name, layer, part, accuracy, low, high, n."""
    rows: list[dict[str, str | float | int]] = []
    for rung in rungs:
        estimate = accuracy(rung.correct, group=rung.group)
        rows.append(
            {
                "name": rung.name,
                "layer": rung.layer,
                "part": part,
                "accuracy": round(estimate.value, 6),
                "low": round(estimate.low, 6),
                "high": round(estimate.high, 6),
                "n": estimate.n,
            }
        )
    return rows


def text(rungs: list[LadderRow], final: str, submitted: bool = True) -> str:
    """The ladder as a table for people. `final` is the rung that is, or would be, submitted."""
    width = max(len(rung.name) for rung in rungs)
    products, group = f"{len(rungs[0].correct):,} products", rungs[0].group
    if group is not None:
        products += f" in {len(np.unique(group)):,} groups"
    lines = [f"accuracy on the locked part, {products} (95 % interval)", ""]
    layer = ""
    for rung in rungs:
        estimate = accuracy(rung.correct, group=rung.group)
        mark = ("  <- submitted" if submitted else "  <- final") if rung.name == final else ""
        shown = rung.layer if rung.layer != layer else ""
        layer = rung.layer
        lines.append(
            f"  {shown:<11} {rung.name:<{width}}  {estimate.value:.4f}"
            f"  ({estimate.low:.4f} .. {estimate.high:.4f}){mark}"
        )
    return "\n".join([*lines, "", *_comparisons(rungs, final)]) + "\n"


def best(rungs: list[LadderRow], layer: str) -> LadderRow:
    """The most accurate rung of a layer; the first of equals."""
    return max((r for r in rungs if r.layer == layer), key=lambda r: float(r.correct.mean()))


def fewer_than_single(rungs: list[LadderRow], final: str) -> tuple[LadderRow, Estimate]:
    """The best single CNN with TTA, and how many fewer errors the final rung makes."""
    single = best(rungs, "cnn tta")
    chosen = next(rung for rung in rungs if rung.name == final)
    return single, fewer_errors(chosen.correct, single.correct, group=chosen.group)


def _comparisons(rungs: list[LadderRow], final: str) -> list[str]:
    lines = []
    if not best(rungs, "cnn tta").correct.all():
        single, fewer = fewer_than_single(rungs, final)
        lines.append(
            f"{final}: {fewer.value:.1%} fewer errors than the best single CNN with TTA"
            f" ({single.name}; 95 % interval {fewer.low:.1%} .. {fewer.high:.1%}){_verdict(fewer)}"
        )
    chosen = next(rung for rung in rungs if rung.name == final)
    for rung in rungs:
        if rung.baseline and rung.name != final:
            more = gain(chosen.correct, rung.correct, group=chosen.group)
            lines.append(
                f"{final}: {100 * more.value:+.2f} points against {rung.layer} {rung.name},"
                f" {rung.baseline} (95 % interval {100 * more.low:+.2f} .. {100 * more.high:+.2f})"
                f"{_verdict(more)}"
            )
    return lines


def _verdict(gained: Estimate) -> str:
    if gained.high < 0:
        return ": a loss"
    return "" if gained.low > 0 else ": no gain, the interval holds zero"


def write(
    folder: Path,
    rungs: list[LadderRow],
    final: str,
    submitted: bool = True,
    notes: Sequence[str] = (),
) -> None:
    """Write `scores.json` (a list of rows) and `ladder.txt`, which ends with the `notes`."""
    (folder / "scores.json").write_text(json.dumps(scores(rungs), indent=1) + "\n")
    lines = "".join(f"{note}\n" for note in notes)
    (folder / "ladder.txt").write_text(text(rungs, final, submitted) + lines)
