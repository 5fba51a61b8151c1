"""More categories against more drawings of each (Q7, the report's Figures 10 and 11).

    python -m studies.quickdraw_classes --rows 40 80 120 160
    python -m studies.quickdraw_classes --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set name=quickdraw_large --rows 500 1000 1500 2000 2500 3000

One network for each number of categories, number of drawings and seed. The categories are drawn
anew for each number and seed, among those that have the drawings; all drawings of a seed's
categories are asked, of the locked part. Then the report's regression, by least squares: accuracy
and loss by categories and drawings. Cells of one draw of categories are no independent ones, so the
intervals are those of clusters, one for each draw; the plain ones, as the report has them, beside.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import statsmodels.api as sm

from lib.config.model import Model
from lib.config.schema import Config
from lib.errors import UserError
from lib.evaluation.markdown import table
from studies import cells, pages
from studies.cells import Cell, Known, Outcome

ROWS = tuple(range(7000, 20001, 1000))
CATEGORIES = tuple(range(3, 11))
# Change of a figure by a category more and by a drawing more of each, in points of accuracy, and in
# percent as the report writes of its loss.
REPORT = {"accuracy": (-1.88, 0.0016), "loss": (6.4, -0.0056)}


def study(arguments: argparse.Namespace, config: Config, known: Known) -> None:
    if len(set(arguments.rows)) < 2 or len(set(arguments.categories)) < 2:
        raise UserError(
            "a regression needs two numbers of drawings and two of categories, at least"
        )
    most = max(arguments.rows)
    able = [one for one in range(len(known.classes)) if len(known.of(known.fit, [one])) >= most]
    if len(able) < max(arguments.categories):
        raise UserError(
            f"{len(able)} categories have {most} drawings to learn from, and"
            f" --categories asks for {max(arguments.categories)}; lower --rows or --categories"
        )
    model = replace(cells.model_of(config, arguments.model), epochs=arguments.epochs)
    grid = [
        (count, rows, seed)
        for seed in range(arguments.seeds)
        for count in arguments.categories
        for rows in arguments.rows
    ]
    asked = [_cell(known, model, able, *place) for place in grid]
    found = cells.compute(config, asked)
    rows = lines(grid, asked, found)
    out, name = Path(arguments.out), f"classes_{config.name}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows)
    text = section(config, able, rows, arguments)
    pages.put(out / "quickdraw.md", name.replace("_", " "), f"{text}![](quickdraw/{name}.png)")
    print(text)


def _cell(
    known: Known, model: Model, able: Sequence[int], count: int, rows: int, seed: int
) -> Cell:
    rng = np.random.default_rng([seed, count])
    classes = np.sort(rng.choice(able, count, replace=False)).tolist()
    taught = known.some(known.fit, classes, rows, seed)
    asked, labels = known.of(known.locked, classes), known.numbered(classes)
    return Cell(f"classes-{count}-{rows}", model, taught, asked, labels, count, seed)


def lines(
    grid: Sequence[tuple[int, int, int]], asked: Sequence[Cell], found: Sequence[Outcome]
) -> list[dict[str, Any]]:
    return [
        {
            "categories": count,
            "rows": rows,
            "seed": seed,
            "asked": len(cell.test),
            "accuracy": round(float(one.right(cell).mean()), 4),
            "loss": round(one.loss, 4),
        }
        for (count, rows, seed), cell, one in zip(grid, asked, found, strict=True)
    ]


def fitted(rows: Sequence[dict[str, Any]], name: str) -> list[tuple[float, ...]]:
    """Of the constant, a category more and a drawing more: the change in `name`, the ends of its
    interval by clusters, and of the plain one."""
    seen = sm.add_constant(
        np.array([[row["categories"], row["rows"]] for row in rows], float), has_constant="add"
    )
    measured = np.array([row[name] for row in rows])
    draws = np.array([100 * row["seed"] + row["categories"] for row in rows])
    plain = sm.OLS(measured, seen).fit()
    clustered = plain.get_robustcov_results("cluster", groups=draws)
    return [
        (float(value), *map(float, ends), *map(float, others))
        for value, ends, others in zip(
            plain.params, clustered.conf_int(), plain.conf_int(), strict=True
        )
    ]


def section(
    config: Config,
    able: Sequence[int],
    rows: Sequence[dict[str, Any]],
    arguments: argparse.Namespace,
) -> str:
    counts, sizes = arguments.categories, arguments.rows
    more = 1000 if max(sizes) >= 1000 else 10
    shown = []
    for name, scale in (("accuracy", 100), ("loss", 1)):
        _, by_category, by_row = fitted(rows, name)
        for words, many, change, theirs in (
            ("a category more", 1, by_category, REPORT[name][0]),
            (f"{more:,} drawings more of each", more, by_row, more * REPORT[name][1]),
        ):
            value, low, high, below, above = (scale * many * x for x in change)
            unit = " points" if name == "accuracy" else ""
            shown.append(
                [
                    name,
                    words,
                    f"{value:+.3f} ({low:+.3f}..{high:+.3f}){unit}",
                    f"{below:+.3f}..{above:+.3f}",
                    f"{theirs:+.3g}" + (unit if name == "accuracy" else " %"),
                ]
            )
    header = ["", "by", "change (95 % interval by draws)", "plain interval", "the report"]
    return (
        f"### More categories, more drawings: {config.name}\n\n"
        f"{min(counts)} to {max(counts)} of {len(able)} categories, {min(sizes):,} to"
        f" {max(sizes):,} drawings of each (the report: 7,000 to 20,000), {arguments.seeds} draws:"
        f" {len(rows)} networks (`{arguments.model}`, {arguments.epochs} epochs).\n\n"
        f"{table(header, shown)}\n\n"
    )


def _draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    made, (left, right) = pages.figure(2)
    for axes, along, by, label in (
        (left, "categories", "rows", "drawings"),
        (right, "rows", "categories", "categories"),
    ):
        values = sorted({row[by] for row in rows})
        shades = np.linspace(0.25, 0.95, len(values))
        for value, shade in zip(values, shades, strict=True):
            places = sorted({row[along] for row in rows})
            means = [
                100 * np.mean([r["accuracy"] for r in rows if r[along] == at and r[by] == value])
                for at in places
            ]
            axes.plot(places, means, "o-", color=(0.0, 0.45, 0.7, shade), label=f"{value} {label}")
        axes.set_xlabel("categories" if along == "categories" else "drawings of each category")
        axes.set_ylabel("% of locked drawings right")
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 3}
        axes.legend(frameon=False, fontsize="small", **below)
    pages.save(made, path)


def main() -> int:
    parser = cells.parser("A grid of categories by drawings (Figures 10, 11).", "quickdraw_classes")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="of each category")
    parser.add_argument("--categories", type=int, nargs="+", default=CATEGORIES, help="how many")
    cells.of_one_model(parser)
    arguments = parser.parse_args()
    return cells.run(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
