"""How soon a drawing is recognised, by the way of its pen and by its pixels (Q8).

    python -m studies.quickdraw_strokes
    python -m studies.quickdraw_strokes --seeds 1 --categories 50

Two networks of the one loop: convolutions along the points of the pen, and `draw_modern` on what
these points become as pixels. Each learns once from drawings that have begun, a tenth to all of
their way, and once from whole ones; all are asked about the same locked drawings, of which a tenth,
two tenths, ... have been drawn.
"""

import argparse
import json
import sys
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.schema import Config
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
from lib.training.stroke_loader import StrokeLoader, pixels, points
from lib.training.trainer import train
from lib.utils.files import atomic_write
from studies import cells, pages
from studies.cells import Cell, Known

SHARES = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))
POINTS = 128  # of a drawing, at most: nine in ten have fewer
ASKED = 512  # drawings at a time
TAUGHT = {"begun": (0.1, 1.0), "whole": (1.0, 1.0)}  # least and largest share that is learnt from
TAUGHT_WORDS = {"begun": "drawings that have begun", "whole": "whole ones"}
SEEN = ("pen", "pixels")


def study(arguments: argparse.Namespace, config: Config, known: Known) -> None:
    if config.data.source != "strokes":
        raise UserError(
            f"{arguments.config}: data.source is {config.data.source}; this study needs strokes"
        )
    classes = known.largest(arguments.categories or len(known.classes))
    model = replace(cells.model_of(config, arguments.model), epochs=arguments.epochs)
    runs = [
        (
            Cell(
                f"strokes-{seen}-{taught}",
                model,
                known.of(known.fit, classes),
                known.of(known.locked, classes),
                known.numbered(classes),
                len(classes),
                seed,
            ),
            seen,
            taught,
        )
        for seed in range(arguments.seeds)
        for seen in SEEN
        for taught in TAUGHT
    ]
    right = _compute(config, runs)
    rows = lines(runs, right)
    out, name = Path(arguments.out), f"strokes_{config.name}_{len(classes)}"
    pages.write_csv(out / "quickdraw" / f"{name}.csv", rows)
    _draw(out / "quickdraw" / f"{name}.png", rows)
    text = section(rows, runs[0][0], arguments)
    pages.put(out / "quickdraw.md", name.replace("_", " "), f"{text}![](quickdraw/{name}.png)")
    print(text)


def _compute(config: Config, runs: list[tuple[Cell, str, str]]) -> list[np.ndarray]:
    """Of each run bool [shares, drawings]: whether each is recognised."""
    places = [cells.place(config, cell, seen, TAUGHT[taught]) for cell, seen, taught in runs]
    missing = [i for i, path in enumerate(places) if not path.exists()]
    if missing:
        workers = min(num_threads(config.run), len(missing))
        with process_pool(workers) as pool:
            for task in as_completed(
                [pool.submit(_fill, config, *runs[i], places[i]) for i in missing]
            ):
                task.result()
    found = [np.array(json.loads(path.read_text())["answers"]) for path in places]
    return [one == cell.labels[cell.test] for one, (cell, _, _) in zip(found, runs, strict=True)]


def _fill(config: Config, cell: Cell, seen: str, taught: str, path: Path) -> None:
    torch.set_num_threads(num_threads(config.run))
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    with closing(ByteReader(catalog_of_part(Experiment(config), "train"))) as originals:
        answers = learn(config, cell, seen, taught, originals, folder)
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({"answers": answers.tolist()}))


def learn(
    config: Config, cell: Cell, seen: str, taught: str, originals: ByteReader, folder: Path
) -> np.ndarray:
    """int [shares, drawings]: the class that comes first, when so much has been drawn."""
    shape = partial(points, most=POINTS) if seen == "pen" else partial(pixels, side=28)
    threads = num_threads(config.run)
    fed = partial(StrokeLoader, originals, shape, threads=threads)
    model = replace(cell.model, arch="strokes" if seen == "pen" else cell.model.arch)

    def build(weights: str) -> Classifier:
        if seen == "pen":
            return StrokeNetwork(cell.classes)
        return factory.create_from_config(model, cell.classes, weights)

    lesson = TrainingSet(  # a drawing is a product of one picture: rows are both
        fed(shares=TAUGHT[taught]),
        build,
        cell.labels,
        np.arange(len(cell.labels)),
        cell.train,
        cell.test,
        cell.classes,
    )
    train(folder, model, lesson, cell.seed, config.run)
    net = build("none")
    saved: dict[str, Any] = torch.load(folder / "last.pt", weights_only=True)
    net.load_state_dict(saved["model"])
    net.eval()
    return np.stack([_asked(net, fed(watched=share), cell.test) for share in SHARES])


