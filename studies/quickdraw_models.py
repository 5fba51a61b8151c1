"""The networks of the report on the same drawings: what each gets right, and how soon (Q3, Q4).

    python -m studies.quickdraw_models
    python -m studies.quickdraw_models --set data.train=bitmap28_large --set data.classes=[] \\
        --set data.max_per_class=0 --set name=quickdraw_large

All models of the config learn from `fit` and are asked about `locked`; the first is what the others
are compared with. Times are seconds of one core, and how soon is: the time of the first until its
own best accuracy, over that of another until it first is as good.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.schema import Config
from lib.evaluation.markdown import table
from lib.evaluation.metrics import Estimate, accuracy, gain
from lib.models import factory
from studies import cells, pages
from studies.cells import Cell, Known, Outcome

REPORT = {
    "draw_dense": "struggles less than expected",
    "draw_cnn2": "about 5 points above, about 13 times faster",
}


def study(arguments: argparse.Namespace, config: Config, known: Known) -> None:
    asked = [
        _cell(known, config, name, seed)
        for seed in range(arguments.seeds)
        for name in config.models
    ]
    found = cells.compute(config, asked, side_by_side=False)
    rows = lines(list(config.models), asked, found)
    out = Path(arguments.out)
    pages.write_csv(out / "quickdraw" / f"models_{config.name}.csv", rows)
    _draw(out / "quickdraw" / f"models_{config.name}.png", list(config.models), asked, found)
    text = section(config, known, rows, arguments.seeds)
    pages.put(out / "quickdraw.md", f"models {config.name}", text)
    print(text)


def _cell(known: Known, config: Config, name: str, seed: int) -> Cell:
    label, classes = known.catalogue.label, len(known.classes)
    return Cell(name, config.models[name], known.fit, known.locked, label, classes, seed)


def lines(
    names: Sequence[str], asked: Sequence[Cell], found: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """A row for each model, over the seeds; the first is the base."""
    by_name = {
        name: [(c, o) for c, o in zip(asked, found, strict=True) if c.name == name]
        for name in names
    }
    base = by_name[names[0]]
    rows = []
    for name, runs in by_name.items():
        cell, _ = runs[0]
        net = factory.create_model(cell.model.arch, cell.classes, "none")
        ratios = [soon(first, other) for (_, first), (_, other) in zip(base, runs, strict=True)]
        rows.append(
            {
                "model": name,
                "network": cell.model.arch,
                "parameters": sum(p.numel() for p in net.parameters()),
                "epochs": cell.model.epochs,
                "train_accuracy": round(_mean(o.history[-1]["accuracy"] for _, o in runs), 4),
                **pages.flat("accuracy", _over_seeds(accuracy, runs)),
                **pages.flat("gain", _over_seeds(gain, runs, base)),
                "seconds": round(_mean(o.history and seconds(o)[-1] for _, o in runs), 2),
                "images_per_second": round(
                    _mean(len(c.train) * len(o.history) / seconds(o)[-1] for c, o in runs)
                ),
                "times_sooner": round(float(np.median(ratios)), 2),
            }
        )
    return rows


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))


def _over_seeds(figure: Any, *several: Sequence[tuple[Cell, Outcome]]) -> Estimate:
    """A product's answers of several seeds are drawn together: they are no several products."""
    right = [np.concatenate([o.right(c) for c, o in runs]) for runs in several]
    (cell, _), *_ = several[0]
    return figure(*right, group=np.tile(np.arange(len(cell.test)), len(several[0])))


def seconds(outcome: Outcome) -> np.ndarray:
    """float [epochs]: of training, to the end of each; other work on the machine is left out."""
    return np.cumsum([line["cpu_seconds"] for line in outcome.history])


def soon(first: Outcome, other: Outcome) -> float:
    """Time of `first` until its best accuracy, over that of `other` until it is as good; NaN if it
    never is."""
    best, reached = (
        np.array([line["valid_accuracy"] for line in o.history]) for o in (first, other)
    )
    as_good = np.flatnonzero(reached >= best.max())
    if not len(as_good):
        return float("nan")
    return float(seconds(first)[best.argmax()] / seconds(other)[as_good[0]])


def section(config: Config, known: Known, rows: list[dict[str, Any]], seeds: int) -> str:
    shown = [
        [
            f"{row['model']} ({row['network']})",
            f"{row['parameters']:,}",
            row["epochs"],
            f"{100 * row['train_accuracy']:.1f}",
            pages.percent(pages.estimate(row, "accuracy")),
            pages.points(pages.estimate(row, "gain")) if row is not rows[0] else "",
            f"{row['images_per_second']:,}",
            "" if row is rows[0] else _times(row["times_sooner"]),
            REPORT.get(row["network"], ""),
        ]
        for row in rows
    ]
    header = ["", "parameters", "epochs", "train %", "locked %", f"against {rows[0]['model']}"]
    header += ["images/s", "sooner as good", "the report"]
    return (
        f"### The networks: {config.name}\n\n"
        f"{len(known.classes)} categories, {len(known.fit):,} drawings to learn from,"
        f" {len(known.locked):,} locked ones asked; {seeds} seeds; images a second, one core.\n\n"
        f"{table(header, shown)}\n\n"
        f"![accuracy by time](quickdraw/models_{config.name}.png)"
    )


def _times(ratio: float) -> str:
    return "never as good" if np.isnan(ratio) else f"{ratio:.1f} times"


def _draw(
    path: Path, names: Sequence[str], asked: Sequence[Cell], found: Sequence[Outcome]
) -> None:
    made, axes = pages.figure()
    for name, colour in zip(names, pages.COLOURS, strict=False):
        runs = [o for c, o in zip(asked, found, strict=True) if c.name == name]
        for number, one in enumerate(runs):
            reached = [100 * line["valid_accuracy"] for line in one.history]
            axes.plot(seconds(one), reached, color=colour, label=None if number else name)
    axes.set_xscale("log")
    axes.set_xlabel("seconds of one core")
    axes.set_ylabel("% of locked drawings right")
    axes.legend(frameon=False)
    pages.save(made, path)


def main() -> int:
    torch.set_num_threads(1)
    parser = cells.parser("The networks of the report, and a modern one.", "quickdraw_models")
    arguments = parser.parse_args()
    arguments.set.append("run.threads=1")
    return cells.run(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
