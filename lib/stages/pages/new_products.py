"""Stage 06 with `--new`: a page of the new products, with their pictures and what is near

work/<name>/new/<slug>/report/test   page.html
work/<name>/new/<slug>/submit        report.html, the same; by `lib.stages.report.publish`
"""

from functools import partial
from pathlib import Path
from typing import Any

from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs
from lib.pipeline.graph import Graph
from lib.runtime.workers import num_threads

NAME, PAGE = "report/test", "page.html"


def has_page(experiment: Experiment) -> bool:
    """Whether a run ends with this page: with `--new`, of products of one class each."""
    config = experiment.config
    return config.run.report and experiment.target is not None and not config.multi_label


def declare_page(graph: Graph) -> Artifact:
    """The artifact of the page."""
    return graph.add(
        NAME,
        partial(write_page, graph.experiment),
        inputs=[
            *catalog_inputs("train", "test"),
            "extract/categories",
            "extract/nearest/test",
            "submit",
        ],
        version=3,
    )


def write_page(experiment: Experiment, folder: Path) -> dict[str, Any]:
    """Write page.html from the predictions; returns counts."""
    import pyarrow.parquet as pq

    from lib.data.catalog import read_categories
    from lib.output.report.names import ClassNames
    from lib.output.report.neighbors import NUM_NEAREST, SIDE, Neighborhood
    from lib.output.report.page import Heading, complete, render_page
    from lib.output.report.pictures import Pictures
    from lib.output.report.sections import new_products as sections
    from lib.pipeline.reading import read_json, reading
    from lib.stages.read import catalog_of_part, read_nearest_products

    assert experiment.target is not None, "a page of new products needs them"
    submit, threads = experiment.path("submit"), num_threads(experiment.config.run)
    names = ClassNames(read_categories(experiment.path("extract/categories")))
    with reading(submit / "predictions.parquet"):
        table = pq.read_table(submit / "predictions.parquet")
        new = sections.read_predictions(table, names)
    facts = read_json(submit / "calibration.json", "new")
    labelled, catalog = (catalog_of_part(experiment, side) for side in ("train", "test"))
    nearest = read_nearest_products(experiment, "test", NUM_NEAREST)
    with Pictures(catalog, threads) as pictures, Pictures(labelled, threads, SIDE) as small:
        near = Neighborhood(nearest, labelled, names, small)
        shown = [
            sections.headline_section(new, facts, (submit / "ladder.txt").read_text()),
            sections.reasons_section(new),
            sections.classes_section(new, names),
            sections.gallery_section(new, False, names, pictures, near),
            sections.gallery_section(new, True, names, pictures, near),
        ]
    subtitle = f"{len(new.key):,} new products, {len(catalog.offset):,} images"
    title = f"{experiment.config.name}: {experiment.target.path.name}"
    page = complete(render_page(Heading(title, subtitle), shown), [])
    (folder / PAGE).write_text(page)
    return {"sections": len(shown), "bytes": len(page)}
