"""Cosine search over embeddings: all pictures, and the pictures of one class (T3).

    python -m bench.neighbours --json

20,000 pictures look for their five closest among 200,000, each 128 numbers. Baseline: faiss's exact
index (IndexFlatIP), which must name the same pictures. Then T3's score of 12 candidate classes for
each of them, in 1,000 classes with a long tail. Baseline: numpy, a matrix product and a partial
sort for each class, which must give the same scores.
"""

import argparse
from collections.abc import Callable
from functools import partial

import faiss
import numpy as np
import torch

from bench import report
from bench.report import Measured, Row
from lib.features import knn

DIMS, CLASSES, CANDIDATES, K = 128, 1_000, 12, 5
NOISE = 2.0  # how far a picture lies from the middle of its class

BARS = {"nearest_vs_faiss": 0.8, "class_scores_vs_numpy": 1.0}


def pictures(known: int, asked: int) -> tuple[np.ndarray, ...]:
    """Embeddings and classes of labelled pictures, embeddings and candidates of the others."""
    rng = np.random.default_rng(1)
    middle = rng.normal(size=(CLASSES, DIMS))
    sizes = 1 / np.arange(1, CLASSES + 1)
    label, of_asked = (
        rng.choice(CLASSES, n, p=sizes / sizes.sum()).astype(np.int16) for n in (known, asked)
    )
    seen, shown = (
        (middle[of] + NOISE * rng.normal(size=(len(of), DIMS))).astype(np.float32)
        for of in (label, of_asked)
    )
    cls = rng.choice(CLASSES, (asked, CANDIDATES), p=sizes / sizes.sum()).astype(np.int16)
    return seen, label, shown, cls


def by_torch(known: int, asked: int) -> Callable[[], int]:
    seen, label, shown, _ = pictures(known, asked)
    torch.set_num_threads(report.cores())
    rows = np.arange(known)
    knn.knn_classes(seen, rows[:9], label, shown[:9], K)  # compiled before the clock starts
    return lambda: int(knn.knn_classes(seen, rows, label, shown, K)[0].sum(dtype=np.int64))


def by_faiss(known: int, asked: int) -> Callable[[], int]:
    seen, label, shown, _ = pictures(known, asked)
    faiss.omp_set_num_threads(report.cores())

    def work() -> int:
        index = faiss.IndexFlatIP(DIMS)
        index.add(seen / np.linalg.norm(seen, axis=1, keepdims=True))
        _, places = index.search(shown / np.linalg.norm(shown, axis=1, keepdims=True), K)
        return int(label[places].sum(dtype=np.int64))

    return work


def scored(known: int, asked: int) -> Callable[[], float]:
    seen, label, shown, cls = pictures(known, asked)
    torch.set_num_threads(report.cores())
    image = np.repeat(np.arange(asked), CANDIDATES)
    knn.knn_classes(seen, image[:9], label, shown[:9], K)  # compiled before the clock starts

    def work() -> float:
        score, _ = knn.class_knn_scores(seen, np.arange(known), label, shown, image, cls.ravel())
        return round(float(score.sum(dtype=np.float64)), 3)

    return work


def by_numpy(known: int, asked: int) -> Callable[[], float]:
    seen, label, shown, cls = pictures(known, asked)

    def work() -> float:
        unit = seen / np.linalg.norm(seen, axis=1, keepdims=True)
        query = shown / np.linalg.norm(shown, axis=1, keepdims=True)
        total = 0.0
        for one in range(CLASSES):
            rows, _ = np.nonzero(cls == one)
            cosine = query[rows] @ unit[label == one].T
            five = -np.partition(-cosine, min(4, cosine.shape[1] - 1), axis=1)[:, :5]
            total += float((((1 + five.astype(np.float64)) / 2) ** 35).sum())
        return round(total, 3)

    return work


def main() -> None:
    parser = report.parser("bench.neighbours", __doc__)
    parser.add_argument(
        "--known", type=int, default=200_000, help="labelled pictures (%(default)s)"
    )
    parser.add_argument("--asked", type=int, default=20_000, help="others (%(default)s)")
    arguments = parser.parse_args()
    table = _measured(arguments)
    title = f"{arguments.asked:,} pictures among {arguments.known:,}, {DIMS} numbers each"
    report.show(title, table)
    ratios = {
        "nearest_vs_faiss": report.ratio(table[0], table[1]),
        "class_scores_vs_numpy": report.ratio(table[2], table[3]),
    }
    report.finish("neighbours", ratios, BARS, arguments.json)


def _measured(arguments: argparse.Namespace) -> list[Row]:
    of = (arguments.known, arguments.asked)
    tasks: dict[str, Callable[..., Callable[[], object]]] = {
        "five closest, faiss": by_faiss,
        "five closest, torch": by_torch,
        "scores of classes, numpy": by_numpy,
        "scores of classes, torch": scored,
    }
    calls: dict[str, Callable[[], Measured]] = {
        name: partial(report.measured, task, *of) for name, task in tasks.items()
    }
    runs = report.turns(calls, arguments.runs)
    faiss_found, torch_found, numpy_score, torch_score = (r[0].result for r in runs.values())
    if faiss_found != torch_found or not np.isclose(numpy_score, torch_score, rtol=1e-4):
        raise SystemExit("a baseline gives other numbers")
    return [Row(name, arguments.asked, "picture", runs[name]) for name in tasks]


if __name__ == "__main__":
    main()
