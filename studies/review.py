"""What a review earns: accuracy by the share of products that people decide.

    python -m studies.review work/fashion
    python -m studies.review work/fashion --csv review.csv --figure review.png

Reads what a finished run left and trains nothing. Out-of-fold products play those to classify, and
their labels the person, who is always right: a real one is not. Least sure first is the order of
`./run_all.sh --review`; the other order is random. Both are of the same products, so the difference
is paired. "by hand" is the share of decided products on which the models were wrong.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.ticker import PercentFormatter

from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.output.report.part import PartPredictions
from lib.stages.report import read_part
from studies.command import print_report
from studies.compare import open_run
from studies.pages import BLUE, GREY, save, subplots, write_csv
from studies.tables import points

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3)
COLUMNS = (
    *("share", "decided", "least_sure", "low", "high", "random", "random_low", "random_high"),
    *("corrected", "gain", "gain_low", "gain_high"),
)


def review_curve(part: PartPredictions, shares: Sequence[float], seed: int) -> list[dict]:
    """A row of COLUMNS for each share of the products, and `paired`: the gain as an estimate."""
    count = len(part.product)
    least_sure = np.argsort(part.probability, kind="stable")
    at_random = np.random.default_rng(seed).permutation(count)
    rows = []
    for share in shares:
        decided = round(share * count)
        first, second = (
            _decide(part.correct, order[:decided]) for order in (least_sure, at_random)
        )
        sure, drawn = (accuracy(answers, group=part.group) for answers in (first, second))
        earned = gain(first, second, group=part.group)
        wrong = int((~part.correct[least_sure[:decided]]).sum())
        values = [share, decided, sure.value, sure.low, sure.high]
        values += [drawn.value, drawn.low, drawn.high, wrong / max(decided, 1)]
        values += [earned.value, earned.low, earned.high]
        rows.append(dict(zip(COLUMNS, values, strict=True)) | {"paired": earned})
    return rows


def _decide(correct: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Which answers are right, bool [Q], once people decided some products (int64 [n])."""
    answers = correct.copy()
    answers[decided] = True
    return answers


def to_markdown(rows: Sequence[dict]) -> str:
    """The rows as a Markdown table."""

    def percent(row: dict, name: str, low: str, high: str) -> str:
        return f"{100 * row[name]:.1f} ({100 * row[low]:.1f}..{100 * row[high]:.1f})"

    header = ("decided", "least sure first, %", "random, %", "difference, points", "by hand")
    return table(
        header,
        [
            (
                f"{100 * row['share']:g} % ({row['decided']:,})",
                percent(row, "least_sure", "low", "high"),
                percent(row, "random", "random_low", "random_high"),
                points(row["paired"]) if row["decided"] else "",
                f"{100 * row['corrected']:.0f} % were wrong" if row["decided"] else "",
            )
            for row in rows
        ],
    )


def draw(rows: Sequence[dict], path: Path) -> None:
    """Write the curves of both orders, with intervals, as a PNG."""
    figure, axes = subplots()
    curves = (
        ("least sure first", BLUE, ("least_sure", "low", "high")),
        ("at random", GREY, ("random", "random_low", "random_high")),
    )
    shares = [row["share"] for row in rows]
    for label, color, names in curves:
        value, low, high = ([row[name] for row in rows] for name in names)
        axes.plot(shares, value, "o-", color=color, label=label)
        axes.fill_between(shares, low, high, color=color, alpha=0.2, linewidth=0)
    axes.set_xticks(shares)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("share of the products that people decide")
    axes.set_ylabel("accuracy of all, with 95 % intervals")
    axes.legend(frameon=False)
    save(figure, path)


def report(arguments: argparse.Namespace) -> str:
    """Write the CSV and the figure that were asked for; returns the table in Markdown."""
    experiment = open_run(arguments.run).experiment
    part = read_part(experiment, experiment.config.stack_part)
    rows = review_curve(part, SHARES, experiment.config.seed)
    if arguments.csv:
        columns = [{name: row[name] for name in COLUMNS} for row in rows]
        write_csv(Path(arguments.csv), columns, COLUMNS)
    if arguments.figure:
        draw(rows, Path(arguments.figure))
    return to_markdown(rows)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.review",
        description="Accuracy by the share of products that people decide, out-of-fold.",
        epilog="example: python -m studies.review work/fashion --csv review.csv",
    )
    parser.add_argument("run", help="folder of a finished run, as work/fashion")
    parser.add_argument("--csv", default="", metavar="FILE", help="the table with all digits")
    parser.add_argument("--figure", default="", metavar="FILE", help="the curve, as a PNG")
    return print_report(parser.parse_args(), report)


if __name__ == "__main__":
    sys.exit(main())
