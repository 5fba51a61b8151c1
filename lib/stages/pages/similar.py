"""`./run_all.sh CONFIG --similar PRODUCT|PHOTO`: the labelled products whose pictures are nearest

work/<name>/similar/<slug>/similar.parquet   a row for each query and labelled product near it
work/<name>/similar/<slug>/similar.html      the same with pictures

It needs stage 01 alone: the embeddings are those of a pretrained network that saw no label.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lib.errors import UserError
from lib.pipeline.artifact import status_all
from lib.pipeline.executor import ensure_all
from lib.pipeline.experiment import Experiment
from lib.pipeline.integrity import check_intact
from lib.pipeline.predict_target import predict_target, slug
from lib.runtime.workers import num_threads
from lib.stages import extract
from lib.stages.order import declare_all
from lib.utils.files import atomic_write

if TYPE_CHECKING:
    import numpy as np

    from lib.data.catalog import Catalog
    from lib.similarity.nearest_products import NearestProducts

NUM_NEAR = 20  # labelled products for each query
NUM_IMAGES = 200  # nearest images among which they are looked for
MAX_LINES, MAX_CARDS = 10, 60  # printed for one query; queries on the page
TABLE, PAGE = "similar.parquet", "similar.html"


class Query(NamedTuple):
    """What others are compared with.

    experiment: with the pictures as its target, if they are no product of the catalog. side: of the
    catalog that has the products. products: int64 [q], their rows.
    """

    experiment: Experiment
    side: str
    products: "np.ndarray"


def similar(experiment: Experiment, name: str) -> list[str]:
    """Write the table and the page; returns lines with the nearest products and both paths.

    name: the id of a product, labelled or to classify, or a picture, or whatever `--new` takes.
    Raises UserError for what is neither, and unless stage 01 is complete.
    """
    if experiment.target is not None:
        raise UserError("--similar and --new exclude each other: --similar takes the path itself")
    query = _find_query(experiment, name)
    near = _search(query)
    folder = experiment.folder / "similar" / slug(Path(name))
    folder.mkdir(parents=True, exist_ok=True)
    lines = _write_table(folder / TABLE, query, near)
    _write_page(folder / PAGE, query, near, name)
    return [*lines, f"table: {folder / TABLE}", f"page: {folder / PAGE}"]


def _find_query(experiment: Experiment, name: str) -> Query:
    import numpy as np

    from lib.stages.read import catalog_of_side

    _check_ready(experiment, "train")
    if Path(name).exists():
        new = replace(experiment, target=predict_target(name))
        ensure_all(extract.NAME, declare_all(new)[extract.NAME], new.config.run, rebuild=True)
        count = len(catalog_of_side(new, "test").product_id)
        return Query(new, "test", np.arange(count))
    for side in experiment.sides:
        if side == "test":
            _check_ready(experiment, side)
        row = row_of(catalog_of_side(experiment, side), name)
        if row is not None:
            return Query(experiment, side, np.array([row]))
    raise UserError(f"--similar {name}: no product of the catalog, and no file, has this name")


def _check_ready(experiment: Experiment, side: str) -> None:
    """Raise UserError unless stage 01 has the embeddings of a side; originals may be gone."""
    artifacts = [replace(a, frozen=True) for a in declare_all(experiment)[extract.NAME]]
    states = status_all(artifacts)
    for name in ("extract/categories", f"extract/embeddings/{side}", f"extract/nearest/{side}"):
        state = states[experiment.path(name)]
        if not state.fresh:
            raise UserError(f"{experiment.path(name)} is {state}; run {extract.SCRIPT} first")
        check_intact(experiment.path(name))


def row_of(catalog: "Catalog", name: str) -> int | None:
    """The row of the product with this id; None for no such product."""
    import numpy as np
    import pyarrow.compute as pc

    if catalog.keys is not None:
        row = pc.index(catalog.keys, name).as_py()
        return row if row >= 0 else None
    rows = np.flatnonzero(catalog.product_id.astype(str) == name)
    return int(rows[0]) if len(rows) else None


def _search(query: Query) -> "NearestProducts":
    """The nearest labelled products of each product of the query, but itself."""
    import numpy as np

    from lib.similarity.nearest_products import nearest_products
    from lib.similarity.twins import other_products
    from lib.stages.read import catalog_of_side, open_labelled_search, read_embeddings

    experiment, side, products = query
    catalog, labelled = (catalog_of_side(experiment, name) for name in (side, "train"))
    images = catalog.images_of(products)
    own = catalog.image_product[images] if side == "train" else np.full(len(images), -1, np.int32)
    most = int(catalog.image_count[products].max(initial=0))
    k = max(1, min(NUM_IMAGES + most, len(labelled.image_product)))
    found = open_labelled_search(experiment).search(read_embeddings(experiment, side)[images], k)
    cosine, row = other_products(*found, own, labelled.image_product, k)
    of_image = np.searchsorted(products, catalog.image_product[images]).astype(np.int32)
    return nearest_products(cosine, row, of_image, labelled.image_product, len(products), NUM_NEAR)


def _write_table(path: Path, query: Query, near: "NearestProducts") -> list[str]:
    """Write the Parquet file; returns the lines to print."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lib.data.catalog import read_categories
    from lib.output.report.names import ClassNames
    from lib.stages.read import catalog_of_side

    catalog = catalog_of_side(query.experiment, query.side)
    labelled = catalog_of_side(query.experiment, "train")
    names = ClassNames(read_categories(query.experiment.path("extract/categories")))
    place, rank = np.nonzero(near.product >= 0)
    others = near.product[place, rank].tolist()
    classes = labelled.label[near.product[place, rank]].tolist()
    keys, paths = [labelled.key(other) for other in others], [names.paths[c] for c in classes]
    cosine = near.cosine[place, rank]
    columns = {
        "product": [catalog.key(row) for row in query.products[place].tolist()],
        "rank": (rank + 1).astype(np.int32),
        "near": keys,
        "cosine": cosine,
        "class": [names.keys[class_id] for class_id in classes],
        "name": paths,
    }
    with atomic_write(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
    if len(query.products) > 1:
        return [f"{len(query.products):,} products, {len(others):,} labelled ones near them"]
    if not others:
        return ["nothing is near: it has no picture that can be decoded"]
    rows = list(zip(cosine.tolist(), keys, paths, strict=True))[:MAX_LINES]
    return [f"{value:.3f}  {key}  {name}" for value, key, name in rows]


def _write_page(path: Path, query: Query, near: "NearestProducts", name: str) -> None:
    from lib.data.catalog import read_categories
    from lib.output.report.blocks import Block, Card, Gallery, Section, Text
    from lib.output.report.names import ClassNames
    from lib.output.report.neighbors import Neighborhood
    from lib.output.report.page import Heading, complete, render_page
    from lib.output.report.pictures import Pictures
    from lib.stages.read import catalog_of_side

    experiment, threads = query.experiment, num_threads(query.experiment.config.run)
    catalog = catalog_of_side(experiment, query.side)
    labelled = catalog_of_side(experiment, "train")
    names = ClassNames(read_categories(experiment.path("extract/categories")))
    rows = query.products[:MAX_CARDS].tolist()
    with Pictures(catalog, threads) as pictures, Pictures(labelled, threads) as others:
        strips = Neighborhood(near, labelled, names, others, most=NUM_NEAR).strips(range(len(rows)))
        cards = []
        for row, uris, own in zip(rows, pictures.of_products(rows), strips, strict=True):
            label = int(catalog.label[row])
            of = names.paths[label] if label >= 0 else "not labelled"
            keys = [("order of the catalog", float(row))]
            cards.append(Card(catalog.key(row), uris, [("label", of)], [], of, keys, own))
        has_originals = others.has_originals
    blocks: list[Block] = [Gallery("similar", cards, "all labelled products")]
    if len(rows) < len(query.products):
        blocks.append(Text(f"{len(rows):,} of {len(query.products):,} are shown; {TABLE} has all."))
    if not has_originals:
        blocks.append(Text(f"{labelled.path} is gone, and with it the labelled pictures."))
    lead = (
        "The labelled products whose pictures are nearest, by the embedding of a network that saw"
        " no label of this catalog. 1 is the same picture. A product's cosine is that of its most"
        " alike picture."
    )
    section = Section("similar", "Similar products", lead, blocks)
    heading = Heading(f"{experiment.config.name}: similar to {Path(name).name}", "")
    with atomic_write(path) as temporary:
        temporary.write_text(complete(render_page(heading, [section]), []))
