"""Stage 04 at the competition's size: priors of 21 million rows, hashes of 15.5 million pictures.

    python -m bench.ranking --json

1.77 million test products with 12 candidates each look at 7.07 million labelled ones, in 5,270
classes with a long tail and sellers' runs of ids. Baseline: the same counts by vectorised numpy,
two `searchsorted` on a combined key of class and place for each row (on a tenth of the products,
in a row, and scaled: it takes minutes otherwise).

3.1 million test pictures are looked up among 12.37 million, of which a third are copies: how many
products hold the picture, and of how many classes. Baseline: DuckDB with as many threads as cores
and its tables in memory, a GROUP BY and a join. Baselines must give the same numbers.

`bench/columns.py` has what networks say of the rows, `bench/stages.py` the whole of the stage.
"""

from collections.abc import Callable
from functools import partial

import duckdb
import numpy as np
import pyarrow as pa

from bench import report, shape
from bench.report import Measured, Row
from bench.shape import IMAGES, TEST, TEST_IMAGES, TRAIN
from lib.features import hash_lookup, id_priors

CANDIDATES, WINDOW = 12, 50_000
SHARE = 10  # the baseline takes every tenth part of the products
HASH_K = 5

HASH_MEMORY = 1500  # MB

BARS = {"prior_vs_numpy": 100.0, "hash_vs_duckdb": 2.0, "hash_memory": 1.0}


def rows(scale: float) -> tuple[np.ndarray, ...]:
    """ids and labels of the labelled products, ids and candidate classes of the others, by id."""
    labelled, query = shape.catalogues(scale)
    rng = np.random.default_rng(1)
    classes = labelled.label[rng.integers(0, len(labelled.label), (len(query.label), CANDIDATES))]
    return labelled.product_id, labelled.label, np.sort(query.product_id), classes


def swept(scale: float) -> Callable[[], np.ndarray]:
    """The counts as stage 04 makes them."""
    ids, label, queries, classes = rows(scale)
    order = id_priors.build_id_index(ids, label)
    asked = np.repeat(queries, CANDIDATES)
    window = id_priors.limit_window(WINDOW, len(ids))
    order.nearest_counts(asked[:1], classes.ravel()[:1], 1)  # compiled before the clock starts
    return lambda: order.nearest_counts(asked, classes.ravel(), window)[: part(scale)]


