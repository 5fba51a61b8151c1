"""The class tree as a dendrogram, and what clusters of people and clothes are taken for.

    python -m studies.openimages_hierarchy work/openimages
    python -m studies.openimages_hierarchy work/openimages --classes Person Clothing --out docs

Reads the work folder of a config with source = "openimages" after stage 03, and writes into
`--out`: openimages_dendrogram.svg, every class that labelled images show, with those above it, the
number of images that show it or a class below it, and a color for each cluster; and the section
openimages_people of openimages.md, a confusion table of the mean of the networks, out-of-fold.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from lib.config.load import load
from lib.data.catalog import read_categories, read_splits
from lib.data.openimages.annotations import read_annotations
from lib.data.openimages.boxes import Boxes
from lib.data.openimages.cluster_table import read_clusters
from lib.data.openimages.hierarchy import TOP, Hierarchy, read_hierarchy
from lib.errors import UserError
from lib.evaluation.markdown import table
from lib.evaluation.metrics import accuracy
from lib.features.network import best_classes
from lib.features.query import make_query
from lib.pipeline.experiment import Experiment
from lib.stages.read import catalog_of_part, num_classes, read_topk_of_all
from lib.utils.files import atomic_write
from studies.command import print_report
from studies.pages import GREY, percent, write_section

PEOPLE = ("Person", "Man", "Woman", "Boy", "Girl", "Clothing")
NUM_OTHERS = 4  # further columns of the confusion table
ROWS_OF_COLUMN = 160  # classes below each other, before the drawing gets another column
INDENT, COLUMN = 0.35, 4.6  # inches: of a level, of a column
LINE = 0.14  # inches of height of a class


def images_of_classes(hierarchy: Hierarchy, boxes: Boxes) -> np.ndarray:
    """Images that show each class or one below it: int64 [C]."""
    count = len(hierarchy)
    key = np.unique(boxes.class_row.astype(np.int64) * boxes.num_images + boxes.image)
    class_row, image = np.divmod(key, boxes.num_images)
    ends = np.searchsorted(class_row, np.arange(count + 1))
    images = [image[ends[row] : ends[row + 1]] for row in range(count)]
    at_or_below = hierarchy.is_above | np.eye(count, dtype=bool)
    return np.array(
        [
            len(np.unique(np.concatenate([images[r] for r in np.flatnonzero(at_or_below[row])])))
            for row in range(count)
        ]
    )


def drawing_order(hierarchy: Hierarchy, images: np.ndarray) -> list[int]:
    """The classes that images show, each after the one above it; siblings by falling count."""
    children = hierarchy.children()

    def below(rows: Sequence[int]) -> list[int]:
        order: list[int] = []
        for row in sorted(rows, key=lambda row: (-images[row], row)):
            if images[row]:
                order += [row, *below(children[row])]
        return order

    return below([row for row, parent in enumerate(hierarchy.parent.tolist()) if parent == TOP])


def draw_dendrogram(
    path: Path, hierarchy: Hierarchy, images: np.ndarray, cluster: np.ndarray
) -> int:
    """Write the tree as an SVG; returns how many classes it shows.

    images: int [C], as `images_of_classes`. cluster: int [C], of each class; -1, drawn gray, for
    none. The class on top of a cluster is bold.
    """
    order = drawing_order(hierarchy, images)
    num_columns = max(1, -(-len(order) // ROWS_OF_COLUMN))
    num_rows = -(-len(order) // num_columns)
    size = (COLUMN * num_columns, LINE * num_rows + 0.6)
    colors = map(plt.get_cmap("tab20"), range(20))
    palette = [color for color in colors if len(set(color[:3])) > 1]  # gray is for no cluster
    with mpl.rc_context({"svg.hashsalt": "dendrogram", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(1, num_columns, figsize=size, squeeze=False)
        for column, ax in enumerate(axes[0]):
            rows = order[column * num_rows : (column + 1) * num_rows]
            ax.set_xlim(0, COLUMN)
            ax.set_ylim(num_rows, -1)
            ax.axis("off")
            for y, row in enumerate(rows):
                color = palette[cluster[row] % len(palette)] if cluster[row] >= 0 else GREY
                _draw_class(ax, y, row, rows, hierarchy, color)
                text = f"{hierarchy.names[row]}  {images[row]:,}"
                x = INDENT * (hierarchy.level[row] + 1)
                above = cluster[hierarchy.parent[row]] if hierarchy.level[row] else -1
                weight = "bold" if cluster[row] not in (-1, above) else "normal"
                ax.text(x, y, text, fontsize=6, va="center", fontweight=weight)
        figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.01)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return len(order)


def _draw_class(
    ax: Axes, y: int, row: int, rows: Sequence[int], hierarchy: Hierarchy, color: str | tuple
) -> None:
    """A dot, and a line to the class above it, which may stand in the column before."""
    level, parent = int(hierarchy.level[row]), int(hierarchy.parent[row])
    x = INDENT * (level + 0.7)
    ax.plot([x], [y], "o", color=color, markersize=3)
    if level:
        top = rows.index(parent) if parent in rows[:y] else -1
        ax.plot([x - INDENT, x - INDENT, x], [top, y, y], color=GREY, linewidth=0.5, zorder=0)


def confusions(
    names: Sequence[str], label: np.ndarray, predicted: np.ndarray, wanted: Sequence[str]
) -> str:
    """What products of some classes are taken for, in percent of each, in Markdown.

    names: of all classes. label: int [n]. predicted: int [n], -1 for a product without a picture.
    wanted: names; those that no class has are left out.
    """
    rows = [names.index(name) for name in wanted if name in names]
    rows = [row for row in rows if (label == row).any()]
    if not rows:
        return f"No image is of a cluster {', '.join(wanted)}."
    elsewhere = predicted[np.isin(label, rows) & ~np.isin(predicted, rows)]
    counts = np.bincount(elsewhere[elsewhere >= 0], minlength=len(names))
    others = [c for c in np.argsort(-counts, kind="stable")[:NUM_OTHERS].tolist() if counts[c]]
    lines = []
    for row in rows:
        own = predicted[label == row]
        share = [100 * np.mean(own == column) for column in (*rows, *others)]
        cells = [f"{value:.0f}" for value in (*share, max(0.0, 100 - sum(share)))]
        lines.append([names[row], f"{len(own):,}", percent(accuracy(own == row)), *cells])
    header = ["cluster", "images", "right, %", *(names[c] for c in (*rows, *others)), "others"]
    return table(header, lines)


def people(experiment: Experiment, wanted: Sequence[str]) -> str:
    """The confusion table of the mean of the networks, out-of-fold."""
    config = experiment.config
    part = config.stack_part
    catalog = catalog_of_part(experiment, "train")
    query = make_query(catalog, read_splits(experiment.path("extract/splits")).products(part))
    topks, weights = read_topk_of_all(experiment, part), list(config.model_weights.values())
    predicted = best_classes(query, topks, weights, num_classes(experiment))
    paths = read_categories(experiment.path("extract/categories")).names
    names = [next(filter(None, reversed(path))) for path in paths]
    return confusions(names, catalog.label[query.products], predicted, wanted)


def study(folder: Path, wanted: Sequence[str], out: Path) -> str:
    """Write both; returns the confusion table. Raises UserError before stage 03."""
    if not (folder / "config.toml").is_file():
        raise UserError(f"{folder}: no config.toml; give the work folder of an experiment")
    experiment = Experiment(
        load(folder / "config.toml", [f"work={folder.parent}", f"name={folder.name}"])
    )
    for name in ("extract/clusters", f"predictions/{next(iter(experiment.config.classifiers))}"):
        if not experiment.path(name).is_dir():
            raise UserError(
                f"{experiment.path(name)} is missing; run stages 01 to 03 of Open Images"
            )
    hierarchy = read_hierarchy(experiment.path("extract/hierarchy"))
    boxes = read_annotations(experiment.path("extract/annotations/train")).boxes
    images = images_of_classes(hierarchy, boxes)
    cluster = read_clusters(experiment.path("extract/clusters")).options[:, 0]
    draw_dendrogram(out / "openimages_dendrogram.svg", hierarchy, images, cluster)
    text = people(experiment, wanted)
    write_section(out / "openimages.md", "openimages_people", text)
    return text


def main() -> int:
    """Exit status: 0, or 2 after a user error."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.openimages_hierarchy", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="work folder, as work/openimages")
    parser.add_argument("--classes", nargs="+", default=list(PEOPLE), help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="(%(default)s)")
    return print_report(
        parser.parse_args(), lambda given: study(given.folder, given.classes, given.out)
    )


if __name__ == "__main__":
    sys.exit(main())
