"""Id priors of 21 million rows and a hash look-up of 15.5 million images, against numpy and DuckDB.

    python -m bench.ranking --json

Priors: 1.77 million test products with 12 candidates each count classes among 7.07 million labelled
products near by id, in 5,270 classes with a long tail. Baseline: the same counts by numpy, two
`searchsorted` calls on a combined key of class and position, on a tenth of the products.

Hashes: 3.1 million test images are looked up among 12.37 million, of which a third are copies: how
many products have the image, and of how many classes. Baseline: DuckDB with as many threads as
cores and its tables in memory, a GROUP BY and a join. Baselines must give the same numbers.

`bench.columns` measures the features of networks, `bench.stages` the whole stage.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from bench import report, shape
from bench.report import Measurement, Row
from bench.shape import IMAGES, TEST, TEST_IMAGES, TRAIN
from lib.features import id_priors
from lib.features.hashes import hash_lookup

CANDIDATES, WINDOW = 12, 50_000
BASELINE_PART = 10  # the baseline counts for one product in ten
HASH_K = 5

HASH_MEMORY = 1500  # MB

MIN_RATIOS = {"prior_vs_numpy": 100.0, "hash_vs_duckdb": 2.0, "hash_memory": 1.0}


def rows(scale: float) -> tuple[np.ndarray, ...]:
    """ids and labels of the labelled products; ids and candidate classes of the others."""
    labelled, query = shape.make_catalogs(scale)
    rng = np.random.default_rng(1)
    classes = labelled.label[rng.integers(0, len(labelled.label), (len(query.label), CANDIDATES))]
    return labelled.product_id, labelled.label, np.sort(query.product_id), classes


def by_id_index(scale: float) -> Callable[[], np.ndarray]:
    """The counts of stage 04."""
    ids, label, queries, classes = rows(scale)
    order = id_priors.build_id_index(ids, label)
    query_ids = np.repeat(queries, CANDIDATES)
    window = id_priors.limit_window(WINDOW, len(ids))
    order.nearest_counts(query_ids[:1], classes.ravel()[:1], 1)  # compile first
    count = num_baseline_rows(scale)
    return lambda: order.nearest_counts(query_ids, classes.ravel(), window)[:count]


def by_searchsorted(scale: float) -> Callable[[], np.ndarray]:
    """The baseline: two binary searches for each row."""
    ids, label, queries, classes = rows(scale)
    by_id = np.argsort(ids)
    ids, label = ids[by_id], label[by_id]
    n, window = len(ids), id_priors.limit_window(WINDOW, len(ids))
    keys = np.sort(label.astype(np.int64) * n + np.arange(n))
    count = num_baseline_rows(scale)
    products = queries[: count // CANDIDATES]
    class_ids = classes.ravel()[:count].astype(np.int64)

    def work() -> np.ndarray:
        low, high = np.zeros(len(products), np.int64), np.full(len(products), n - window)
        while (low < high).any():
            middle = (low + high) // 2
            beyond = np.minimum(middle + window, n - 1)
            move_up = (low < high) & (products - ids[middle] > ids[beyond] - products)
            low = np.where(move_up, middle + 1, low)
            high = np.where(move_up, high, np.minimum(high, middle))
        start = class_ids * n + np.repeat(low, CANDIDATES)
        first = np.searchsorted(keys, start)
        return (np.searchsorted(keys, start + window) - first).astype(np.int32)

    return work


def num_baseline_rows(scale: float) -> int:
    """Number of rows that the baseline counts."""
    return int(TEST * scale) // BASELINE_PART * CANDIDATES


def by_lookup(scale: float, training: bool = False) -> Callable[[], tuple[int, int]]:
    """The hash look-up of stage 04; returns the sums of products and of classes.

    training: look up the labelled images themselves, in four folds, without their own labels.
    """
    labelled, query = shape.make_catalogs(scale)
    reference = np.ones(len(labelled.label), bool)
    fold = np.full(len(labelled.label), -1, np.int8)
    if training:
        query, fold = labelled, (np.arange(len(fold)) % 4).astype(np.int8)
    images = np.arange(len(query.md5))
    query_fold = fold[query.image_product] if training else np.full(len(images), -1, np.int8)

    references = hash_lookup.ReferenceProducts(labelled, reference, fold)

    def lookup(rows: slice) -> hash_lookup.ImageLabelCounts:
        """Label counts of some images."""
        return hash_lookup.lookup_images(
            references, query, images[rows], query_fold[rows], HASH_K, training
        )

    lookup(slice(1))  # compile first

    def work() -> tuple[int, int]:
        counts = lookup(slice(None))
        return int(counts.total.sum(dtype=np.int64)), int(counts.distinct.sum(dtype=np.int64))

    return work


def by_duckdb(scale: float) -> Callable[[], tuple[int, int]]:
    """The baseline: the same counts, and the first class, by DuckDB."""
    labelled, query = shape.make_catalogs(scale)
    product = labelled.image_product
    labelled_images = {"p": product, "c": labelled.label[product]} | _halves(labelled.md5)
    connection = load_into_duckdb(
        {"labelled": pa.table(labelled_images), "query": pa.table(_halves(query.md5))}
    )

    def work() -> tuple[int, int]:
        connection.execute(
            "create table counts as"
            " select h, l, c, count(distinct p) n from labelled group by h, l, c"
        )
        connection.execute(
            "create table matches as"
            " select i, sum(n) total, count(*) classes, arg_max(c, n) first"
            " from query join counts using (h, l) group by i"
        )
        row = connection.execute("select sum(total), sum(classes) from matches").fetchone()
        assert row
        return int(row[0]), int(row[1])

    return work


def load_into_duckdb(tables: dict[str, pa.Table]) -> Any:
    """A DuckDB connection with the tables in memory; column `i` numbers their rows."""
    connection = report.require("duckdb", "duckdb").connect()
    connection.execute("set enable_progress_bar = false")
    for name, table in tables.items():
        connection.register("arrow", table)
        connection.execute(f"create table {name} as select row_number() over () i, * from arrow")
        connection.unregister("arrow")
    return connection


def _halves(md5: np.ndarray) -> dict[str, np.ndarray]:
    """The high and the low 64 bits of uint64 [N, 2] as columns `h` and `l`."""
    return {"h": md5[:, 0].copy(), "l": md5[:, 1].copy()}


def main() -> None:
    """Measure all ways, check that they agree and print the report."""
    parser = report.parser("bench.ranking", __doc__)
    parser.add_argument(
        "--scale", type=float, default=1.0, help="of the competition's size (%(default)s)"
    )
    arguments = parser.parse_args()
    report.require("duckdb", "duckdb")
    candidates = int(TEST * arguments.scale) * CANDIDATES
    num_queries = int(TEST_IMAGES * arguments.scale)
    labelled = int(IMAGES * arguments.scale)
    tasks: dict[str, tuple[Callable[[float], Callable[[], object]], int]] = {
        "prior, numpy (a tenth)": (by_searchsorted, num_baseline_rows(arguments.scale)),
        "prior, id index": (by_id_index, candidates),
        "hashes, DuckDB": (by_duckdb, num_queries),
        "hashes, lookup": (by_lookup, num_queries),
        "hashes, training rows": (partial(by_lookup, training=True), labelled),
    }
    calls: dict[str, Callable[[], Measurement]] = {
        name: partial(report.measure, task, arguments.scale) for name, (task, _) in tasks.items()
    }
    runs = report.run_in_turns(calls, arguments.runs)
    results = [repeats[0].result for repeats in runs.values()]
    if not np.array_equal(results[0], results[1]) or results[2] != results[3]:
        raise SystemExit("a baseline gives other numbers")
    table = [Row(name, count, "row", runs[name]) for name, (_, count) in tasks.items()]
    title = (
        f"{candidates:,} candidate rows, the {WINDOW:,} nearest of"
        f" {int(TRAIN * arguments.scale):,}; {num_queries:,} images among {labelled:,};"
        f" {shape.describe_ids()}"
    )
    ratios = {
        "prior_vs_numpy": report.ratio(table[0], table[1], "cpu")
        * candidates
        / num_baseline_rows(arguments.scale),
        "hash_vs_duckdb": report.ratio(table[2], table[3]),
        "hash_memory": HASH_MEMORY / max(table[3].peak, table[4].peak),
    }
    report.print_report("ranking", title, table, ratios, MIN_RATIOS, arguments.json)


if __name__ == "__main__":
    main()
