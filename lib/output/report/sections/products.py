"""Accuracy by what a product is like: its images, their aspect ratio, its place in the tree."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from lib.config.model import Aspect
from lib.data.aspect.clusters import find_clusters
from lib.data.catalog import Categories
from lib.evaluation.metrics import Estimate, accuracy
from lib.output.report.blocks import Block, Chart, Section, Table, Text, interval
from lib.output.report.charts import SERIES, WIDTH, draw
from lib.output.report.part import PartPredictions
from lib.output.report.sections.scores import chart_height

MAX_GROUPS = 12  # of numbers of images, the last being "or more"
MAX_CATEGORIES = 40  # of the first level, in a chart
NUM_ASPECTS = 3  # clusters of aspect ratios, as in the article on Open Images


def accuracy_by(part: PartPredictions, key: np.ndarray) -> list[tuple[int, Estimate]]:
    """Accuracy of the products of each key: int [Q], ascending keys; below 0 is left out."""
    return [
        (int(value), _accuracy_of(part, key == value)) for value in np.unique(key) if value >= 0
    ]


def images_section(
    parts: Sequence[PartPredictions], image_count: np.ndarray, sizes: np.ndarray | None
) -> Section:
    """Accuracy by the number of images, and by the aspect ratio of the first image.

    image_count: int [products of the catalog]. sizes: int32 [products of the catalog, 2], height
    and width of each product's first image, (0, 0) where it is not known; None: of no product.
    """
    lead = "Accuracy of products by how many images they have, and by the shape of the first one."
    blocks: list[Block] = []
    for part in parts:
        counts = np.minimum(image_count[part.product], MAX_GROUPS)
        rows = accuracy_by(part, counts)
        names = [f"{n} or more" if n == MAX_GROUPS else f"{n}" for n, _ in rows]
        blocks.append(_bars(part, "images", names, [e for _, e in rows], "images of the product"))
    if sizes is None:
        text = "The sizes of the images are not known, so there is no accuracy by aspect ratio."
        return Section("images", "Images of a product", lead, [*blocks, Text(text, missing=True)])
    clusters = find_clusters(sizes, Aspect(num_clusters=NUM_ASPECTS))
    of_product = np.where((sizes > 0).all(axis=1), clusters.assign(sizes), -1)
    if len(clusters.aspects) == 1:
        text = f"Nearly all images have one aspect ratio, {_ratio(clusters.aspects[0])}."
        return Section("images", "Images of a product", lead, [*blocks, Text(text)])
    for part in parts:
        rows = accuracy_by(part, of_product[part.product])
        names = [_ratio(clusters.aspects[cluster]) for cluster, _ in rows]
        if rows:
            label = "aspect ratio (width : height) of the first image"
            blocks.append(_bars(part, "aspect", names, [e for _, e in rows], label))
    return Section("images", "Images of a product", lead, blocks)


def tree_section(parts: Sequence[PartPredictions], categories: Categories) -> Section:
    """Accuracy on each level of the category tree, and within each category of the first."""
    lead = (
        "A wrong class may still be near: the same category of an upper level. Below, the accuracy"
        " of products within each category of the first level that has several."
    )
    levels = categories.levels()
    if not levels:
        text = "The categories have no levels: their names are missing, or are not grouped."
        return Section("tree", "Category tree", lead, [Text(text, missing=True)])
    rows = []
    for part in parts:
        for number, group in enumerate(levels, 1):
            near = accuracy(group[part.best] == group[part.label], group=part.group)
            rows.append([part.origin, f"level {number}", f"{near.n:,}", interval(near)])
        full = accuracy(part.correct, group=part.group)
        rows.append([part.origin, "class", f"{full.n:,}", interval(full)])
    header = ["part", "level", "products", "accuracy"]
    blocks: list[Block] = [Table("Accuracy by level", header, rows, "both parts", num_text=2)]
    for part in parts:
        blocks += _first_level(part, categories, levels[0])
    return Section("tree", "Category tree", lead, blocks)


def _first_level(part: PartPredictions, categories: Categories, group: np.ndarray) -> list[Block]:
    of_product = group[part.label]
    present, count = np.unique(of_product, return_counts=True)
    largest = present[np.argsort(-count, kind="stable")[:MAX_CATEGORIES]]
    estimates = [(int(g), _accuracy_of(part, of_product == g)) for g in largest.tolist()]
    estimates = sorted(estimates, key=lambda pair: -pair[1].value)
    depth = 1 if len({path[0] for path in categories.names}) > 1 else 2
    name_of = {g: path[depth - 1] for g, path in zip(group.tolist(), categories.names, strict=True)}
    names = [name_of[g] or "(no name)" for g, _ in estimates]
    label = f"category of level {depth}"
    blocks: list[Block] = [_bars(part, "level", names, [e for _, e in estimates], label)]
    if len(present) > len(estimates):
        blocks.append(Text(f"The largest {len(estimates)} of {len(present)} categories are shown."))
    return blocks


def _accuracy_of(part: PartPredictions, chosen: np.ndarray) -> Estimate:
    group = None if part.group is None else part.group[chosen]
    return accuracy(part.correct[chosen], group=group)


def _bars(
    part: PartPredictions, key: str, names: list[str], estimates: list[Estimate], label: str
) -> Chart:
    """A row for each name: accuracy with its interval."""

    def paint(axes: Axes) -> None:
        y = np.arange(len(names))
        for row, estimate in enumerate(estimates):
            axes.plot([estimate.low, estimate.high], [row, row], color=SERIES[0], linewidth=2)
        axes.plot([e.value for e in estimates], y, "o", color=SERIES[0], markersize=5)
        labels = [f"{n} ({e.n:,})" for n, e in zip(names, estimates, strict=True)]
        axes.set_yticks(y, [_short(text) for text in labels], size=9)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(min(0.5, *(e.low for e in estimates)) - 0.02, 1.02)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("accuracy")

    name = f"{key}-{part.origin.split()[0]}"
    svg = draw(name, f"accuracy by {label}", paint, WIDTH, chart_height(len(names)))
    return Chart(svg, f"Accuracy by {label} (number of products).", part.origin)


def _short(text: str) -> str:
    return text if len(text) <= 34 else f"{text[:20]}...{text[-12:]}"


def _ratio(log_aspect: float) -> str:
    """The ratio width : height of a logarithm to base 2, as in "1 : 2.0"."""
    aspect = 2.0 ** float(log_aspect)
    return f"{aspect:.2f} : 1" if aspect >= 1 else f"1 : {1 / aspect:.2f}"
