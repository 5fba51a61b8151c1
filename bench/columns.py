"""Features of network predictions: ten columns for two million candidate rows, against DuckDB.

    python -m bench.columns --json

A tenth of the competition's test products; the candidates are the classes that eight networks list,
and the features are those of the networks' mean (`lib/features/network.py`). Baseline: DuckDB with
as many threads as cores and its tables in memory: two joins, a GROUP BY and two windows. Both must
give the same sums.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from bench import report, shape
from bench.ranking import load_into_duckdb
from bench.report import Measurement, Row
from bench.shape import CLASSES
from lib.features.candidates import unique_candidates
from lib.features.network import MIN_PROB, POSITIONS, network_features, weighted_mean
from lib.features.query import PARTITION, Query, make_query
from lib.features.table import Columns
from lib.inference.topk import TopK
from lib.utils.chunks import chunks

MIN_RATIOS = {"columns_vs_duckdb": 3.0}


def by_network_features(scale: float) -> Callable[[], np.ndarray]:
    """The features of stage 04; returns the number of rows and the sum of each column."""
    query, topk, query_row, class_id = make_candidates(scale)
    bounds = np.searchsorted(query_row, np.arange(len(query.products) + 1))
    network_features(query, topk, "mean", query_row[:1], class_id[:1], CLASSES)  # compile first

    def features_of(products: slice) -> Columns:
        """The features of the candidates of some products."""
        rows = slice(bounds[products.start], bounds[products.stop])
        return network_features(query, topk, "mean", query_row[rows], class_id[rows], CLASSES)

    def work() -> np.ndarray:
        tables = [features_of(products) for products in chunks(len(query.products), PARTITION)]
        sums = [sum(np.nansum(table[name], dtype=float) for table in tables) for name in tables[0]]
        return np.array([len(query_row), *sums])

    return work


def by_duckdb(scale: float) -> Callable[[], np.ndarray]:
    """The baseline: the same features by DuckDB."""
    query, topk, query_row, class_id = make_candidates(scale)
    images, k = topk.classes.shape
    floor = np.minimum(topk.rest / np.float32(CLASSES - k), topk.probs[:, -1])
    image_row = query.query_row_of_image()
    tables = {
        "candidate": {"query_row": query_row, "class_id": class_id},
        "image": {
            "query_row": image_row,
            "image_id": np.arange(images),
            "position": np.arange(images) - query.image_start[image_row],
            "floor": floor,
            "rest": topk.rest,
        },
        "topk": {
            "image_id": np.repeat(np.arange(images), k),
            "class_id": topk.classes.ravel(),
            "prob": topk.probs.ravel(),
        },
    }
    connection = load_into_duckdb({name: pa.table(columns) for name, columns in tables.items()})
    prob_columns = [f"max(prob) filter (position = {p}) prob_{p}" for p in range(POSITIONS)]

    def work() -> np.ndarray:
        columns = connection.execute(
            f"""
            with image_prob as (
                select c.query_row, c.class_id, position, rest, coalesce(prob, floor) prob
                from candidate c join image i on i.query_row = c.query_row
                left join topk t on t.image_id = i.image_id and t.class_id = c.class_id
            ), summed as (
                select query_row, class_id, {", ".join(prob_columns)}, avg(prob) mean,
                    max(prob) largest, exp(avg(ln(greatest(prob, {MIN_PROB})))) geometric,
                    avg(rest) rest
                from image_prob group by query_row, class_id
            )
            select {", ".join(f"prob_{p}" for p in range(POSITIONS))}, mean, largest, geometric,
                row_number() over (partition by query_row order by mean desc, class_id) - 1 rank,
                mean / greatest(max(mean) over (partition by query_row), {MIN_PROB}) of_best, rest
            from summed order by query_row, class_id
            """
        ).fetchnumpy()
        filled = [np.ma.filled(column.astype(float), np.nan) for column in columns.values()]
        return np.array([len(filled[0]), *(np.nansum(column) for column in filled)])

    return work


def make_candidates(scale: float) -> tuple[Query, TopK, np.ndarray, np.ndarray]:
    """Test products, the networks' mean predictions, and candidate rows (query row, class id)."""
    _, query = shape.make_catalogs(scale)
    topks = shape.topks(query, shape.true_classes(query))
    products = make_query(query, np.arange(len(query.label)))
    no_proposals = np.empty((len(query.label), 0), np.int16)
    query_row, class_id = unique_candidates(
        products, [topk.classes for topk in topks], [], no_proposals, CLASSES
    )
    return products, weighted_mean(topks, [1.0] * len(topks), CLASSES), query_row, class_id


def main() -> None:
    """Measure both ways, check that they agree and print the report."""
    parser = report.parser("bench.columns", __doc__)
    parser.add_argument(
        "--scale", type=float, default=0.1, help="of the competition's size (%(default)s)"
    )
    arguments = parser.parse_args()
    report.require("duckdb", "duckdb")
    tasks = {"DuckDB": by_duckdb, "network_features": by_network_features}
    calls: dict[str, Callable[[], Measurement]] = {
        name: partial(report.measure, task, arguments.scale) for name, task in tasks.items()
    }
    runs = report.run_in_turns(calls, arguments.runs)
    results = [repeats[0].result for repeats in runs.values()]
    if not np.allclose(results[0], results[1], rtol=1e-5):
        raise SystemExit("the baseline gives other numbers")
    count = int(results[0][0])
    table = [Row(name, count, "row", runs[name]) for name in tasks]
    title = f"{count:,} candidate rows, {len(results[0]) - 1} columns"
    ratios = {"columns_vs_duckdb": report.ratio(table[0], table[1])}
    report.print_report("columns", title, table, ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
