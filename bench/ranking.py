"""Stage 04 at the competition's size: priors of 21 million rows, hashes of 15.5 million pictures.

    python -m bench.ranking --json

1.77 million test products with 12 candidates each look at 7.07 million labelled ones, in 5,270
classes with a long tail and sellers' runs of ids. Baseline: the same counts by vectorised numpy,
two `searchsorted` on a combined key of class and place for each row (on a tenth of the products,
in a row, and scaled: it takes minutes otherwise).

3.1 million test pictures are looked up among 12.37 million, of which a third are copies: how many
products hold the picture, and of how many classes. Baseline: DuckDB with as many threads as cores
and its tables in memory, a GROUP BY and a join. Baselines must give the same numbers.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from bench import report
from bench.report import Row
from lib.catalogue.tables import Catalogue
from lib.ranking import hashes, priors

TRAIN, TEST, CLASSES = 7_069_896, 1_768_182, 5_270
CANDIDATES, WINDOW = 12, 50_000
RUN = 40  # products of a seller's run, about
SHARE = 10  # the baseline takes every tenth part of the products

IMAGES, DISTINCT, TEST_IMAGES = 12_371_293, 7_772_910, 3_095_080
SHARED = 0.4  # of the test pictures are one of train
HASH_K = 5

BARS = {"prior_vs_numpy": 100.0, "hash_vs_duckdb": 2.0}


def catalogue(scale: float) -> tuple[np.ndarray, ...]:
    """ids and labels of the labelled products, ids and candidate classes of the others."""
    rng = np.random.default_rng(1)
    train, test = int(TRAIN * scale), int(TEST * scale)
    ids = np.cumsum(rng.integers(1, 5, train + test))
    sizes = np.arange(1, CLASSES + 1) ** -1.0
    runs = rng.choice(CLASSES, (train + test) // RUN + 1, p=sizes / sizes.sum())
    strays = rng.choice(CLASSES, train + test, p=sizes / sizes.sum())
    label = np.where(rng.random(train + test) < 0.5, strays, np.repeat(runs, RUN)[: train + test])
    asked = np.zeros(train + test, bool)
    asked[rng.choice(train + test, test, replace=False)] = True
    classes = rng.choice(CLASSES, (test, CANDIDATES), p=sizes / sizes.sum()).astype(np.int16)
    return ids[~asked], label[~asked].astype(np.int16), ids[asked], classes


def swept(scale: float) -> Callable[[], np.ndarray]:
    """The counts as stage 04 makes them."""
    ids, label, queries, classes = catalogue(scale)
    order = priors.in_order(ids, label)
    rows = np.repeat(queries, CANDIDATES)
    window = priors.capped(WINDOW, len(ids))
    order.nearest_counts(rows[:1], classes.ravel()[:1], 1)  # compiled before the clock starts
    return lambda: order.nearest_counts(rows, classes.ravel(), window)[: part(scale)]


def searched(scale: float) -> Callable[[], np.ndarray]:
    """The baseline: two binary searches a row."""
    ids, label, queries, classes = catalogue(scale)
    n, window = len(ids), priors.capped(WINDOW, len(ids))
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


def pictures(scale: float) -> tuple[Catalogue, Catalogue]:
    """The labelled catalogue and the other, with the MD5s of their pictures and nothing else."""
    rng = np.random.default_rng(2)
    images, distinct, asked = (int(n * scale) for n in (IMAGES, DISTINCT, TEST_IMAGES))
    # Few pictures are copied very often: those of no picture, say.
    copies = (distinct * rng.random(images - distinct) ** 4).astype(np.int64)
    shown = rng.permutation(np.concatenate([np.arange(distinct), copies]))
    known = rng.choice(shown, int(SHARED * asked))
    new = np.arange(distinct, distinct + asked - len(known))
    md5 = rng.integers(0, 2**64, (distinct + len(new), 2), np.uint64)
    label = rng.integers(0, CLASSES, int(TRAIN * scale)).astype(np.int16)
    nothing = np.full(int(TEST * scale), -1, np.int16)
    return _catalogue(label, md5[shown], rng), _catalogue(
        nothing, md5[rng.permutation(np.concatenate([known, new]))], rng
    )


def _catalogue(label: np.ndarray, md5: np.ndarray, rng: np.random.Generator) -> Catalogue:
    products, none = len(label), np.empty(0, np.int64)
    more = rng.integers(0, products, len(md5) - products)
    product = np.sort(np.concatenate([np.arange(products), more])).astype(np.int32)
    count = np.bincount(product).astype(np.int16)
    return Catalogue(Path(), none, label, none, count, product, none, none, none, md5)


def looked_up(scale: float) -> Callable[[], tuple[int, int]]:
    """What stage 04 knows of each picture; sums of products and of classes."""
    labelled, query = pictures(scale)
    nothing = np.full(len(labelled.label), -1, np.int8)
    images = np.arange(len(query.md5))
    hashes.picture_ids(query.md5[:1])  # compiled before the clock starts

    def work() -> tuple[int, int]:
        known = hashes.look_up(
            labelled,
            reference=np.ones(len(labelled.label), bool),
            reference_fold=nothing,
            query=query,
            images=images,
            query_fold=np.full(len(images), -1, np.int8),
            same=False,
            hash_k=HASH_K,
            class_count=CLASSES,
        )
        return int(known.total.sum(dtype=np.int64)), int(known.distinct.sum(dtype=np.int64))

    return work


def grouped(scale: float) -> Callable[[], tuple[int, int]]:
    """The baseline: the same counts, and the first class, by DuckDB."""
    labelled, query = pictures(scale)
    held = labelled.image_product
    known = {"p": held, "c": labelled.label[held]} | _halves(labelled.md5)
    tables = {"known": pa.table(known), "asked": pa.table(_halves(query.md5))}
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    for name, table in tables.items():
        connection.register("arrow", table)
        connection.execute(f"create table {name} as select row_number() over () i, * from arrow")
        connection.unregister("arrow")

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


def _halves(md5: np.ndarray) -> dict[str, np.ndarray]:
    return {"h": md5[:, 0].copy(), "l": md5[:, 1].copy()}


def main() -> None:
    parser = report.parser("bench.ranking", __doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the competition's size")
    arguments = parser.parse_args()
    rows = int(TEST * arguments.scale) * CANDIDATES
    asked = int(TEST_IMAGES * arguments.scale)
    tasks = {
        "prior, numpy (a tenth)": (searched, part(arguments.scale)),
        "prior, sweep": (swept, rows),
        "hashes, DuckDB": (grouped, asked),
        "hashes, look_up": (looked_up, asked),
    }
    calls = {
        name: partial(report.measured, task, arguments.scale) for name, (task, _) in tasks.items()
    }
    runs = report.turns(calls, arguments.runs)
    results = [done[0].result for done in runs.values()]
    if not np.array_equal(results[0], results[1]) or results[2] != results[3]:
        raise SystemExit("a baseline gives other numbers")
    table = [Row(name, count, "row", runs[name]) for name, (_, count) in tasks.items()]
    title = f"{rows:,} candidate rows, the {WINDOW:,} nearest of {int(TRAIN * arguments.scale):,}"
    report.show(f"{title}; {asked:,} pictures among {int(IMAGES * arguments.scale):,}", table)
    prior = report.ratio(table[0], table[1], "cpu") * rows / part(arguments.scale)
    ratios = {"prior_vs_numpy": prior, "hash_vs_duckdb": report.ratio(table[2], table[3])}
    report.finish("ranking", ratios, BARS, arguments.json)


if __name__ == "__main__":
    main()
