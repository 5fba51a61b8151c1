"""Stage 04: feature tables of the attributes of products

work/<name>/features/attributes/<part>   columns of the rows of features/candidates/<part>
"""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.pipeline.artifact import Artifact
from lib.pipeline.experiment import Experiment, catalog_inputs, side_of
from lib.pipeline.graph import Graph
from lib.stages.attributes.tables import attributes_of_side

if TYPE_CHECKING:
    import numpy as np

    from lib.features.attributes.columns import AttributeTables
    from lib.features.query import Query

logger = logging.getLogger(__name__)


def attribute_inputs(experiment: Experiment, part: str) -> list[str]:
    """The attributes that the rows of a part are computed from; none if no column is named."""
    if not experiment.config.data.attribute_columns:
        return []
    sides = ("train", "test") if part == "test" else ("train",)
    return [f"extract/attributes/{side}" for side in sides]


def declare_attribute_features(graph: Graph, part: str) -> Artifact:
    """The feature table of a part."""
    experiment = graph.experiment
    features, sides = experiment.config.features, dict.fromkeys(("train", side_of(part)))
    return graph.add(
        f"features/attributes/{part}",
        partial(build_attribute_features, experiment, part),
        settings={"test_uses_locked": features.test_uses_locked},
        inputs=[
            *attribute_inputs(experiment, part),
            f"features/candidates/{part}",
            *catalog_inputs(*sides),
            "extract/categories",
            "extract/splits",
        ],
    )


def build_attribute_features(experiment: Experiment, part: str, folder: Path) -> dict[str, Any]:
    """Write the columns of attributes; warn of an attribute that alone tells the class."""
    import numpy as np

    from lib.features.query import PARTITION, make_query
    from lib.features.table import write_by_chunks
    from lib.stages.read import catalog_of_part, read_candidates

    rows, catalog = read_candidates(experiment, part), catalog_of_part(experiment, part)
    query = make_query(catalog, np.unique(rows.product))
    query_row = np.searchsorted(query.products, rows.product)
    tables = read_tables(experiment, part, query)
    facts: dict[str, Any] = {"rows": len(query_row)}
    facts["columns"] = write_by_chunks(folder, query_row, rows.class_id, tables.columns, PARTITION)
    if part == experiment.config.stack_part:
        told = tables.told_alone(catalog.label[query.products])
        for name, right in told.items():
            logger.warning(
                "the column %s alone tells %.1f %% of the classes of labelled products that it was"
                " not shown; if it is made of the class, new products lack it: take it out",
                *(name, 100 * right),
            )
        facts["told_alone"] = {name: round(right, 4) for name, right in told.items()}
    return facts


def attribute_classes(
    experiment: Experiment, part: str, products: "np.ndarray"
) -> "np.ndarray | None":
    """The classes most frequent with the categories of each product: int16 [Q, k].

    products: int64 [Q], ascending rows of the part's catalog. None without categorical columns.
    """
    from lib.features.query import make_query
    from lib.stages.read import catalog_of_part

    config = experiment.config
    if not config.data.categorical_columns or not config.features.attribute_k:
        return None
    query = make_query(catalog_of_part(experiment, part), products)
    return read_tables(experiment, part, query).proposals(config.features.attribute_k)


def read_tables(experiment: Experiment, part: str, query: "Query") -> "AttributeTables":
    """What the rows of a part look up, by the labels that they may see."""
    from lib.data.attributes.join import category_codes, value_codes
    from lib.data.catalog import read_splits
    from lib.features.attributes.columns import Attributes, look_up_attributes
    from lib.features.visibility import fold_of_queries, reference_products
    from lib.stages.read import catalog_of_part, num_classes

    config, data = experiment.config, experiment.config.data
    labelled, own = (attributes_of_side(experiment, side) for side in ("train", side_of(part)))
    codes = {name: value_codes(labelled[name]) for name in data.categorical_columns}
    attributes = Attributes(
        {
            name: (
                category_codes(labelled[name], code),
                category_codes(own[name], code)[query.products],
            )
            for name, code in codes.items()
        },
        {name: len(code) + 1 for name, code in codes.items()},
        {
            name: (_numbers(labelled[name]), _numbers(own[name])[query.products])
            for name in data.numeric_columns
        },
    )
    label = catalog_of_part(experiment, "train").label
    splits = read_splits(experiment.path("extract/splits"))
    return look_up_attributes(
        attributes,
        label,
        *reference_products(config.features, part, label, splits),
        fold_of_queries(part, splits, query),
        num_classes(experiment),
    )


def _numbers(column: Any) -> "np.ndarray":
    """float64 [P], NaN where missing."""
    import pyarrow.compute as pc

    return pc.fill_null(column, float("nan")).to_numpy()
