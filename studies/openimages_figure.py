"""Coarse masks and boxes of the cascade, drawn over photographs that trained nothing.

    python -m studies.openimages_figure --config configs/openimages.toml --out docs

Shows images of `studies.cascade`: its networks have not seen them. Every n-th one is shown, in the
order of the catalog, so that nobody chose them; composed scenes are left out. Red: boxes that the
cascade finds, with class and score; orange cells: their masks, stronger where they are surer.
Green: the boxes of the annotators. Of a class and those above it, which the cascade finds too, the
lowest is shown. The ImageID of each photograph is above it, as its license (CC BY 2.0) asks.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from lib.config.load import load
from lib.data.image_reader import ImageReader
from lib.data.openimages.boxes import Boxes, read_boxes
from lib.data.openimages.hierarchy import read_hierarchy
from lib.data.openimages.masks.targets import MAX_LEVEL
from lib.detection.components import BoxTable
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.runtime.workers import num_threads
from lib.stages.read import catalog_of_part
from studies import pages
from studies.cascade import HeldOut, make_variant, train
from studies.command import config_parser, print_report
from studies.pages import GREEN, ORANGE, RED

COLUMNS = 4
SIDE = 320  # pixels of a photograph in the figure
MIN_SCORE = 0.3  # of a box that is drawn
NAME = "openimages_cascade.jpg"


class Drawings:
    """What the cascade found in images that its networks have not seen."""

    def __init__(self, base: Experiment, held_out: HeldOut) -> None:
        self.scenes = base.path("extract/scenes/train")
        self.catalog = catalog_of_part(base, "train")
        self.hierarchy = read_hierarchy(base.path("extract/hierarchy"))
        self.true: Boxes = read_boxes(base.path("extract/boxes/train"))
        self.held_out = held_out
        self.routes = held_out.routes(base.config.cascade)
        self.found = held_out.find_boxes(self.routes, base.config.cascade)

    def photographs(self, count: int) -> np.ndarray:
        """Rows of `count` images, evenly spread, without composed scenes."""
        images = self.held_out.images.tolist()
        rows = [i for i in images if not (self.scenes / f"{self._key(i)}.jpg").exists()]
        step = max(1, len(rows) // count)
        return np.array(rows[::step][:count])

    def _key(self, image: int) -> str:
        return self.catalog.key(int(self.catalog.image_product[image]))

    def draw(self, axes: Axes, image: int, pixels: np.ndarray) -> None:
        """Draw a photograph, uint8 [h, w, 3], with its masks and boxes."""
        height, width = pixels.shape[:2]
        axes.imshow(pixels)
        found = self._boxes_of(image)
        for name, routes in self.routes.items():
            masks = self.held_out.masks[name]
            row = int(np.searchsorted(masks.image, image))
            shown = routes.seen[row] & np.isin(masks.channels, found.class_row)
            cells = np.asarray(masks.masks[row], np.float32) / MAX_LEVEL
            cells = (cells * shown[:, None, None]).max(0)
            shade = np.zeros((*cells.shape, 4))
            shade[..., :3], shade[..., 3] = to_rgb(ORANGE), 0.5 * cells
            axes.imshow(shade, extent=(0, width, height, 0), interpolation="nearest")
        own = self.true.of_image(image)
        edges = (self.true.x_min, self.true.x_max, self.true.y_min, self.true.y_max)
        for left, right, top, bottom in zip(*(edge[own] for edge in edges), strict=True):
            _rectangle(axes, (left * width, right * width, top * height, bottom * height), GREEN)
        for class_row, score, box in zip(found.class_row, found.score, found.box, strict=True):
            left, right, top, bottom = box * (width, width, height, height)
            _rectangle(axes, (left, right, top, bottom), RED)
            background = {"facecolor": RED, "edgecolor": "none", "pad": 0.6}
            axes.text(
                left + 3,
                max(top, 0) + 5,
                f"{self.hierarchy.names[class_row]} {score:.2f}",
                fontsize=5,
                color="white",
                va="top",
                bbox=background,
                clip_on=True,
            ).set_in_layout(False)
        axes.set_axis_off()
        axes.set_title(self._key(image), fontsize=6, pad=2)

    def _boxes_of(self, image: int) -> BoxTable:
        """The boxes of an image that are drawn."""
        found = self.found.take((self.found.image == image) & (self.found.score >= MIN_SCORE))
        classes = np.unique(found.class_row)
        lowest = ~self.hierarchy.is_above[np.ix_(classes, classes)].any(1)
        return found.take(np.isin(found.class_row, classes[lowest]))


def _rectangle(axes: Axes, edges: tuple[float, float, float, float], color: str) -> None:
    left, right, top, bottom = edges
    frame = Rectangle((left, top), right - left, bottom - top, fill=False, color=color, lw=1.3)
    axes.add_patch(frame)


def write_figure(path: str, overrides: Sequence[str], count: int, figure_path: Path) -> None:
    """Write the figure of `count` photographs as JPEG; the networks are trained where missing.

    Raises UserError as `studies.cascade.make_variant`, and if all images are composed scenes.
    """
    base, variant = Experiment(load(path, overrides)), make_variant(path, overrides)
    train(variant)
    drawings = Drawings(base, HeldOut(base, variant))
    images = drawings.photographs(count)
    if not len(images):
        raise UserError(f"{path}: all images are composed scenes")
    num_rows = -(-len(images) // COLUMNS)
    figure, axes = pages.subplots(COLUMNS, num_rows, 2.2 * num_rows)
    with ImageReader(drawings.catalog, (SIDE, SIDE), num_threads(base.config.run)) as reader:
        for axis, image in zip(np.ravel(axes), images.tolist(), strict=False):
            drawings.draw(axis, image, reader.decode(image))
    for axis in np.ravel(axes)[len(images) :]:
        axis.set_axis_off()
    figure_path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(figure_path, dpi=160, pil_kwargs={"quality": 85})


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    description = "Coarse masks and boxes of the cascade, drawn over photographs."
    parser = config_parser("openimages_figure", description, "configs/openimages.toml")
    parser.add_argument("--images", type=int, default=12, help="(%(default)s)")
    parser.add_argument("--out", default="docs", help=f"folder of {NAME} (%(default)s)")
    return print_report(parser.parse_args(), report)


def report(arguments: argparse.Namespace) -> str:
    """Write the figure; its path."""
    path = Path(arguments.out) / NAME
    write_figure(arguments.config, arguments.set, arguments.images, path)
    return str(path)


if __name__ == "__main__":
    sys.exit(main())
