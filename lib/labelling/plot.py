"""The report as a figure: accuracy of people and models, and the confusion matrix of people."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")  # write files, open no window

import matplotlib.pyplot as plt

from lib.labelling.report import CANNOT_TELL
from lib.utils.files import atomic_write

PEOPLE_COLOR, MODEL_COLOR = "#0072b2", "#e69f00"  # distinct for color-blind readers
MAX_CLASSES = 30  # class names that fit beside the matrix


def draw(report: dict[str, Any], path: Path) -> None:
    """Write a PNG of `report.to_dict`, which must contain labels of people."""
    matrix, rows, columns = _matrix(report)
    bars = _bars(report)
    width = 5.5 + 0.42 * len(columns)
    height = max(3.4, 1.6 + 0.42 * max(len(rows), len(bars)))
    figure, (left, right) = plt.subplots(
        1,
        2,
        figsize=(width, height),
        width_ratios=[4.2, 0.9 + 0.42 * len(columns)],
        layout="constrained",
    )
    _draw_bars(left, bars)
    _draw_matrix(right, matrix, rows, columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
    plt.close(figure)


def _bars(report: dict[str, Any]) -> list[tuple[str, dict[str, Any], str]]:
    """Name, accuracy and color of everyone with an accuracy."""
    people = [(f"person {n}", result, PEOPLE_COLOR) for n, result in report["people"].items()]
    models = [(name, result, MODEL_COLOR) for name, result in report["models"].items()]
    return [
        (name, result["accuracy"], color)
        for name, result, color in (*people, *models)
        if result["accuracy"]
    ]


def _draw_bars(axes: Any, bars: list[tuple[str, dict[str, Any], str]]) -> None:
    ends = ("value", "low", "high")
    value, low, high = (100 * np.array([accuracy[key] for _, accuracy, _ in bars]) for key in ends)
    y = np.arange(len(bars))
    axes.barh(y, value, 0.6, color=[color for *_, color in bars])
    error = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
    axes.errorbar(value, y, xerr=error, fmt="none", ecolor="#222222", capsize=3)
    axes.set_yticks(y, [name for name, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("accuracy, % (95 % intervals)")
    axes.set_title("People and models, same products", fontsize=11, loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _matrix(report: dict[str, Any]) -> tuple[np.ndarray, list[str], list[str]]:
    """Counts int64 [rows, columns], names of the true classes (rows) and answers (columns).

    At most MAX_CLASSES names, those of the most mistakes.
    """
    pairs = report["confusion"]
    mistakes = dict.fromkeys([*report["classes"], CANNOT_TELL], 0)
    for pair in pairs:
        if pair["truth"] != pair["answer"]:
            mistakes[pair["truth"]] += pair["count"]
            mistakes[pair["answer"]] += pair["count"]
    occurring = {pair["truth"] for pair in pairs} | {pair["answer"] for pair in pairs}
    names = sorted((n for n in mistakes if n in occurring), key=lambda name: -mistakes[name])
    columns = [name for name in mistakes if name in names[:MAX_CLASSES]]
    rows = [name for name in columns if name != CANNOT_TELL]
    matrix = np.zeros((len(rows), len(columns)), np.int64)
    for pair in pairs:
        if pair["truth"] in rows and pair["answer"] in columns:
            matrix[rows.index(pair["truth"]), columns.index(pair["answer"])] = pair["count"]
    return matrix, rows, columns


def _draw_matrix(axes: Any, matrix: np.ndarray, rows: list[str], columns: list[str]) -> None:
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    for row, column in np.argwhere(matrix).tolist():
        color = "white" if share[row, column] > 0.55 else "#222222"
        axes.text(column, row, matrix[row, column], ha="center", va="center", color=color, size=8)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title("True class (rows), people's label (columns)", fontsize=11, loc="left")
