"""Stage 01 of a rehearsal: draw products from the index of all

work/<name>/extract/whole/<side>   the index of all products
work/<name>/extract/<side>         the index of those that are drawn; the images stay where they are
"""

from functools import partial
from pathlib import Path
from typing import Any

from lib.data.sources.source_files import source_path
from lib.pipeline.experiment import Experiment
from lib.pipeline.graph import Graph


def index_name(experiment: Experiment, side: str) -> str:
    """The artifact with the index of all products of a side."""
    return f"extract/whole/{side}" if experiment.config.data.draw else f"extract/{side}"


def declare_draw(graph: Graph, side: str) -> None:
    """Declare the index of the drawn products of a side."""
    experiment = graph.experiment
    graph.add(
        f"extract/{side}",
        partial(draw_side, experiment, side),
        settings={"draw": experiment.config.data.draw, "seed": experiment.config.seed},
        inputs=[
            index_name(experiment, side),
            *(["extract/train"] if side == "test" else []),
        ],
    )


def draw_side(experiment: Experiment, side: str, folder: Path) -> dict[str, Any]:
    """Draw the products of a side: half as many to classify as labelled ones."""
    import shutil

    import numpy as np

    from lib.data.catalog import read_catalog
    from lib.data.subset.draw import draw_products
    from lib.data.subset.tables import write_subset
    from lib.stages.read import index_of_side

    whole, config = experiment.path(index_name(experiment, side)), experiment.config
    catalog = read_catalog(whole, source_path(experiment, side))
    if side == "train":
        drawn = draw_products(catalog, config.data.draw, config.seed)
    else:
        labelled = index_of_side(experiment, "train")
        drawn = draw_products(catalog, max(config.data.draw // 2, 1), config.seed, labelled)
    images = np.ones(len(catalog.image_product), bool)
    counts = write_subset(folder, whole, catalog, images, drawn)
    shutil.copy(whole / "scan_report.json", folder)
    return {"products": len(counts), "images": int(counts.sum())}
