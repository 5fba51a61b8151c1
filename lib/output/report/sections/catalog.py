"""The catalog itself: sizes of its classes and images, images a product, ids against classes."""

import numpy as np
from matplotlib.axes import Axes

from lib.data.catalog import Catalog
from lib.output.report.blocks import ALL_LABELLED, Block, Chart, Section, Text, Tile, Tiles
from lib.output.report.charts import SERIES, draw, log_counts, whole_numbers

MAX_POINTS = 3000  # of a scatter plot
MAX_IMAGES = 12  # of a product, in the histogram; the last bar is "or more"


def catalog_section(
    catalog: Catalog, labelled: np.ndarray, sizes: np.ndarray, ids_are_comparable: bool
) -> Section:
    """What the labelled products are like.

    labelled: int64 [C], products of each class. sizes: int32 [P, 2], height and width of each
    product's first image, (0, 0) where it is not known. ids_are_comparable: whether nearby ids can
    tell a class.
    """
    lead = (
        "The labelled products: how many there are of each class, and what their images are like."
    )
    filled = np.sort(labelled[labelled > 0])[::-1]
    tiles = [
        Tile("Products", f"{len(catalog.product_id):,}", "with a label", ALL_LABELLED),
        Tile("Images", f"{len(catalog.offset):,}", "that can be decoded", ALL_LABELLED),
        Tile(
            "Classes",
            f"{len(filled):,}",
            f"of {len(labelled):,}; {filled[-1]:,} to {filled[0]:,} products, median"
            f" {int(np.median(filled)):,}",
            ALL_LABELLED,
        ),
        Tile(
            "Largest class",
            f"{100 * filled[0] / filled.sum():.1f} %",
            "of the products: what the most frequent class alone would get right",
            ALL_LABELLED,
        ),
    ]
    blocks: list[Block] = [Tiles(tiles), _class_sizes(filled), _image_counts(catalog)]
    known = np.flatnonzero((sizes > 0).all(axis=1))
    if len(known):
        blocks.append(_image_sizes(sizes[known]))
    if ids_are_comparable:
        blocks.append(_ids(catalog))
    else:
        text = "Nearby ids do not tell a class here, so there is no picture of ids against classes."
        blocks.append(Text(text))
    return Section("catalog", "The catalog", lead, blocks)


def _sample(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= MAX_POINTS:
        return rows
    return np.sort(np.random.default_rng(0).choice(rows, MAX_POINTS, replace=False))


def _class_sizes(filled: np.ndarray) -> Chart:
    def paint(axes: Axes) -> None:
        shown = np.unique(np.geomspace(1, len(filled), 400).round().astype(int)) - 1
        axes.plot(shown + 1, filled[shown], ".-", color=SERIES[0], markersize=3)
        log_counts(axes)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_minor_formatter(lambda *_: "")
        axes.set(xlabel="rank of the class", ylabel="labelled products")

    svg = draw("class-sizes", "labelled products of each class, by rank", paint)
    return Chart(svg, "Labelled products of each class, the largest first.", ALL_LABELLED)


def _image_counts(catalog: Catalog) -> Chart:
    count = np.bincount(np.minimum(catalog.image_count, MAX_IMAGES), minlength=2)

    def paint(axes: Axes) -> None:
        axes.bar(np.arange(len(count)), count, 0.7, color=SERIES[0])
        axes.set(xlabel="images of a product", ylabel="products")
        whole_numbers(axes.xaxis)

    more = f" ({MAX_IMAGES} or more in the last bar)" if len(count) > MAX_IMAGES else ""
    svg = draw("image-counts", "products by number of images", paint)
    return Chart(svg, f"Products by their number of images{more}.", ALL_LABELLED)


def _image_sizes(sizes: np.ndarray) -> Chart:
    found, count = np.unique(sizes, axis=0, return_counts=True)
    order = np.argsort(-count, kind="stable")[:MAX_POINTS]

    def paint(axes: Axes) -> None:
        area = 8 + 150 * count[order] / count.max()
        axes.scatter(
            found[order, 1], found[order, 0], area, color=SERIES[0], alpha=0.5, linewidths=0
        )
        axes.set(xlabel="width in pixels", ylabel="height in pixels")
        axes.set_xlim(0, None)
        axes.set_ylim(0, None)

    svg = draw("image-sizes", "height against width of first images", paint)
    caption = (
        f"First images of {len(sizes):,} products, {len(found):,} different sizes;"
        " larger dots are more images."
    )
    return Chart(svg, caption, ALL_LABELLED)


def _ids(catalog: Catalog) -> Chart:
    shown = _sample(np.flatnonzero(catalog.label >= 0))

    def paint(axes: Axes) -> None:
        axes.plot(
            catalog.product_id[shown],
            catalog.label[shown],
            "o",
            color=SERIES[0],
            markersize=2,
            alpha=0.6,
            markeredgewidth=0,
        )
        axes.set(xlabel="id of the product", ylabel="number of the class")

    svg = draw("ids", "class against id", paint)
    caption = (
        f"Classes against ids of {len(shown):,} products. Runs of one class are what ids tell."
    )
    return Chart(svg, caption, ALL_LABELLED)
