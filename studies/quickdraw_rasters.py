"""Whether a network tells bitmaps from rasterized strokes apart.

    python -m studies.quickdraw_rasters

Trains one network on published bitmaps and one on strokes that `lib.data.strokes` rasterizes, with
the same number of drawings of each category, and evaluates both on held-out drawings (fold 0) of
both kinds. If the rasterization follows the rule of the bitmaps, the accuracies do not depend on
the kind.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.load import load
from lib.config.model import Model
from lib.data.image_reader import ImageReader
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy
from lib.pipeline.experiment import Experiment
from lib.stages import extract
from lib.stages.order import build_stage
from studies import pages, trials
from studies.tables import over_seeds
from studies.trials import Drawings, Trial

KINDS = ("bitmaps", "strokes")
NUM_SHOWN = 9  # categories in the figure


def study(arguments: argparse.Namespace, experiment: Experiment, data: Drawings) -> None:
    """Train and evaluate; write the CSV, the figure and the section of the page."""
    names = data.names(range(len(data.categories)))
    sources = {
        "bitmaps": (experiment, data),
        "strokes": _load_strokes(arguments, experiment, names),
    }
    size = min(other.smallest_size(range(len(names))) for _, other in sources.values())
    model = trials.find_model(experiment, arguments.model)
    rows = evaluate(sources, model, size, arguments.seeds)
    out = Path(arguments.out)
    pages.write_csv(out / "quickdraw" / "rasters.csv", rows)
    _draw(out / "quickdraw" / "rasters.png", sources)
    text = section(rows, size, len(names), arguments)
    pages.write_section(out / "quickdraw.md", "rasters", text)
    print(text)


def _load_strokes(
    arguments: argparse.Namespace, bitmaps: Experiment, names: list[str]
) -> tuple[Experiment, Drawings]:
    """The strokes of the same categories, in a work folder beside that of the bitmaps."""
    changes = [f"data.classes={json.dumps(names)}", f"work={bitmaps.folder.parent}"]
    strokes = Experiment(load(arguments.strokes, [*changes, "name=quickdraw_drawn"]))
    build_stage(extract, strokes, arguments.rebuild)
    return strokes, trials.load_drawings(strokes)


def evaluate(
    sources: dict[str, tuple[Experiment, Drawings]], model: Model, size: int, seeds: int
) -> list[dict[str, Any]]:
    """A row for each kind to train on and each to evaluate on, over the seeds."""
    rows = []
    for trained_on in KINDS:
        correct: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        for seed in range(seeds):
            experiment, data = sources[trained_on]
            trial = make_trial(data, model, size, seed)
            folder = trials.result_path(experiment, trial).with_suffix("")
            trials.train_network(experiment, trial, folder)
            for kind, (other_experiment, other) in sources.items():
                checkpoint = folder / "last.pt"
                probs = trials.predict_probs(
                    other_experiment, trial.model, checkpoint, other.held_out
                )
                truth = other.catalog.label[other.held_out]
                correct[kind].append(probs.argmax(1).numpy() == truth)
        for kind, by_seed in correct.items():
            row = {"trained_on": trained_on, "evaluated_on": kind, "drawings": len(by_seed[0])}
            rows.append(row | pages.csv_columns("accuracy", over_seeds(accuracy, by_seed)))
    return rows


def make_trial(data: Drawings, model: Model, size: int, seed: int) -> Trial:
    """Train on `size` drawings of every category."""
    num_classes = len(data.categories)
    train = data.sample(data.train, range(num_classes), size, seed)
    return Trial("rasters", model, train, data.held_out, data.catalog.label, num_classes, seed)


def section(
    rows: list[dict[str, Any]], size: int, num_classes: int, arguments: argparse.Namespace
) -> str:
    """The heading, settings and table of the page's section."""
    lines = []
    for kind in KINDS:
        of_kind = [row for row in rows if row["trained_on"] == kind]
        cells = [pages.percent(pages.from_columns(row, "accuracy")) for row in of_kind]
        lines.append([f"trained on {kind}", *cells])
    header = ["", *(f"evaluated on {kind}" for kind in KINDS)]
    return (
        "### Bitmaps and rasterized strokes\n\n"
        f"{num_classes} categories, {size} training drawings of each, {arguments.seeds} seeds;"
        " accuracy on held-out drawings (fold 0) in percent.\n\n"
        f"{table(header, lines)}\n\n"
        "One held-out drawing of each of nine categories: bitmaps above, rasterized strokes below."
        "\n\n![](quickdraw/rasters.png)"
    )


def _draw(path: Path, sources: dict[str, tuple[Experiment, Drawings]]) -> None:
    figure, grid = pages.subplots(NUM_SHOWN, len(KINDS), height=2.0)
    for line, kind in zip(grid, KINDS, strict=True):
        _, data = sources[kind]
        with ImageReader(data.catalog, (28, 28), 1) as reader:
            for class_id, axes in enumerate(line):
                axes.axis("off")
                drawings = data.of_classes(data.held_out, [class_id])
                if len(drawings):
                    axes.imshow(reader.decode(int(drawings[0])), interpolation="nearest")
    pages.save(figure, path)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = trials.argument_parser("Bitmaps against rasterized strokes.", "quickdraw_rasters")
    parser.add_argument(
        "--strokes", default="configs/quickdraw_strokes.toml", help="config (%(default)s)"
    )
    parser.add_argument("--model", default="modern", help="name in the config (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # such small networks are slower with more threads
    return trials.run_study(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
