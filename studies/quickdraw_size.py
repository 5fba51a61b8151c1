"""How many drawings of a category are enough (Q5, the report's Figure 8).

    python -m studies.quickdraw_size
    python -m studies.quickdraw_size --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set name=quickdraw_large --categories 5

One network, ten epochs, more and more drawings of each category, always asked about the same
locked ones. Sizes that the categories do not have are left out, and said so.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.schema import Config
from lib.evaluation.markdown import table
from studies import cells, pages
from studies.cells import Cell, Known, Outcome

SIZES = (25, 50, 100, 500, 1000, 3000, 5000, 7000, 10000)
# By drawings of a category: accuracy in training and on the rest, then losses, in epochs 1 and 10.
REPORT = {
    500: ((0.39, 0.92), (0.58, 0.82), (1.93, 0.25), (1.45, 0.63)),
    1000: ((0.46, 0.91), (0.62, 0.83), (1.66, 0.28), (1.22, 0.63)),
    3000: ((0.66, 0.93), (0.77, 0.87), (1.09, 0.22), (0.77, 0.87)),
    5000: ((0.66, 0.93), (0.79, 0.89), (0.99, 0.22), (0.66, 0.41)),
    7000: ((0.69, 0.93), (0.80, 0.89), (0.99, 0.22), (0.70, 0.38)),
    10000: ((0.76, 0.91), (0.83, 0.89), (0.79, 0.20), (0.56, 0.35)),
}
FIGURES = ("accuracy", "valid_accuracy", "loss", "valid_loss")


def study(arguments: argparse.Namespace, config: Config, known: Known) -> None:
    classes = known.largest(arguments.categories)
    sizes, left_out = _sizes(known, classes, arguments.rows)
    model = replace(cells.model_of(config, arguments.model), epochs=arguments.epochs)
    asked = [
        _cell(known, model, classes, rows, seed)
        for seed in range(arguments.seeds)
        for rows in sizes
    ]
    found = cells.compute(config, asked)
    rows = lines(sizes, asked, found)
    out, name = Path(arguments.out), f"size_{config.name}_{len(classes)}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows)
    text = section(config, known, classes, model.arch, rows, left_out, arguments)
    pages.put(out / "quickdraw.md", name.replace("_", " "), f"{text}![](quickdraw/{name}.png)")
    print(text)


def _sizes(known: Known, classes: Sequence[int], wanted: Sequence[int]) -> tuple[list[int], str]:
    """Those of the sizes that all classes have, all that they have beside, and what is missing."""
    least = min(len(known.of(known.fit, [one])) for one in classes)
    taken = [rows for rows in wanted if rows < least]
    missing = ", ".join(str(rows) for rows in wanted if rows > least)
    return [*taken, least], missing


def _cell(known: Known, model: Any, classes: list[int], rows: int, seed: int) -> Cell:
    taught = known.some(known.fit, classes, rows, seed)
    asked, labels = known.of(known.locked, classes), known.numbered(classes)
    return Cell(f"size-{rows}", model, taught, asked, labels, len(classes), seed)


def lines(
    sizes: Sequence[int], asked: Sequence[Cell], found: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """A row for each size: means over the seeds, in the first and the last epoch."""
    rows = []
    for size in sizes:
        some = [o for c, o in zip(asked, found, strict=True) if c.name == f"size-{size}"]
        row: dict[str, Any] = {"rows": size}
        for name in FIGURES:
            for end, place in (("first", 0), ("last", -1)):
                values = [one.history[place][name] for one in some]
                row[f"{name}_{end}"] = round(float(np.mean(values)), 4)
        reached = [one.history[-1]["valid_accuracy"] for one in some]
        row["valid_accuracy_spread"] = round(float(np.std(reached)), 4)
        rows.append(row)
    return rows


def section(
    config: Config,
    known: Known,
    classes: Sequence[int],
    network: str,
    rows: list[dict[str, Any]],
    left_out: str,
    arguments: argparse.Namespace,
) -> str:
    shown = []
    for row in rows:
        ours = [_pair(row[f"{name}_first"], row[f"{name}_last"]) for name in FIGURES]
        theirs = [_pair(*pair) for pair in REPORT.get(row["rows"], ())] or [""] * 4
        shown.append(
            [row["rows"], *(cell for pair in zip(ours, theirs, strict=True) for cell in pair)]
        )
    header = ["drawings of each", "accuracy, training", "report", "accuracy, locked", "report"]
    header += ["loss, training", "report", "loss, locked", "report"]
    names = ", ".join(known.classes.key(number) for number in classes)
    missing = f" The files have too few for {left_out}." if left_out else ""
    return (
        f"### More drawings: {config.name}, {len(classes)} categories\n\n"
        f"`{network}`, (epoch 1, epoch {arguments.epochs}), means of {arguments.seeds} seeds; asked"
        f" about {len(known.of(known.locked, classes)):,} locked drawings.{missing} Categories:"
        f" {names}. Figures of the report are of its own ten.\n\n{table(header, shown)}\n\n"
    )


def _pair(first: float, last: float) -> str:
    return f"{first:.2f}, {last:.2f}"


def _draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    made, (left, right) = pages.figure(2)
    sizes = [row["rows"] for row in rows]
    for axes, name, words in ((left, "accuracy", "accuracy"), (right, "loss", "cross-entropy")):
        for key, label, colour in (
            (name, "training", pages.BLUE),
            (f"valid_{name}", "locked", pages.RED),
        ):
            for end, style in (("first", ":"), ("last", "-")):
                values = [row[f"{key}_{end}"] for row in rows]
                axes.plot(
                    sizes, values, style, color=colour, marker="o", label=f"{label}, {end} epoch"
                )
        pages.counted(axes, sizes)
        axes.set_xlabel("drawings of each category")
        axes.set_ylabel(words)
    lines, names = right.get_legend_handles_labels()
    made.legend(lines, names, loc="outside lower center", ncols=4, frameon=False)
    pages.save(made, path)


def main() -> int:
    parser = cells.parser("More drawings of each category (Figure 8).", "quickdraw_size")
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="of each category")
    parser.add_argument("--categories", type=int, default=10, help="the largest (%(default)s)")
    cells.of_one_model(parser)
    arguments = parser.parse_args()
    return cells.run(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
