"""The networks of the Quick, Draw! report on the same drawings: accuracy and training time.

    python -m studies.quickdraw_models
    python -m studies.quickdraw_models --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set split.n_folds=4 --set name=quickdraw_large

Trains all models of the config and evaluates them on held-out drawings (fold 0); the first is the
baseline. Times are seconds of one core. "Speed-up" is the time until the baseline reaches its best
accuracy, divided by the time until the other model first reaches the same accuracy.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.schema import Config
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.models import factory
from lib.pipeline.experiment import Experiment
from studies import pages, trials
from studies.tables import over_seeds
from studies.trials import Drawings, Trial, TrialResult

REPORT = {
    "draw_dense": "struggles less than expected",
    "draw_cnn2": "about 5 points above, about 13 times faster",
}


def study(arguments: argparse.Namespace, experiment: Experiment, data: Drawings) -> None:
    """Run the trials one by one; write the CSV, the figure and the section of the page."""
    planned = [
        make_trial(data, experiment.config, name, seed)
        for seed in range(arguments.seeds)
        for name in experiment.config.models
    ]
    results = trials.run_trials(experiment, planned, parallel=False)
    rows = summarize(list(experiment.config.models), planned, results)
    out = Path(arguments.out)
    pages.write_csv(out / "quickdraw" / f"models_{experiment.config.name}.csv", rows)
    figure = out / "quickdraw" / f"models_{experiment.config.name}.png"
    _draw(figure, list(experiment.config.models), planned, results)
    text = section(experiment.config, data, rows, arguments.seeds)
    pages.write_section(out / "quickdraw.md", f"models {experiment.config.name}", text)
    print(text)


def make_trial(data: Drawings, config: Config, name: str, seed: int) -> Trial:
    """Train a model on all training drawings, evaluate it on all held-out ones."""
    label, num_classes = data.catalog.label, len(data.categories)
    return Trial(name, config.models[name], data.train, data.held_out, label, num_classes, seed)


def summarize(
    names: Sequence[str], planned: Sequence[Trial], results: Sequence[TrialResult]
) -> list[dict[str, Any]]:
    """A row for each model, over the seeds; gains and speed-ups are over the first model."""
    runs = {
        name: [(t, r) for t, r in zip(planned, results, strict=True) if t.name == name]
        for name in names
    }
    return [_row(name, runs[name], runs[names[0]]) for name in names]


def _row(
    name: str,
    runs: Sequence[tuple[Trial, TrialResult]],
    baseline: Sequence[tuple[Trial, TrialResult]],
) -> dict[str, Any]:
    trial, _ = runs[0]
    network = factory.create_model(trial.model.arch, trial.num_classes, "none")
    correct = [result.correct(trial) for trial, result in runs]
    baseline_correct = [result.correct(trial) for trial, result in baseline]
    speed_ups = [speed_up(b, r) for (_, b), (_, r) in zip(baseline, runs, strict=True)]
    return {
        "model": name,
        "arch": trial.model.arch,
        "parameters": sum(p.numel() for p in network.parameters()),
        "epochs": trial.model.epochs,
        "train_accuracy": round(_mean(r.history[-1]["accuracy"] for _, r in runs), 4),
        **pages.csv_columns("accuracy", over_seeds(accuracy, correct)),
        **pages.csv_columns("gain", over_seeds(gain, correct, baseline_correct)),
        "seconds": round(_mean(seconds(r)[-1] for _, r in runs), 2),
        "images_per_second": round(
            _mean(len(t.train) * len(r.history) / seconds(r)[-1] for t, r in runs)
        ),
        "speed_up": round(float(np.median(speed_ups)), 2),
    }


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def seconds(result: TrialResult) -> np.ndarray:
    """float64 [epochs]: CPU seconds of training until the end of each epoch."""
    return np.cumsum([epoch["cpu_seconds"] for epoch in result.history])


def speed_up(baseline: TrialResult, other: TrialResult) -> float:
    """Time until the best accuracy of `baseline`, divided by the time until `other` reaches it.

    NaN if `other` never reaches it.
    """
    best, reached = (
        np.array([epoch["valid_accuracy"] for epoch in result.history])
        for result in (baseline, other)
    )
    as_good = np.flatnonzero(reached >= best.max())
    if not len(as_good):
        return float("nan")
    return float(seconds(baseline)[best.argmax()] / seconds(other)[as_good[0]])


def section(config: Config, data: Drawings, rows: list[dict[str, Any]], seeds: int) -> str:
    """The heading, settings and table of the page's section."""
    lines = [
        [
            f"{row['model']} ({row['arch']})",
            f"{row['parameters']:,}",
            row["epochs"],
            f"{100 * row['train_accuracy']:.1f}",
            pages.percent(pages.from_columns(row, "accuracy")),
            pages.points(pages.from_columns(row, "gain")) if row is not rows[0] else "",
            f"{row['images_per_second']:,}",
            "" if row is rows[0] else _times(row["speed_up"]),
            REPORT.get(row["arch"], ""),
        ]
        for row in rows
    ]
    header = ["", "parameters", "epochs", "train %", "held-out %", f"gain over {rows[0]['model']}"]
    header += ["images/s", "speed-up", "the report"]
    return (
        f"### Networks: {config.name}\n\n"
        f"{len(data.categories)} categories, {len(data.train):,} training drawings,"
        f" {len(data.held_out):,} held-out drawings (fold 0); {seeds} seeds; images per"
        " second on one core.\n\n"
        f"{table(header, lines)}\n\n"
        f"![accuracy by time](quickdraw/models_{config.name}.png)"
    )


def _times(ratio: float) -> str:
    return "never reached" if np.isnan(ratio) else f"{ratio:.1f} times"


def _draw(
    path: Path, names: Sequence[str], planned: Sequence[Trial], results: Sequence[TrialResult]
) -> None:
    figure, axes = pages.subplots()
    for name, color in zip(names, pages.COLORS, strict=False):
        runs = [r for t, r in zip(planned, results, strict=True) if t.name == name]
        for number, run in enumerate(runs):
            reached = [100 * epoch["valid_accuracy"] for epoch in run.history]
            axes.plot(seconds(run), reached, color=color, label=None if number else name)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of one core")
    axes.set_ylabel("accuracy on held-out drawings, %")
    axes.legend(frameon=False)
    pages.save(figure, path)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    torch.set_num_threads(1)
    description = "The networks of the Quick, Draw! report, and a modern one."
    arguments = trials.argument_parser(description, "quickdraw_models").parse_args()
    arguments.set.append("run.threads=1")
    return trials.run_study(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
