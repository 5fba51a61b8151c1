"""Recognizing a drawing while it is being drawn, from the path of the pen or from pixels.

    python -m studies.quickdraw_strokes
    python -m studies.quickdraw_strokes --seeds 1 --categories 50

Two networks: convolutions along the points of the pen, and `draw_modern` on the same points as
pixels. Each is trained once on partial drawings (a tenth to all of the path) and once on complete
ones. All are evaluated on the same held-out drawings (fold 0) after 10 %, 20 %, ... of the path.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.model import Model
from lib.data.byte_reader import ByteReader
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy, gain
from lib.models import factory
from lib.models.classifier import Classifier
from lib.models.quickdraw_models import StrokeNetwork
from lib.pipeline.experiment import Experiment
from lib.runtime.workers import num_threads, process_pool
from lib.stages.read import catalog_of_part
from lib.training.dataset import TrainingSet
from lib.training.loaders.stroke_loader import StrokeLoader, drawing_bitmap, drawing_points
from lib.training.trainer import train_model
from lib.utils.files import atomic_write
from studies import pages, trials
from studies.tables import over_seeds
from studies.trials import Drawings, Trial

FRACTIONS = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))
MAX_POINTS = 128  # of a drawing; nine drawings in ten have fewer
BATCH_SIZE = 512  # for evaluation
INPUTS = ("pen", "pixels")
# The smallest and the largest fraction of a drawing to train on.
TRAINED_ON = {"partial": (0.1, 1.0), "complete": (1.0, 1.0)}


@dataclass(frozen=True)
class StrokeTrial:
    """A trial with its kind of input and the drawings that it is trained on."""

    trial: Trial
    input: str
    trained_on: str


def study(arguments: argparse.Namespace, experiment: Experiment, data: Drawings) -> None:
    """Run the trials; write the CSV, the figure and the section of the page."""
    source = experiment.config.data.source
    if source != "strokes":
        raise UserError(
            f'{arguments.config}: data.source is "{source}"; this study needs "strokes"'
        )
    class_ids = data.largest_classes(arguments.categories or len(data.categories))
    model = replace(trials.find_model(experiment, arguments.model), epochs=arguments.epochs)
    planned = [
        StrokeTrial(
            make_trial(data, model, class_ids, f"{kind}-{trained_on}", seed), kind, trained_on
        )
        for seed in range(arguments.seeds)
        for kind in INPUTS
        for trained_on in TRAINED_ON
    ]
    rows = summarize(planned, run_trials(experiment, planned))
    out, name = Path(arguments.out), f"strokes_{experiment.config.name}_{len(class_ids)}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows)
    text = section(rows, planned[0].trial, arguments)
    key = name.replace("_", " ")
    pages.write_section(out / "quickdraw.md", key, f"{text}![](quickdraw/{name}.png)")
    print(text)


def make_trial(data: Drawings, model: Model, class_ids: list[int], name: str, seed: int) -> Trial:
    """Train on all training drawings of the classes, evaluate on all held-out ones."""
    train, test = (data.of_classes(part, class_ids) for part in (data.train, data.held_out))
    labels = data.labels(class_ids)
    return Trial(f"strokes-{name}", model, train, test, labels, len(class_ids), seed)


def run_trials(experiment: Experiment, planned: Sequence[StrokeTrial]) -> list[np.ndarray]:
    """For each trial bool [FRACTIONS, drawings]: whether the predicted class is the true one."""
    paths = [
        trials.result_path(experiment, t.trial, t.input, TRAINED_ON[t.trained_on]) for t in planned
    ]
    missing = [i for i, path in enumerate(paths) if not path.exists()]
    if missing:
        shares = min(num_threads(experiment.config.run), len(planned))
        with process_pool(min(shares, len(missing)), shares=shares) as pool:
            tasks = [pool.submit(_run_trial, experiment, planned[i], paths[i]) for i in missing]
            for task in as_completed(tasks):
                task.result()
    predicted = [np.array(json.loads(path.read_text())["predicted"]) for path in paths]
    return [p == t.trial.labels[t.trial.test] for p, t in zip(predicted, planned, strict=True)]


def _run_trial(experiment: Experiment, planned: StrokeTrial, path: Path) -> None:
    torch.set_num_threads(num_threads(experiment.config.run))
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    with closing(ByteReader(catalog_of_part(experiment, "train"))) as reader:
        predicted = train_and_predict(experiment, planned, reader, folder)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"predicted": predicted.tolist()}))


def train_and_predict(
    experiment: Experiment, planned: StrokeTrial, reader: ByteReader, folder: Path
) -> np.ndarray:
    """int64 [FRACTIONS, drawings]: the most probable class after each fraction of the path."""
    trial, pen = planned.trial, planned.input == "pen"
    shape = (
        partial(drawing_points, max_points=MAX_POINTS) if pen else partial(drawing_bitmap, size=28)
    )
    loader = partial(StrokeLoader, reader, shape, threads=num_threads(experiment.config.run))
    model = replace(trial.model, arch="strokes") if pen else trial.model

    def build(weights: str) -> Classifier:
        if pen:
            return StrokeNetwork(trial.num_classes)
        return factory.create_from_config(model, trial.num_classes, weights)

    dataset = TrainingSet(  # one image for each product: a row is both
        loader(train_shares=TRAINED_ON[planned.trained_on]),
        build,
        trial.labels,
        np.arange(len(trial.labels)),
        trial.train,
        trial.test,
        trial.num_classes,
    )
    train_model(folder, model, dataset, trial.seed, experiment.config.run)
    network = build("none")
    checkpoint: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    network.load_state_dict(checkpoint["model"])
    network.eval()
    return np.stack([_predict(network, loader(eval_share=f), trial.test) for f in FRACTIONS])


@torch.inference_mode()
def _predict(network: Classifier, loader: StrokeLoader, rows: np.ndarray) -> np.ndarray:
    classes = [
        network(network.normalise(torch.from_numpy(inputs))).argmax(1)
        for _, inputs in loader.eval_batches(rows, BATCH_SIZE)
    ]
    return torch.cat(classes).numpy()


def summarize(
    planned: Sequence[StrokeTrial], correct: Sequence[np.ndarray]
) -> list[dict[str, Any]]:
    """A row for each fraction: accuracies over all seeds, and the gain of the pen over pixels."""
    rows = []
    for number, fraction in enumerate(FRACTIONS):
        by_kind: dict[tuple[str, str], list[np.ndarray]] = {}
        for trial, of_trial in zip(planned, correct, strict=True):
            by_kind.setdefault((trial.input, trial.trained_on), []).append(of_trial[number])
        row: dict[str, Any] = {"fraction": fraction}
        for (kind, trained_on), seeds in by_kind.items():
            row |= pages.csv_columns(f"{kind}_{trained_on}", over_seeds(accuracy, seeds))
        pen, raster = (by_kind[kind, "partial"] for kind in INPUTS)
        rows.append(row | pages.csv_columns("gain", over_seeds(gain, pen, raster)))
    return rows


def section(rows: list[dict[str, Any]], trial: Trial, arguments: argparse.Namespace) -> str:
    """The heading, settings and table of the page's section."""
    lines = [
        [
            f"{100 * row['fraction']:.0f} %",
            *(pages.percent(pages.from_columns(row, f"{kind}_partial")) for kind in INPUTS),
            pages.points(pages.from_columns(row, "gain")),
            *(pages.percent(pages.from_columns(row, f"{kind}_complete")) for kind in INPUTS),
        ]
        for row in rows
    ]
    header = ["drawn so far", "pen", "pixels", "gain of the pen"]
    header += ["pen, trained on complete drawings", "pixels, trained on complete drawings"]
    raster = factory.create_model(trial.model.arch, trial.num_classes, "none")
    pen_parameters, raster_parameters = (
        sum(p.numel() for p in network.parameters())
        for network in (StrokeNetwork(trial.num_classes), raster)
    )
    return (
        f"### Partial drawings: {trial.num_classes} categories\n\n"
        f"{len(trial.train):,} training drawings, {len(trial.test):,} held-out ones (fold 0),"
        f" {arguments.epochs} epochs, seeds: {arguments.seeds}. The network on the pen's path has"
        f" {pen_parameters:,} parameters, the network on pixels {raster_parameters:,}. A partial"
        f" drawing is enlarged to the full square.\n\n{table(header, lines)}\n\n"
    )


def _draw(path: Path, rows: list[dict[str, Any]]) -> None:
    figure, axes = pages.subplots()
    percent = [100 * row["fraction"] for row in rows]
    for kind, color in zip(INPUTS, pages.COLORS, strict=False):
        for trained_on, style in (("partial", "o-"), ("complete", "o:")):
            values = [100 * row[f"{kind}_{trained_on}"] for row in rows]
            label = f"{kind}, trained on {trained_on} drawings"
            axes.plot(percent, values, style, color=color, label=label)
    axes.set_xlabel("part of the drawing, %")
    axes.set_ylabel("accuracy on held-out drawings, %")
    axes.legend(frameon=False)
    pages.save(figure, path)


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = trials.argument_parser(
        "Recognizing a drawing while it is being drawn.",
        "quickdraw_strokes",
        "configs/quickdraw_strokes.toml",
        "--seeds 1 --categories 50",
    )
    parser.add_argument("--categories", type=int, default=0, help="the largest; 0: all")
    trials.add_model_arguments(parser, "modern")
    parser.set_defaults(seeds=1)
    arguments = parser.parse_args()
    return trials.run_study(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