@torch.inference_mode()
def _asked(net: Classifier, feed: StrokeLoader, rows: np.ndarray) -> np.ndarray:
    answers = [
        net(net.normalise(torch.from_numpy(inputs))).argmax(1)
        for _, inputs in feed.plain(rows, ASKED)
    ]
    return torch.cat(answers).numpy()


def lines(runs: list[tuple[Cell, str, str]], right: list[np.ndarray]) -> list[dict[str, Any]]:
    """A row for each share: accuracies, and what the pen has over the pixels; of all seeds."""
    rows = []
    for place, share in enumerate(SHARES):
        by_run: dict[tuple[str, str], list[np.ndarray]] = {}
        for (_, seen, taught), found in zip(runs, right, strict=True):
            by_run.setdefault((seen, taught), []).append(found[place])
        together = {key: np.concatenate(found) for key, found in by_run.items()}
        product = np.tile(np.arange(right[0].shape[1]), len(by_run[SEEN[0], "begun"]))
        row: dict[str, Any] = {"share": share}
        for (seen, taught), found in together.items():
            row |= pages.flat(f"{seen}_{taught}", accuracy(found, group=product))
        pen, raster = (together[seen, "begun"] for seen in SEEN)
        rows.append(row | pages.flat("gain", gain(pen, raster, group=product)))
    return rows


def section(rows: list[dict[str, Any]], cell: Cell, arguments: argparse.Namespace) -> str:
    shown = [
        [
            f"{100 * row['share']:.0f} %",
            *(pages.percent(pages.estimate(row, f"{seen}_begun")) for seen in SEEN),
            pages.points(pages.estimate(row, "gain")),
            *(pages.percent(pages.estimate(row, f"{seen}_whole")) for seen in SEEN),
        ]
        for row in rows
    ]
    header = ["drawn so far", "pen", "pixels", "pen against pixels"]
    header += ["pen, learnt from whole ones", "pixels, learnt from whole ones"]
    pen = sum(p.numel() for p in StrokeNetwork(cell.classes).parameters())
    raster = sum(
        p.numel() for p in factory.create_model(cell.model.arch, cell.classes, "none").parameters()
    )
    return (
        f"### While it is being drawn: {cell.classes} categories\n\n"
        f"{len(cell.train):,} drawings to learn from, {len(cell.test):,} locked ones asked,"
        f" {arguments.epochs} epochs, {arguments.seeds} seeds. The pen's network has {pen:,}"
        f" parameters, that of the pixels {raster:,}. What has been drawn is enlarged to its square"
        f" before it is shown.\n\n{table(header, shown)}\n\n"
    )


def _draw(path: Path, rows: list[dict[str, Any]]) -> None:
    made, axes = pages.figure()
    drawn = [100 * row["share"] for row in rows]
    for seen, colour in zip(SEEN, pages.COLOURS, strict=False):
        for taught, style in (("begun", "o-"), ("whole", "o:")):
            reached = [100 * row[f"{seen}_{taught}"] for row in rows]
            label = f"{seen}, learnt from {TAUGHT_WORDS[taught]}"
            axes.plot(drawn, reached, style, color=colour, label=label)
    axes.set_xlabel("% of the drawing seen")
    axes.set_ylabel("% of locked drawings right")
    axes.legend(frameon=False)
    pages.save(made, path)


def main() -> int:
    parser = cells.parser(
        "Recognising a drawing while it is being drawn.",
        "quickdraw_strokes",
        "configs/quickdraw_strokes.toml",
        "--seeds 1 --categories 50",
    )
    parser.add_argument("--categories", type=int, default=0, help="the largest; 0 = all")
    cells.of_one_model(parser, "modern")
    parser.set_defaults(seeds=1)
    arguments = parser.parse_args()
    return cells.run(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
