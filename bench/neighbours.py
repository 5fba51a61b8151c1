"""Exact k-NN search and class scores on embeddings, against faiss and numpy.

    python -m bench.neighbours --json

20,000 images search their five nearest among 200,000, each with 128 numbers. Baseline: faiss's
exact index (IndexFlatIP), which must find the same images. Then the k-NN score (8th-place Cdiscount
team) of 12 candidate classes for each image, in 1,000 classes with a long tail. Baseline: numpy, a
matrix product and a partial sort for each class, which must give the same scores.
"""

import argparse
from collections.abc import Callable
from functools import partial

import faiss
import numpy as np
import torch

from bench import report
from bench.report import Measurement, Row
from lib.features import knn

DIMS, CLASSES, CANDIDATES, K = 128, 1_000, 12, 5
NOISE = 2.0  # distance of an image from the center of its class

MIN_RATIOS = {"nearest_vs_faiss": 0.8, "class_scores_vs_numpy": 1.0}


def make_embeddings(num_references: int, num_queries: int) -> tuple[np.ndarray, ...]:
    """References float32 [R, DIMS], their classes int16 [R]; queries float32 [Q, DIMS], their
    candidate classes int16 [Q, CANDIDATES]."""
    rng = np.random.default_rng(1)
    centers = rng.normal(size=(CLASSES, DIMS))
    sizes = 1 / np.arange(1, CLASSES + 1)
    reference_label, query_label = (
        rng.choice(CLASSES, n, p=sizes / sizes.sum()).astype(np.int16)
        for n in (num_references, num_queries)
    )
    references, queries = (
        (centers[label] + NOISE * rng.normal(size=(len(label), DIMS))).astype(np.float32)
        for label in (reference_label, query_label)
    )
    candidates = rng.choice(CLASSES, (num_queries, CANDIDATES), p=sizes / sizes.sum()).astype(
        np.int16
    )
    return references, reference_label, queries, candidates


def knn_by_torch(num_references: int, num_queries: int) -> Callable[[], int]:
    """The k-NN search of stage 04; returns the sum of the neighbours' classes."""
    references, label, queries, _ = make_embeddings(num_references, num_queries)
    torch.set_num_threads(report.cores())
    rows = np.arange(num_references)
    knn.knn_classes(references, rows[:9], label, queries[:9], K)  # compile first
    return lambda: int(knn.knn_classes(references, rows, label, queries, K)[0].sum(dtype=np.int64))


def knn_by_faiss(num_references: int, num_queries: int) -> Callable[[], int]:
    """The baseline: faiss's exact index."""
    references, label, queries, _ = make_embeddings(num_references, num_queries)
    faiss.omp_set_num_threads(report.cores())

    def work() -> int:
        index = faiss.IndexFlatIP(DIMS)
        index.add(references / np.linalg.norm(references, axis=1, keepdims=True))
        _, neighbors = index.search(queries / np.linalg.norm(queries, axis=1, keepdims=True), K)
        return int(label[neighbors].sum(dtype=np.int64))

    return work


def scores_by_torch(num_references: int, num_queries: int) -> Callable[[], float]:
    """The class scores of stage 04; returns their sum."""
    references, label, queries, candidates = make_embeddings(num_references, num_queries)
    torch.set_num_threads(report.cores())
    image = np.repeat(np.arange(num_queries), CANDIDATES)
    knn.knn_classes(references, image[:9], label, queries[:9], K)  # compile first

    def work() -> float:
        score, _ = knn.class_knn_scores(
            references, np.arange(num_references), label, queries, image, candidates.ravel()
        )
        return round(float(score.sum(dtype=np.float64)), 3)

    return work


def scores_by_numpy(num_references: int, num_queries: int) -> Callable[[], float]:
    """The baseline: a matrix product and a partial sort for each class."""
    references, label, queries, candidates = make_embeddings(num_references, num_queries)

    def work() -> float:
        reference = references / np.linalg.norm(references, axis=1, keepdims=True)
        query = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        total = 0.0
        for class_id in range(CLASSES):
            rows, _ = np.nonzero(candidates == class_id)
            cosine = query[rows] @ reference[label == class_id].T
            best = -np.partition(-cosine, min(4, cosine.shape[1] - 1), axis=1)[:, :5]
            total += float((((1 + best.astype(np.float64)) / 2) ** 35).sum())
        return round(total, 3)

    return work


def main() -> None:
    """Measure, and print the report."""
    parser = report.parser("bench.neighbours", __doc__)
    parser.add_argument(
        "--num-references", type=int, default=200_000, help="labelled images (%(default)s)"
    )
    parser.add_argument(
        "--num-queries", type=int, default=20_000, help="other images (%(default)s)"
    )
    arguments = parser.parse_args()
    table = _measure_all(arguments)
    title = (
        f"{arguments.num_queries:,} images among {arguments.num_references:,}, {DIMS} numbers each"
    )
    ratios = {
        "nearest_vs_faiss": report.ratio(table[0], table[1]),
        "class_scores_vs_numpy": report.ratio(table[2], table[3]),
    }
    report.print_report("neighbours", title, table, ratios, MIN_RATIOS, arguments.json)


def _measure_all(arguments: argparse.Namespace) -> list[Row]:
    """Measure all ways and check that they agree; a row for each."""
    sizes = (arguments.num_references, arguments.num_queries)
    tasks: dict[str, Callable[..., Callable[[], object]]] = {
        "5 nearest, faiss": knn_by_faiss,
        "5 nearest, torch": knn_by_torch,
        "class scores, numpy": scores_by_numpy,
        "class scores, torch": scores_by_torch,
    }
    calls: dict[str, Callable[[], Measurement]] = {
        name: partial(report.measure, task, *sizes) for name, task in tasks.items()
    }
    runs = report.run_in_turns(calls, arguments.runs)
    by_faiss, by_torch, numpy_score, torch_score = (r[0].result for r in runs.values())
    if by_faiss != by_torch or not np.isclose(numpy_score, torch_score, rtol=1e-4):
        raise SystemExit("a baseline gives other numbers")
    return [Row(name, arguments.num_queries, "image", runs[name]) for name in tasks]


if __name__ == "__main__":
    main()
