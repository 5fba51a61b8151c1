"""What the networks say of the candidate rows: two million of them, with ten columns.

    python -m bench.columns --json

A tenth of the competition's test products; their candidates are the classes that eight networks
list, and the columns are those of the networks' mean (`lib/features/network.py`). Baseline: DuckDB
with as many threads as cores and its tables in memory: two joins, a GROUP BY and two windows. Both
must give the same sums.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyarrow as pa

from bench import report, shape
from bench.ranking import connected
from bench.report import Measured, Row
from bench.shape import CLASSES
from lib.features.build import CHUNK
from lib.features.candidates import unique_candidates
from lib.features.network import MIN_PROB, POSITIONS, network_features, weighted_mean
from lib.features.query import Query, make_query
from lib.features.table import Columns
from lib.inference.topk import TopK
from lib.utils.chunks import chunks

BARS = {"columns_vs_duckdb": 3.0}


def said(scale: float) -> Callable[[], np.ndarray]:
    """The columns as stage 04 makes them; returns how many rows, and the sum of each column."""
    query, topk, slot, cls = proposed(scale)
    bounds = np.searchsorted(slot, np.arange(len(query.products) + 1))
    network_features(query, topk, "mean", slot[:1], cls[:1], CLASSES)  # compiled before the clock

    def some(products: slice) -> Columns:
        rows = slice(bounds[products.start], bounds[products.stop])
        return network_features(query, topk, "mean", slot[rows], cls[rows], CLASSES)

    def work() -> np.ndarray:
        tables = [some(products) for products in chunks(len(query.products), CHUNK)]
        sums = [sum(np.nansum(table[name], dtype=float) for table in tables) for name in tables[0]]
        return np.array([len(slot), *sums])

    return work


def grouped(scale: float) -> Callable[[], np.ndarray]:
    """The baseline: the same columns by DuckDB."""
    query, topk, slot, cls = proposed(scale)
    images, k = topk.classes.shape
    floor = np.minimum(topk.rest / np.float32(CLASSES - k), topk.probs[:, -1])
    owner = query.query_row_of_image()
    tables = {
        "candidate": {"slot": slot, "cls": cls},
        "picture": {
            "slot": owner,
            "image": np.arange(images),
            "position": np.arange(images) - query.image_start[owner],
            "floor": floor,
            "rest": topk.rest,
        },
        "listed": {
            "image": np.repeat(np.arange(images), k),
            "cls": topk.classes.ravel(),
            "prob": topk.probs.ravel(),
        },
    }
    connection = connected({name: pa.table(columns) for name, columns in tables.items()})
    of_position = [f"max(prob) filter (position = {p}) prob_{p}" for p in range(POSITIONS)]

    def work() -> np.ndarray:
        columns = connection.execute(
            f"""
            with seen as (
                select c.slot, c.cls, position, rest, coalesce(prob, floor) prob
                from candidate c join picture on picture.slot = c.slot
                left join listed l on l.image = picture.image and l.cls = c.cls
            ), summed as (
                select slot, cls, {", ".join(of_position)}, avg(prob) mean, max(prob) largest,
                    exp(avg(ln(greatest(prob, {MIN_PROB})))) geometric, avg(rest) rest
                from seen group by slot, cls
            )
            select {", ".join(f"prob_{p}" for p in range(POSITIONS))}, mean, largest, geometric,
                row_number() over (partition by slot order by mean desc, cls) - 1 place,
                mean / greatest(max(mean) over (partition by slot), {MIN_PROB}) of_best, rest
            from summed order by slot, cls
            """
        ).fetchnumpy()
        filled = [np.ma.filled(column.astype(float), np.nan) for column in columns.values()]
        return np.array([len(filled[0]), *(np.nansum(column) for column in filled)])

    return work


def proposed(scale: float) -> tuple[Query, TopK, np.ndarray, np.ndarray]:
    """Test products, what the networks say of them in the mean, and rows (slot, class)."""
    _, query = shape.catalogues(scale)
    dumps = shape.dumps(query, shape.truth(query))
    asked = make_query(query, np.arange(len(query.label)))
    nothing = np.empty((len(query.label), 0), np.int16)
    slot, cls = unique_candidates(asked, [dump.classes for dump in dumps], [], nothing, CLASSES)
    return asked, weighted_mean(dumps, [1.0] * len(dumps), CLASSES), slot, cls


def main() -> None:
    parser = report.parser("bench.columns", __doc__)
    parser.add_argument("--scale", type=float, default=0.1, help="of the competition's size")
    arguments = parser.parse_args()
    tasks = {"DuckDB": grouped, "network_features": said}
    calls: dict[str, Callable[[], Measured]] = {
        name: partial(report.measured, task, arguments.scale) for name, task in tasks.items()
    }
    runs = report.turns(calls, arguments.runs)
    results = [done[0].result for done in runs.values()]
    if not np.allclose(results[0], results[1], rtol=1e-5):
        raise SystemExit("the baseline gives other numbers")
    count = int(results[0][0])
    table = [Row(name, count, "row", runs[name]) for name in tasks]
    report.show(f"{count:,} candidate rows, {len(results[0]) - 1} columns", table)
    ratios = {"columns_vs_duckdb": report.ratio(table[0], table[1])}
    report.finish("columns", ratios, BARS, arguments.json)


if __name__ == "__main__":
    main()
