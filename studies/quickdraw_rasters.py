"""Whether strokes made into pixels are what the published bitmaps are, as a network sees it (Q1).

    python -m studies.quickdraw_rasters

The same network learns once from bitmaps and once from strokes that `strokes.raster` made into
pixels, as many of each category, and both are asked about locked drawings of both kinds. If the
rule is the right one, a network does not notice the difference.
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
from lib.config.schema import Config
from lib.data.image_reader import ImageReader
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy
from lib.pipeline.experiment import Experiment
from lib.stages import extract
from lib.stages.order import build_stage
from studies import cells, pages
from studies.cells import Cell, Known

KINDS = ("bitmaps", "strokes")
SHOWN = 9  # categories in the picture


def study(arguments: argparse.Namespace, bitmaps: Config, known: Known) -> None:
    names = [known.classes.key(number) for number in range(len(known.classes))]
    only = f"data.classes={json.dumps(names)}"
    drawn = load(
        arguments.strokes,
        [only, f"work={Experiment(bitmaps).folder.parent}", "name=quickdraw_drawn"],
    )
    build_stage(extract, Experiment(drawn), arguments.rebuild)
    sides = {"bitmaps": (bitmaps, known), "strokes": (drawn, cells.known(drawn))}
    rows = min(_fewest(one) for _, one in sides.values())
    model = cells.model_of(bitmaps, arguments.model)
    found = lines(sides, model, rows, arguments.seeds)
    out = Path(arguments.out)
    pages.write_csv(out / "quickdraw" / "rasters.csv", found)
    _draw(out / "quickdraw" / "rasters.png", sides)
    text = section(found, rows, len(names), arguments)
    pages.put(out / "quickdraw.md", "rasters", text)
    print(text)


def _fewest(known: Known) -> int:
    """Drawings to learn from, of the category with the fewest."""
    return int(np.bincount(known.catalogue.label[known.fit], minlength=len(known.classes)).min())


def lines(
    sides: dict[str, tuple[Config, Known]], model: Model, rows: int, seeds: int
) -> list[dict[str, Any]]:
    """A row for each kind that is learnt from and each that is asked, over the seeds."""
    found = []
    for learnt in KINDS:
        right: dict[str, list[np.ndarray]] = {asked: [] for asked in KINDS}
        for seed in range(seeds):
            config, known = sides[learnt]
            cell = _cell(known, model, rows, seed)
            folder = cells.place(config, cell).with_suffix("")
            cells.teach(config, cell, folder)
            for asked, (other, of_other) in sides.items():
                probs = cells.ask(other, cell.model, folder / "last.pt", of_other.locked)
                truth = of_other.catalogue.label[of_other.locked]
                right[asked].append(probs.argmax(1).numpy() == truth)
        for asked, answers in right.items():
            product = np.tile(np.arange(len(answers[0])), len(answers))
            figure = accuracy(np.concatenate(answers), group=product)
            row = {"learnt_from": learnt, "asked_about": asked, "drawings": len(answers[0])}
            found.append(row | pages.flat("accuracy", figure))
    return found


def _cell(known: Known, model: Model, rows: int, seed: int) -> Cell:
    classes = len(known.classes)
    taught = known.some(known.fit, range(classes), rows, seed)
    label = known.catalogue.label
    return Cell("rasters", model, taught, known.locked, label, classes, seed)


def section(
    rows: list[dict[str, Any]], each: int, classes: int, arguments: argparse.Namespace
) -> str:
    shown = [
        [
            f"learnt from {kind}",
            *(
                pages.percent(pages.estimate(row, "accuracy"))
                for row in rows
                if row["learnt_from"] == kind
            ),
        ]
        for kind in KINDS
    ]
    header = ["", *(f"asked about {kind}" for kind in KINDS)]
    return (
        "### Strokes made into pixels\n\n"
        f"{classes} categories, {each} drawings of each to learn from, {arguments.seeds} seeds; %"
        " of locked drawings right.\n\n"
        f"{table(header, shown)}\n\n"
        "A locked drawing of each of nine categories: bitmaps above, strokes made into pixels"
        " below.\n\n"
        "![](quickdraw/rasters.png)"
    )


def _draw(path: Path, sides: dict[str, tuple[Config, Known]]) -> None:
    """Drawings of either kind, to be compared by eye."""
    made, grid = pages.figure(SHOWN, len(KINDS), high=2.0)
    for line, kind in zip(grid, KINDS, strict=True):
        known = sides[kind][1]
        with ImageReader(known.catalogue, (28, 28), 1) as reader:
            for number, axes in enumerate(line):
                axes.axis("off")
                some = known.of(known.locked, [number])
                if len(some):
                    axes.imshow(reader.decode(int(some[0])), interpolation="nearest")
    pages.save(made, path)


def main() -> int:
    parser = cells.parser("Bitmaps against strokes made into pixels.", "quickdraw_rasters")
    parser.add_argument(
        "--strokes", default="configs/quickdraw_strokes.toml", help="config (%(default)s)"
    )
    parser.add_argument("--model", default="modern", help="of the config (%(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # more wait for each other longer than they work, on networks so small
    return cells.run(arguments, partial(study, arguments))


if __name__ == "__main__":
    sys.exit(main())
