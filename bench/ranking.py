"""Stage 04 at the competition's size: the priors of 21 million candidate rows.

    python -m bench.ranking --json

1.77 million test products with 12 candidates each look at 7.07 million labelled ones, in 5,270
classes with a long tail and sellers' runs of ids. Baseline: the same counts by vectorised numpy,
two `searchsorted` on a combined key of class and place for each row (on a tenth of the products,
in a row, and scaled: it takes minutes otherwise). Both must give the same numbers.
"""

from collections.abc import Callable

import numpy as np

from bench import report
from bench.report import Row
from lib.ranking import priors

TRAIN, TEST, CLASSES = 7_069_896, 1_768_182, 5_270
CANDIDATES, WINDOW = 12, 50_000
RUN = 40  # products of a seller's run, about
SHARE = 10  # the baseline takes every tenth part of the products

BARS = {"prior_vs_numpy": 100.0}


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


def main() -> None:
    parser = report.parser("bench.ranking", __doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the competition's size")
    arguments = parser.parse_args()
    rows = int(TEST * arguments.scale) * CANDIDATES
    tasks = {
        "numpy searchsorted, a tenth": (
            part(arguments.scale),
            lambda: report.measured(searched, arguments.scale),
        ),
        "sweep": (rows, lambda: report.measured(swept, arguments.scale)),
    }
    runs = report.turns({name: task for name, (_, task) in tasks.items()}, arguments.runs)
    first, second = (runs[name][0].result for name in tasks)
    if not np.array_equal(first, second):
        raise SystemExit("the sweep and searchsorted disagree")
    table = {name: Row(name, count, "row", runs[name]) for name, (count, _) in tasks.items()}
    title = f"{rows:,} candidate rows, the {WINDOW:,} nearest of {int(TRAIN * arguments.scale):,}"
    report.show(title, list(table.values()))
    baseline, ours = table.values()
    ratios = {"prior_vs_numpy": report.ratio(baseline, ours, "cpu") * rows / part(arguments.scale)}
    report.finish("ranking", ratios, BARS, arguments.json)


if __name__ == "__main__":
    main()
