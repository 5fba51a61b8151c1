"""How many drawings of each category are enough (Figure 8 of the Quick, Draw! report).

    python -m studies.quickdraw_size
    python -m studies.quickdraw_size --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set split.n_folds=4 --set name=quickdraw_large --categories 5

Trains one network for ten epochs on more and more drawings of each category and evaluates it on
the same held-out drawings (fold 0). Sizes that the files do not have are left out and named in the
text.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.model import Model
from lib.config.schema import Config
from lib.evaluation.markdown import table
from lib.pipeline.experiment import Experiment
from studies import pages, trials
from studies.trials import Drawings, Trial, TrialResult

SIZES = (25, 50, 100, 500, 1000, 3000, 5000, 7000, 10000)
# The report's figures by drawings of each category: accuracy in training and on other drawings,
# then the losses, each in epochs 1 and 10.
REPORT = {
    500: ((0.39, 0.92), (0.58, 0.82), (1.93, 0.25), (1.45, 0.63)),
    1000: ((0.46, 0.91), (0.62, 0.83), (1.66, 0.28), (1.22, 0.63)),
    3000: ((0.66, 0.93), (0.77, 0.87), (1.09, 0.22), (0.77, 0.87)),
    5000: ((0.66, 0.93), (0.79, 0.89), (0.99, 0.22), (0.66, 0.41)),
    7000: ((0.69, 0.93), (0.80, 0.89), (0.99, 0.22), (0.70, 0.38)),
    10000: ((0.76, 0.91), (0.83, 0.89), (0.79, 0.20), (0.56, 0.35)),
}
METRICS = ("accuracy", "valid_accuracy", "loss", "valid_loss")


def study(arguments: argparse.Namespace, experiment: Experiment, data: Drawings) -> None:
    """Run the trials; write the CSV, the figure and the section of the page."""
    class_ids = data.largest_classes(arguments.categories)
    sizes, missing = _available(data.smallest_size(class_ids), arguments.drawings)
    model = replace(trials.find_model(experiment, arguments.model), epochs=arguments.epochs)
    planned = [
        make_trial(data, model, class_ids, size, seed)
        for seed in range(arguments.seeds)
        for size in sizes
    ]
    rows = summarize(sizes, planned, trials.run_trials(experiment, planned))
    out, name = Path(arguments.out), f"size_{experiment.config.name}_{len(class_ids)}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows)
    text = section(experiment.config, data, class_ids, model.arch, rows, missing, arguments)
    key = name.replace("_", " ")
    pages.write_section(out / "quickdraw.md", key, f"{text}![](quickdraw/{name}.png)")
    print(text)


def _available(smallest: int, sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """The sizes below that of the smallest category, and that itself; the sizes above it."""
    return [*(n for n in sizes if n < smallest), smallest], [n for n in sizes if n > smallest]


def make_trial(data: Drawings, model: Model, class_ids: list[int], size: int, seed: int) -> Trial:
    """Train on `size` drawings of each class, evaluate on all held-out drawings of the classes."""
    train = data.sample(data.train, class_ids, size, seed)
    test, labels = data.of_classes(data.held_out, class_ids), data.labels(class_ids)
    return Trial(f"size-{size}", model, train, test, labels, len(class_ids), seed)


def summarize(
    sizes: Sequence[int], planned: Sequence[Trial], results: Sequence[TrialResult]
) -> list[dict[str, Any]]:
    """A row for each size: means over the seeds, in the first and in the last epoch."""
    rows = []
    for size in sizes:
        name = f"size-{size}"
        histories = [r.history for t, r in zip(planned, results, strict=True) if t.name == name]
        row: dict[str, Any] = {"drawings": size}
        for metric in METRICS:
            for end, epoch in (("first", 0), ("last", -1)):
                values = [history[epoch][metric] for history in histories]
                row[f"{metric}_{end}"] = round(float(np.mean(values)), 4)
        final = [history[-1]["valid_accuracy"] for history in histories]
        row["valid_accuracy_std"] = round(float(np.std(final)), 4)
        rows.append(row)
    return rows


def section(
    config: Config,
    data: Drawings,
    class_ids: Sequence[int],
    arch: str,
    rows: list[dict[str, Any]],
    missing: Sequence[int],
    arguments: argparse.Namespace,
) -> str:
    """The heading, settings and table of the page's section."""
    lines = []
    for row in rows:
        ours = [_pair(row[f"{metric}_first"], row[f"{metric}_last"]) for metric in METRICS]
        theirs = [_pair(*pair) for pair in REPORT.get(row["drawings"], ())] or [""] * 4
        pairs = zip(ours, theirs, strict=True)
        lines.append([row["drawings"], *(cell for pair in pairs for cell in pair)])
    header = ["drawings of each", "accuracy, training", "report", "accuracy, held out", "report"]
    header += ["loss, training", "report", "loss, held out", "report"]
    num_test = len(data.of_classes(data.held_out, class_ids))
    left_out = f" Too few drawings for {', '.join(map(str, missing))}." if missing else ""
    return (
        f"### Number of drawings: {config.name}, {len(class_ids)} categories\n\n"
        f"`{arch}`; each cell is (epoch 1, epoch {arguments.epochs}), the mean of"
        f" {arguments.seeds} seeds. Evaluated on {num_test:,} held-out drawings (fold 0).{left_out}"
        f" Categories: {', '.join(data.names(class_ids))}. The report's figures are of its own ten"
        f" categories.\n\n{table(header, lines)}\n\n"
    )


def _pair(first: float, last: float) -> str:
    return f"{first:.2f}, {last:.2f}"


def _draw(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    figure, (left, right) = pages.subplots(2)
    sizes = [row["drawings"] for row in rows]
    for axes, metric, label in ((left, "accuracy", "accuracy"), (right, "loss", "cross-entropy")):
        for key, part, color in (
            (metric, "training", pages.BLUE),
            (f"valid_{metric}", "held out", pages.RED),
        ):
            for end, style in (("first", "o:"), ("last", "o-")):
                values = [row[f"{key}_{end}"] for row in rows]
                axes.plot(sizes, values, style, color=color, label=f"{part}, {end} epoch")
        pages.log_scale(axes, sizes)
        axes.set_xlabel("drawings of each category")
        axes.set_ylabel(label)
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
    pages.save(figure, path)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = trials.argument_parser("Number of drawings of each category.", "quickdraw_size")
    parser.add_argument("--drawings", type=int, nargs="+", default=SIZES, help="of each category")
    parser.add_argument("--categories", type=int, default=10, help="the largest (%(default)s)")
    trials.add_model_arguments(parser)
    arguments = parser.parse_args()
    return trials.run_study(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