def searched(scale: float) -> Callable[[], np.ndarray]:
    """The baseline: two binary searches a row."""
    ids, label, queries, classes = rows(scale)
    by_id = np.argsort(ids)
    ids, label = ids[by_id], label[by_id]
    n, window = len(ids), id_priors.limit_window(WINDOW, len(ids))
    keys = np.sort(label.astype(np.int64) * n + np.arange(n))
    count = part(scale)
    products = queries[: count // CANDIDATES]
    asked = classes.ravel()[:count].astype(np.int64)

    def work() -> np.ndarray:
        low, high = np.zeros(len(products), np.int64), np.full(len(products), n - window)
        while (low < high).any():
            middle = (low + high) // 2
            beyond = np.minimum(middle + window, n - 1)
            further = (low < high) & (products - ids[middle] > ids[beyond] - products)
            low = np.where(further, middle + 1, low)
            high = np.where(further, high, np.minimum(high, middle))
        start = asked * n + np.repeat(low, CANDIDATES)
        first = np.searchsorted(keys, start)
        return (np.searchsorted(keys, start + window) - first).astype(np.int32)

    return work


def part(scale: float) -> int:
    """Rows that the baseline counts."""
    return int(TEST * scale) // SHARE * CANDIDATES


def looked_up(scale: float, training: bool = False) -> Callable[[], tuple[int, int]]:
    """What stage 04 knows of each picture; sums of products and of classes.

    training: of the labelled pictures themselves, in four folds, each less its own label.
    """
    labelled, query = shape.catalogues(scale)
    reference = np.ones(len(labelled.label), bool)
    fold = np.full(len(labelled.label), -1, np.int8)
    if training:
        query, fold = labelled, (np.arange(len(fold)) % 4).astype(np.int8)
    images = np.arange(len(query.md5))
    query_fold = fold[query.image_product] if training else np.full(len(images), -1, np.int8)

    references = hash_lookup.ReferenceProducts(labelled, reference, fold)

    def asked(some: slice) -> hash_lookup.ImageLabelCounts:
        return hash_lookup.lookup_images(
            references, query, images[some], query_fold[some], HASH_K, training
        )

    asked(slice(1))  # compiled before the clock starts

    def work() -> tuple[int, int]:
        known = asked(slice(None))
        return int(known.total.sum(dtype=np.int64)), int(known.distinct.sum(dtype=np.int64))

    return work


def grouped(scale: float) -> Callable[[], tuple[int, int]]:
    """The baseline: the same counts, and the first class, by DuckDB."""
    labelled, query = shape.catalogues(scale)
    held = labelled.image_product
    known = {"p": held, "c": labelled.label[held]} | _halves(labelled.md5)
    connection = connected({"known": pa.table(known), "asked": pa.table(_halves(query.md5))})

    def work() -> tuple[int, int]:
        connection.execute(
            "create table held as select h, l, c, count(distinct p) n from known group by h, l, c"
        )
        connection.execute(
            "create table found as select i, sum(n) total, count(*) classes, arg_max(c, n) first"
            " from asked join held using (h, l) group by i"
        )
        row = connection.execute("select sum(total), sum(classes) from found").fetchone()
        assert row
        return int(row[0]), int(row[1])

    return work


def connected(tables: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """A database in memory that holds the tables, their rows numbered `i`."""
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    for name, table in tables.items():
        connection.register("arrow", table)
        connection.execute(f"create table {name} as select row_number() over () i, * from arrow")
        connection.unregister("arrow")
    return connection


def _halves(md5: np.ndarray) -> dict[str, np.ndarray]:
    return {"h": md5[:, 0].copy(), "l": md5[:, 1].copy()}


def main() -> None:
    parser = report.parser("bench.ranking", __doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the competition's size")
    arguments = parser.parse_args()
    candidates = int(TEST * arguments.scale) * CANDIDATES
    asked = int(TEST_IMAGES * arguments.scale)
    labelled = int(IMAGES * arguments.scale)
    tasks: dict[str, tuple[Callable[[float], Callable[[], object]], int]] = {
        "prior, numpy (a tenth)": (searched, part(arguments.scale)),
        "prior, sweep": (swept, candidates),
        "hashes, DuckDB": (grouped, asked),
        "hashes, look_up": (looked_up, asked),
        "hashes of rows that train": (partial(looked_up, training=True), labelled),
    }
    calls: dict[str, Callable[[], Measured]] = {
        name: partial(report.measured, task, arguments.scale) for name, (task, _) in tasks.items()
    }
    runs = report.turns(calls, arguments.runs)
    results = [done[0].result for done in runs.values()]
    if not np.array_equal(results[0], results[1]) or results[2] != results[3]:
        raise SystemExit("a baseline gives other numbers")
    table = [Row(name, count, "row", runs[name]) for name, (_, count) in tasks.items()]
    drawn = "the real ids and classes" if shape.is_real() else "drawn ids and classes"
    report.show(
        f"{candidates:,} candidate rows, the {WINDOW:,} nearest of"
        f" {int(TRAIN * arguments.scale):,}; {asked:,} pictures among {labelled:,}; {drawn}",
        table,
    )
    ratios = {
        "prior_vs_numpy": report.ratio(table[0], table[1], "cpu")
        * candidates
        / part(arguments.scale),
        "hash_vs_duckdb": report.ratio(table[2], table[3]),
        "hash_memory": HASH_MEMORY / max(table[3].peak, table[4].peak),
    }
    report.finish("ranking", ratios, BARS, arguments.json)


if __name__ == "__main__":
    main()
