"""Number of categories against number of drawings (Figures 10, 11 of the Quick, Draw! report).

    python -m studies.quickdraw_classes --drawings 15 30 45 60
    python -m studies.quickdraw_classes --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set split.n_folds=4 --set name=quickdraw_large \\
        --drawings 500 1000 1500 2000

Trains one network for each number of categories, number of drawings and seed. Categories are drawn
for each number and seed among those with enough drawings; the network is evaluated on all held-out
drawings (fold 0) of its categories. Then the report's regression by least squares: accuracy and
loss by categories and drawings. Trials with the same draw of categories are not independent, so the
main intervals cluster by draw; the plain intervals, which the report has, stand beside them.
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
from lib.pipeline.experiment import Experiment
from studies import pages, trials
from studies.trials import Drawings, Trial, TrialResult

DRAWINGS = tuple(range(7000, 20001, 1000))
CATEGORIES = tuple(range(3, 11))
# The report's change by one more category and by one more drawing of each: points of accuracy, and
# percent of the loss.
REPORT = {"accuracy": (-1.88, 0.0016), "loss": (6.4, -0.0056)}


def study(arguments: argparse.Namespace, experiment: Experiment, data: Drawings) -> None:
    """Run the trials; write the CSV, the figure and the section of the page."""
    eligible = _eligible(data, arguments)
    model = replace(trials.find_model(experiment, arguments.model), epochs=arguments.epochs)
    grid = [
        (num_categories, size, seed)
        for seed in range(arguments.seeds)
        for num_categories in arguments.categories
        for size in arguments.drawings
    ]
    planned = [make_trial(data, model, eligible, *cell) for cell in grid]
    rows = summarize(grid, planned, trials.run_trials(experiment, planned))
    out, name = Path(arguments.out), f"classes_{experiment.config.name}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows)
    text = section(experiment.config, len(eligible), rows, arguments)
    key = name.replace("_", " ")
    pages.write_section(out / "quickdraw.md", key, f"{text}![](quickdraw/{name}.png)")
    print(text)


def _eligible(data: Drawings, arguments: argparse.Namespace) -> list[int]:
    """The classes with enough training drawings for the whole grid."""
    if len(set(arguments.drawings)) < 2 or len(set(arguments.categories)) < 2:
        raise UserError("the regression needs two numbers of drawings and two of categories")
    largest = max(arguments.drawings)
    eligible = [c for c in range(len(data.categories)) if data.smallest_size([c]) >= largest]
    if len(eligible) < max(arguments.categories):
        raise UserError(
            f"{len(eligible)} categories have {largest} training drawings, but --categories needs"
            f" {max(arguments.categories)}; lower --drawings or --categories"
        )
    return eligible


def make_trial(
    data: Drawings,
    model: Model,
    eligible: Sequence[int],
    num_categories: int,
    size: int,
    seed: int,
) -> Trial:
    """Train on `size` drawings of each of `num_categories` random categories."""
    rng = np.random.default_rng([seed, num_categories])
    class_ids = np.sort(rng.choice(eligible, num_categories, replace=False)).tolist()
    train = data.sample(data.train, class_ids, size, seed)
    test, labels = data.of_classes(data.held_out, class_ids), data.labels(class_ids)
    name = f"classes-{num_categories}-{size}"
    return Trial(name, model, train, test, labels, num_categories, seed)


def summarize(
    grid: Sequence[tuple[int, int, int]],
    planned: Sequence[Trial],
    results: Sequence[TrialResult],
) -> list[dict[str, Any]]:
    """A row for each trial of the grid (categories, drawings, seed)."""
    return [
        {
            "categories": num_categories,
            "drawings": size,
            "seed": seed,
            "test_drawings": len(trial.test),
            "accuracy": round(float(result.correct(trial).mean()), 4),
            "loss": round(result.loss, 4),
        }
        for (num_categories, size, seed), trial, result in zip(grid, planned, results, strict=True)
    ]


def regress(rows: Sequence[dict[str, Any]], metric: str) -> list[tuple[float, ...]]:
    """Least squares of `metric` on a constant, the categories and the drawings.

    Returns for each of the three: coefficient, ends of the clustered 95 % interval, ends of the
    plain one.
    """
    inputs = np.array([[row["categories"], row["drawings"]] for row in rows], float)
    inputs = sm.add_constant(inputs, has_constant="add")
    values = np.array([row[metric] for row in rows])
    draws = np.array([100 * row["seed"] + row["categories"] for row in rows])
    plain = sm.OLS(values, inputs).fit()
    clustered = plain.get_robustcov_results("cluster", groups=draws)
    return [
        (float(value), *map(float, ends), *map(float, plain_ends))
        for value, ends, plain_ends in zip(
            plain.params, clustered.conf_int(), plain.conf_int(), strict=True
        )
    ]


def section(
    config: Config,
    num_eligible: int,
    rows: Sequence[dict[str, Any]],
    arguments: argparse.Namespace,
) -> str:
    """The heading, settings and table of the page's section."""
    counts, sizes = arguments.categories, arguments.drawings
    step = 1000 if max(sizes) >= 1000 else 10
    lines = []
    for metric, scale in (("accuracy", 100), ("loss", 1)):
        _, by_category, by_drawing = regress(rows, metric)
        for change, factor, coefficient, report in (
            ("one more category", 1, by_category, REPORT[metric][0]),
            (f"{step:,} more drawings of each", step, by_drawing, step * REPORT[metric][1]),
        ):
            value, low, high, plain_low, plain_high = (scale * factor * x for x in coefficient)
            unit = " points" if metric == "accuracy" else ""
            lines.append(
                [
                    metric,
                    change,
                    f"{value:+.3f} ({low:+.3f}..{high:+.3f}){unit}",
                    f"{plain_low:+.3f}..{plain_high:+.3f}",
                    f"{report:+.3g}" + (unit if metric == "accuracy" else " %"),
                ]
            )
    header = ["", "by", "change (95 % interval, clustered)", "plain interval", "the report"]
    return (
        f"### Categories and drawings: {config.name}\n\n"
        f"{min(counts)} to {max(counts)} of {num_eligible} categories, {min(sizes):,} to"
        f" {max(sizes):,} drawings of each (the report: 7,000 to 20,000), {arguments.seeds} draws:"
        f" {len(rows)} networks (`{arguments.model}`, {arguments.epochs} epochs).\n\n"
        f"{table(header, lines)}\n\n"
    )


