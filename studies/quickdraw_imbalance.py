"""Accuracy of a rare category, and remedies (Figure 9 of the Quick, Draw! report).

    python -m studies.quickdraw_imbalance
    python -m studies.quickdraw_imbalance --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set split.n_folds=4 --set name=quickdraw_large \\
        --majority shoe --minority spoon

Trains on all drawings of one category and on fewer and fewer of another; evaluates on as many
held-out drawings (fold 0) of each. The remedies: augmentation, class-balanced sampling, focal loss.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.model import Augment, Loss, Model, Sampling
from lib.config.schema import Config
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.pipeline.experiment import Experiment
from studies import pages, trials
from studies.trials import Drawings, Trial, TrialResult

FRACTIONS = (0.002, 0.02, 0.1, 0.2, 0.5, 1.0)
MIN_DRAWINGS = 2  # of the rare category; smaller fractions are left out
REPORT = {0.002: 43, 0.02: 81, 0.1: 88, 0.2: 94, 0.5: 95, 1.0: 98}  # accuracy of the rare one, %
AUGMENT = Augment(min_area=0.7, max_rotation=12.0)
BASELINE = "baseline"
REMEDIES: dict[str, dict[str, Any]] = {
    BASELINE: {},
    "augmented": {"augment": AUGMENT, "flip": True},
    "balanced": {"sampling": Sampling(class_balance=1.0)},
    "focal": {"loss": Loss(label_smoothing=0.0, focal_gamma=2.0)},
    "balanced and augmented": {
        "sampling": Sampling(class_balance=1.0),
        "augment": AUGMENT,
        "flip": True,
    },
}


def study(arguments: argparse.Namespace, experiment: Experiment, data: Drawings) -> None:
    """Run the trials; write the CSV, the figure and the section of the page."""
    pair = [data.class_id(arguments.majority), data.class_id(arguments.minority)]
    model = replace(trials.find_model(experiment, arguments.model), epochs=arguments.epochs)
    num_common = data.smallest_size(pair)
    fractions = [f for f in FRACTIONS if round(f * num_common) >= MIN_DRAWINGS]
    planned = [
        make_trial(data, model, pair, num_common, fraction, remedy, seed)
        for seed in range(arguments.seeds)
        for fraction in fractions
        for remedy in REMEDIES
    ]
    results = trials.run_trials(experiment, planned)
    rows = summarize(planned, results, fractions, num_common)
    out, name = Path(arguments.out), f"imbalance_{experiment.config.name}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows, arguments)
    text = section(experiment.config, rows, num_common, len(planned[0].test) // 2, arguments)
    key = name.replace("_", " ")
    pages.write_section(out / "quickdraw.md", key, f"{text}![](quickdraw/{name}.png)")
    print(text)


def make_trial(
    data: Drawings,
    model: Model,
    pair: list[int],
    num_common: int,
    fraction: float,
    remedy: str,
    seed: int,
) -> Trial:
    """Train on `num_common` drawings of the first class and a fraction of that of the second.

    pair: class ids of the common and of the rare category.
    """
    common = data.sample(data.train, pair[:1], num_common, seed)
    rare = data.sample(data.train, pair[1:], round(fraction * num_common), seed)
    num_test = min(len(data.of_classes(data.held_out, [class_id])) for class_id in pair)
    return Trial(
        trial_name(fraction, remedy),
        replace(model, **REMEDIES[remedy]),
        np.sort(np.concatenate([common, rare])),
        data.sample(data.held_out, pair, num_test, 0),
        data.labels(pair),
        len(pair),
        seed,
    )


def trial_name(fraction: float, remedy: str) -> str:
    """The name of the trials of a fraction and a remedy, the same for all seeds."""
    return f"imbalance-{fraction:g}-{remedy.replace(' ', '-')}"


def summarize(
    planned: Sequence[Trial],
    results: Sequence[TrialResult],
    fractions: Sequence[float],
    num_common: int,
) -> list[dict[str, Any]]:
    """A row for each fraction and remedy: accuracies in all, of the common and of the rare."""
    rows = []
    for fraction in fractions:
        baseline, *_ = _correct(planned, results, trial_name(fraction, BASELINE))
        for remedy in REMEDIES:
            correct, rare, group = _correct(planned, results, trial_name(fraction, remedy))
            common = ~rare
            row: dict[str, Any] = {
                "fraction": fraction,
                "common": num_common,
                "rare": round(fraction * num_common),
                "remedy": remedy,
                **pages.csv_columns("accuracy", accuracy(correct, group=group)),
                **pages.csv_columns(
                    "common_accuracy", accuracy(correct[common], group=group[common])
                ),
                **pages.csv_columns("rare_accuracy", accuracy(correct[rare], group=group[rare])),
                **pages.csv_columns("gain", gain(correct, baseline, group=group)),
                **pages.csv_columns(
                    "rare_gain", gain(correct[rare], baseline[rare], group=group[rare])
                ),
            }
            rows.append(row)
    return rows


def _correct(
    planned: Sequence[Trial], results: Sequence[TrialResult], name: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All seeds in a row: whether correct (bool), whether rare (bool), the drawing (int64)."""
    runs = [(t, r) for t, r in zip(planned, results, strict=True) if t.name == name]
    correct = np.concatenate([result.correct(trial) for trial, result in runs])
    rare = np.concatenate([trial.labels[trial.test] == 1 for trial, _ in runs])
    return correct, rare, np.concatenate([np.arange(len(trial.test)) for trial, _ in runs])


