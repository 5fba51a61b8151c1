"""Clusters of the published tree of classes, for generated numbers of images.

    python -m studies.openimages_clusters ../shared/data/openimages --page docs/openimages.md

The full tables of Open Images are not at hand, so the 1,743,042 images of the training split of V4
are dealt out to the 601 classes by a power law, in a random order of the classes. What part of them
is then in clusters, and in clusters of which level, is the mean over several orders. The figures
show what the trade-off does, and not what it does on the real counts.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lib.config.clusters import Clusters
from lib.config.data import Data
from lib.data.openimages.cluster_choice import Choice, choose_clusters, cluster_sizes
from lib.data.openimages.hierarchy import Hierarchy
from lib.data.openimages.places import read_hierarchy_file
from lib.evaluation.markdown import table
from studies.pages import write_section

IMAGES = 1_743_042  # of the training split of V4 that have boxes
MIN_IMAGES = 1000
EXPONENTS = (0.6, 0.8, 1.0)
ARTICLE = ["the article", "76", "91", "40", "40", "11"]


def main() -> None:
    """Print the table, and write it to a page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="of the tree and of the names of its classes")
    parser.add_argument("--orders", type=int, default=5, help="random orders (%(default)s)")
    parser.add_argument("--page", type=Path, help="Markdown page whose section is replaced")
    arguments = parser.parse_args()
    hierarchy, _ = read_hierarchy_file(
        arguments.folder / Data().hierarchy,
        arguments.folder / Data().class_descriptions,
        Clusters(),
    )
    rows = list(measure(hierarchy, arguments.orders))
    text = section(rows, arguments.orders)
    print(text)
    if arguments.page:
        write_section(arguments.page, "openimages_clusters", text)


def measure(hierarchy: Hierarchy, orders: int) -> Iterator[dict[str, Any]]:
    """One row for each power law and trade-off: means over random orders of the classes."""
    for exponent in EXPONENTS:
        for max_clusters, depth_worth in ((90, 0.0), (40, 0.5), (76, 0.1), (76, 0.5), (76, 1.0)):
            settings = Clusters(max_clusters=max_clusters, depth_worth=depth_worth)
            found = [clusters(hierarchy, exponent, settings, seed) for seed in range(orders)]
            mean = {key: float(np.mean([row[key] for row in found])) for key in found[0]}
            yield {"exponent": exponent, "max": max_clusters, "depth_worth": depth_worth} | mean


def clusters(
    hierarchy: Hierarchy, exponent: float, settings: Clusters, seed: int
) -> dict[str, float]:
    """Number of clusters, and the parts of the images that they cover, by level."""
    rank = 1 + np.random.default_rng(seed).permutation(len(hierarchy))
    share = rank**-exponent / (rank**-exponent).sum()
    none = np.zeros(len(hierarchy), bool)
    choice = Choice(
        hierarchy.parent.tolist(),
        hierarchy.level.tolist(),
        np.round(share * IMAGES).astype(int).tolist(),
        none,
        none,
        settings.max_clusters,
        MIN_IMAGES,
        settings.depth_worth,
    )
    chosen = choose_clusters(choice)
    part = cluster_sizes(choice, chosen) / sum(choice.images)
    levels = [float(part[hierarchy.level == level].sum()) for level in (0, 1)]
    deeper = float(part[hierarchy.level > 1].sum())
    return {
        "clusters": float(chosen.sum()),
        "covered": float(part.sum()),
        "level 0": levels[0],
        "level 1": levels[1],
        "deeper": deeper,
    }


def section(rows: list[dict[str, Any]], orders: int) -> str:
    """The table beside the article's figures, in Markdown."""
    header = ["power law", "clusters", "images covered, %", "level 0", "level 1", "deeper"]
    lines = [
        [
            f"r ** -{row['exponent']:g}, at most {row['max']}, depth_worth {row['depth_worth']:g}",
            f"{row['clusters']:.0f}",
            *(f"{100 * row[key]:.1f}" for key in ("covered", "level 0", "level 1", "deeper")),
        ]
        for row in rows
    ]
    note = f"Generated counts of images, means over {orders} random orders of the classes."
    return f"{note}\n\n{table(header, [ARTICLE, *lines])}"


if __name__ == "__main__":
    main()