def _draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    figure, (left, right) = pages.subplots(2)
    for axes, x, curve in ((left, "categories", "drawings"), (right, "drawings", "categories")):
        curves = sorted({row[curve] for row in rows})
        alphas = np.linspace(0.25, 0.95, len(curves))
        xs = sorted({row[x] for row in rows})
        for value, alpha in zip(curves, alphas, strict=True):
            of_curve = [row for row in rows if row[curve] == value]
            means = [np.mean([r["accuracy"] for r in of_curve if r[x] == at]) for at in xs]
            color = (0.0, 0.45, 0.7, alpha)
            axes.plot(xs, 100 * np.array(means), "o-", color=color, label=f"{value} {curve}")
        axes.set_xlabel("categories" if x == "categories" else "drawings of each category")
        axes.set_ylabel("accuracy on held-out drawings, %")
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13), "ncols": 3}
        axes.legend(frameon=False, fontsize="small", **below)
    pages.save(figure, path)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "A grid of numbers of categories and of drawings."
    parser = trials.argument_parser(description, "quickdraw_classes")
    parser.add_argument(
        "--drawings", type=int, nargs="+", default=DRAWINGS, help="numbers of drawings of each"
    )
    parser.add_argument(
        "--categories", type=int, nargs="+", default=CATEGORIES, help="numbers of categories"
    )
    trials.add_model_arguments(parser)
    arguments = parser.parse_args()
    return trials.run_study(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