def section(
    config: Config,
    rows: Sequence[dict[str, Any]],
    num_common: int,
    num_test: int,
    arguments: argparse.Namespace,
) -> str:
    """The heading, settings and table of the page's section."""
    lines = []
    for row in rows:
        baseline = row["remedy"] == BASELINE
        lines.append(
            [
                row["rare"] if baseline else "",
                row["remedy"],
                pages.percent(pages.from_columns(row, "accuracy")),
                pages.percent(pages.from_columns(row, "common_accuracy")),
                pages.percent(pages.from_columns(row, "rare_accuracy")),
                "" if baseline else pages.points(pages.from_columns(row, "rare_gain")),
                "" if baseline else pages.points(pages.from_columns(row, "gain")),
                REPORT.get(row["fraction"], "") if baseline else "",
            ]
        )
    header = ["rare drawings", "remedy", "accuracy, %", "common, %", "rare, %", "gain, rare"]
    header += ["gain", "report: rare, %"]
    return (
        f"### A rare category: {config.name}\n\n"
        f"Trained on {num_common:,} drawings of {arguments.majority} and on fewer and fewer of"
        f" {arguments.minority} (the report: 50,000 of fork, and 100 to 50,000 of hammer);"
        f" evaluated on {num_test:,} held-out drawings (fold 0) of each. `{arguments.model}`,"
        f" {arguments.epochs} epochs, {arguments.seeds} seeds. Gains are over the baseline.\n\n"
        f"{table(header, lines)}\n\n"
    )


def _draw(path: Path, rows: Sequence[dict[str, Any]], arguments: argparse.Namespace) -> None:
    figure, axes = pages.subplots()
    for remedy, color in zip(REMEDIES, pages.COLORS, strict=False):
        of_remedy = [row for row in rows if row["remedy"] == remedy]
        counts = [row["rare"] for row in of_remedy]
        rare = [100 * row["rare_accuracy"] for row in of_remedy]
        common = [100 * row["common_accuracy"] for row in of_remedy]
        axes.plot(counts, rare, "o-", color=color, label=remedy)
        axes.plot(counts, common, ":", color=color)
    pages.log_scale(axes, sorted({row["rare"] for row in rows}))
    axes.set_xlabel(f"training drawings of {arguments.minority}")
    axes.set_ylabel(f"accuracy of {arguments.minority}, % (dotted: {arguments.majority})")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    pages.save(figure, path)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = trials.argument_parser("A rare category and remedies.", "quickdraw_imbalance")
    parser.add_argument("--majority", default="fork", help="(%(default)s)")
    parser.add_argument("--minority", default="hammer", help="(%(default)s)")
    trials.add_model_arguments(parser)
    arguments = parser.parse_args()
    return trials.run_study(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
