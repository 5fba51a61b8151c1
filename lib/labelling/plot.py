"""The report as a picture: how right people and models are, and what people take for what."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")  # a file, never a window

import matplotlib.pyplot as plt

from lib.artifacts import replacing
from lib.labelling.report import SKIPPED

PEOPLE, MODELS = "#0072b2", "#e69f00"  # told apart by all eyes
MOST = 30  # classes whose names fit beside a matrix


def draw(said: dict[str, Any], path: Path) -> None:
    """A PNG of what `report.data` found; there must be labels."""
    matrix, shown, columns = _matrix(said)
    bars = _bars(said)
    wide, high = 5.5 + 0.42 * len(columns), max(3.4, 1.6 + 0.42 * max(len(shown), len(bars)))
    made, (left, right) = plt.subplots(
        1,
        2,
        figsize=(wide, high),
        width_ratios=[4.2, 0.9 + 0.42 * len(columns)],
        layout="constrained",
    )
    _draw_bars(left, bars)
    _draw_matrix(right, matrix, shown, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        made.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    plt.close(made)


def _bars(said: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    people = [(f"person {person}", one, PEOPLE) for person, one in said["people"].items()]
    models = [(name, one, MODELS) for name, one in said["models"].items()]
    found = [(name, one["accuracy"], colour) for name, one, colour in (*people, *models)]
    return [(name, figure, colour) for name, figure, colour in found if figure]


def _draw_bars(axes: Any, bars: list[tuple[str, dict[str, Any], str]]) -> None:
    value, low, high = (100 * np.array([one[key] for _, one, _ in bars]) for key in _ENDS)
    places = np.arange(len(bars))
    axes.barh(places, value, 0.6, color=[colour for *_, colour in bars])
    error = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
    axes.errorbar(value, places, xerr=error, fmt="none", ecolor="#222222", capsize=3)
    axes.set_yticks(places, [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("% right, with 95 % intervals")
    axes.set_title("People and models, same products", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


_ENDS = ("value", "low", "high")


def _matrix(said: dict[str, Any]) -> tuple[np.ndarray, list[str], list[str]]:
    """Counts int [rows, columns], the true classes and the answers; of many classes, those that
    people mistook most often."""
    pairs = said["confusion"]
    wrong = dict.fromkeys([*said["classes"], SKIPPED], 0)
    for pair in pairs:
        if pair["truth"] != pair["answer"]:
            wrong[pair["truth"]] += pair["count"]
            wrong[pair["answer"]] += pair["count"]
    seen = {pair["truth"] for pair in pairs} | {pair["answer"] for pair in pairs}
    kept = sorted((name for name in wrong if name in seen), key=lambda name: -wrong[name])[:MOST]
    columns = [name for name in wrong if name in kept]
    shown = [name for name in columns if name != SKIPPED]
    matrix = np.zeros((len(shown), len(columns)), np.int64)
    for pair in pairs:
        if pair["truth"] in shown and pair["answer"] in columns:
            matrix[shown.index(pair["truth"]), columns.index(pair["answer"])] = pair["count"]
    return matrix, shown, columns


def _draw_matrix(axes: Any, matrix: np.ndarray, shown: list[str], columns: list[str]) -> None:
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row, column in np.argwhere(matrix).tolist():
        colour = "white" if share[row, column] > 0.55 else "#222222"
        axes.text(column, row, matrix[row, column], ha="center", va="center", color=colour, size=8)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(shown)), shown)
    axes.set_title("What it is (rows), what people say", fontsize=11, loc="left")
