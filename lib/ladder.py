"""The ladder: what each rung adds, in accuracy on the locked part (C17, B5).

A rung is a rule that names one class for each product. All rungs are scored on the same products,
in the same order, so that two of them can be compared pair by pair.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.metrics import Estimate, accuracy, fewer_errors


@dataclass(frozen=True)
class Rung:
    """`correct` bool [products]: whether the rung names the right class.

    group int32 [products]: products of one are resampled together for the intervals.
    """

    name: str
    layer: str  # "cnn", "cnn tta", "cnn mean", "candidates", "l2", "l3" or "blend"
    correct: np.ndarray
    group: np.ndarray | None = None


def scores(rungs: list[Rung], part: str = "locked") -> list[dict[str, str | float | int]]:
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


def text(rungs: list[Rung], final: str, submitted: bool = True) -> str:
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


def best(rungs: list[Rung], layer: str) -> Rung:
    """The most accurate rung of a layer; the first of equals."""
    return max((r for r in rungs if r.layer == layer), key=lambda r: float(r.correct.mean()))


def gain(rungs: list[Rung], final: str) -> tuple[Rung, Estimate]:
    """The best single CNN with TTA, and how many fewer errors the final rung makes."""
    single = best(rungs, "cnn tta")
    chosen = next(rung for rung in rungs if rung.name == final)
    return single, fewer_errors(chosen.correct, single.correct, group=chosen.group)


def _comparisons(rungs: list[Rung], final: str) -> list[str]:
    if best(rungs, "cnn tta").correct.all():
        return []
    single, fewer = gain(rungs, final)
    verdict = "" if fewer.low > 0 else ": no gain, the interval holds zero"
    return [
        f"{final}: {fewer.value:.1%} fewer errors than the best single CNN with TTA"
        f" ({single.name}; 95 % interval {fewer.low:.1%} .. {fewer.high:.1%}){verdict}"
    ]


def write(folder: Path, rungs: list[Rung], final: str, submitted: bool = True) -> None:
    """Write `scores.json` (a list of rows) and `ladder.txt`."""
    (folder / "scores.json").write_text(json.dumps(scores(rungs), indent=1) + "\n")
    (folder / "ladder.txt").write_text(text(rungs, final, submitted))
