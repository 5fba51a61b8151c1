"""The nearest images of every image, through an index, against faiss's exact search.

    python -m bench.nearest --runs 1 --json
    python -m bench.nearest --runs 1 --images 12000000

Generated embeddings have the spectrum of a PCA. Seven in ten are drawn around the centers of 4,000
overlapping clusters; the others are noisy copies of those, with cosines from 0.65 to 1. A sample of
the images searches its ten nearest others among all. The time of the join of all images is the
index's, plus that of the sample's search times images / sample. The baseline is an IndexFlatIP in
pieces, which 2,000 images of the sample search; only its search is timed, not the filling.
"""

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
from tqdm import tqdm

from bench import report
from bench.report import Measurement, Row
from lib.similarity.nearest import NearestImages, scale_of, unit_vectors
from lib.utils.chunks import chunks

DIMS, CLUSTERS, COPIES = 128, 4_000, 0.3
NOISE = 2.0  # distance of an image from the center of its cluster; two of a cluster have cosine 0.2
COPY_NOISE = 0.05, 1.15  # distance of a copy from its original, of the original's length
ROWS = 100_000  # generated at a time; a copy and its original are among the same
FLAT_ROWS = 1_000_000  # of the baseline at a time
K, THRESHOLD, COMPARED = 10, 0.7, 2_000

MIN_RATIOS = {
    "join_vs_flat": 10,
    "recall_at_1": 0.6,
    "recall_of_pairs": 0.9,
    "memory_vs_flat": 1,
}


def write_embeddings(path: Path, num_images: int) -> None:
    """Generate float16 [num_images, DIMS] and write them as .npy."""
    embeddings = np.lib.format.open_memmap(path, "w+", np.float16, (num_images, DIMS))
    centers = np.random.default_rng(0).standard_normal((CLUSTERS, DIMS), np.float32)
    spectrum = np.arange(1, DIMS + 1, dtype=np.float32) ** -0.5
    bar = tqdm(chunks(num_images, ROWS), desc="Embeddings", unit=" chunks", disable=None)
    for number, rows in enumerate(bar, 1):
        rng = np.random.default_rng(number)
        count = rows.stop - rows.start
        images = NOISE * rng.standard_normal((count, DIMS), np.float32)
        images += centers[rng.integers(0, CLUSTERS, count)]
        is_copy = rng.random(count) < COPIES
        is_copy[0] = False
        originals = rng.choice(np.flatnonzero(~is_copy), is_copy.sum())
        distance = rng.uniform(*COPY_NOISE, (len(originals), 1)).astype(np.float32)
        noise = rng.standard_normal((len(originals), DIMS), np.float32)
        images[is_copy] = images[originals] + distance * np.sqrt(1 + NOISE**2) * noise
        embeddings[rows] = images * spectrum
    embeddings.flush()


def sample(num_images: int, num_queries: int) -> np.ndarray:
    """The rows that search: int64 [num_queries], in random order."""
    return np.random.default_rng(0).choice(num_images, num_queries, replace=False)


def flat(path: Path, num_queries: int) -> Callable[[], tuple[float, float, np.ndarray, np.ndarray]]:
    """The baseline: returns the function that gives its seconds, CPU seconds and the neighbors."""
    embeddings = np.load(path, mmap_mode="r")
    rows = sample(len(embeddings), num_queries)[:COMPARED]
    scale = scale_of(embeddings)
    queries = unit_vectors(embeddings, rows, scale)
    faiss.omp_set_num_threads(report.cores())

    def work() -> tuple[float, float, np.ndarray, np.ndarray]:
        cosine, row = np.empty((len(rows), 0), np.float32), np.empty((len(rows), 0), np.int64)
        wall = cpu = 0.0
        for piece in chunks(len(embeddings), FLAT_ROWS):
            index = faiss.IndexFlatIP(DIMS)
            for part in chunks(piece.stop - piece.start, ROWS):
                part = slice(piece.start + part.start, piece.start + part.stop)
                index.add(unit_vectors(embeddings, part, scale))
            start = time.perf_counter(), time.process_time()
            values, places = index.search(queries, K + 1)
            wall, cpu = wall + time.perf_counter() - start[0], cpu + time.process_time() - start[1]
            cosines = np.concatenate([cosine, values], axis=1)
            rows_found = np.concatenate([row, places + piece.start], axis=1)
            best = np.argsort(-cosines, axis=1, kind="stable")[:, : K + 1]
            cosine = np.take_along_axis(cosines, best, 1)
            row = np.take_along_axis(rows_found, best, 1)
        return wall, cpu, cosine, row

    return work


def build(path: Path, folder: Path) -> Callable[[], None]:
    """Returns the function that builds the index."""
    embeddings = np.load(path, mmap_mode="r")

    def work() -> None:
        NearestImages.build(folder, embeddings, scale_of(embeddings), report.cores())

    return work


def search(
    path: Path, folder: Path, num_queries: int
) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Returns the function that searches the sample, and gives the first `COMPARED` results."""
    embeddings = np.load(path, mmap_mode="r")
    nearest = NearestImages.load(folder, embeddings, scale_of(embeddings), report.cores())
    rows = sample(len(embeddings), num_queries)
    nearest.search(embeddings[:9], K)  # compile first

    def work() -> tuple[np.ndarray, np.ndarray]:
        cosine, row = nearest.search(embeddings[rows], K + 1)
        return cosine[:COMPARED], row[:COMPARED]

    return work


def recalls(
    rows: np.ndarray, expected: tuple[np.ndarray, np.ndarray], found: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """Share of images whose nearest other was found, and of pairs above the threshold.

    rows: int64 [q], the images that searched; expected, found: cosine float32 [q, K + 1] and row
    int64 [q, K + 1] of the exact search and of the index.
    """
    is_other = expected[1] != rows[:, None]
    is_found = np.array([np.isin(*pair) for pair in zip(expected[1], found[1], strict=True)])
    first = is_other.argmax(axis=1)
    is_pair = is_other & (expected[0] > THRESHOLD)
    return is_found[np.arange(len(rows)), first].mean(), is_found[is_pair].mean()


def main() -> None:
    """Measure, and print the report."""
    parser = report.parser("bench.nearest", __doc__)
    parser.add_argument("--images", type=int, default=1_000_000, help="images (%(default)s)")
    parser.add_argument("--queries", type=int, default=100_000, help="that search (%(default)s)")
    arguments = parser.parse_args()
    num_images, num_queries = arguments.images, min(arguments.queries, arguments.images)
    runs = _measure_all(num_images, num_queries, arguments.runs)
    table, join, flat_join = _rows(runs, num_images, num_queries)
    recall_at_1, recall_of_pairs = recalls(
        sample(num_images, num_queries)[:COMPARED],
        runs["exact, faiss"][0].result[2:],
        runs["search"][0].result,
    )
    ratios = {
        "join_vs_flat": report.ratio(flat_join, join),
        "recall_at_1": recall_at_1,
        "recall_of_pairs": recall_of_pairs,
        "memory_vs_flat": num_images * DIMS * 4 / 2**20 / join.peak,
    }
    title = f"{num_queries:,} of {num_images:,} images search, {DIMS} numbers each"
    report.print_report("nearest", title, table, ratios, MIN_RATIOS, arguments.json)


def _measure_all(num_images: int, num_queries: int, num_runs: int) -> dict[str, list[Measurement]]:
    """The runs of the baseline, of building the index, and of searching in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "embeddings.npy"
        write_embeddings(path, num_images)
        return report.run_in_turns(
            {
                "exact, faiss": lambda: report.measure(flat, path, num_queries),
                "index": lambda: report.measure(build, path, folder),
                "search": lambda: report.measure(search, path, folder, num_queries),
            },
            num_runs,
        )


def _rows(
    runs: dict[str, list[Measurement]], num_images: int, num_queries: int
) -> tuple[list[Row], Row, Row]:
    """The table, and the joins of all images: through the index, and by the baseline."""
    num_compared = min(COMPARED, num_queries)
    exact = [replace(run, wall=run.result[0], cpu=run.result[1]) for run in runs["exact, faiss"]]
    joins = [
        replace(
            building,
            wall=building.wall + searching.wall * num_images / num_queries,
            cpu=building.cpu + searching.cpu * num_images / num_queries,
            peak=max(building.peak, searching.peak),
        )
        for building, searching in zip(runs["index"], runs["search"], strict=True)
    ]
    flat_joins = [replace(run, wall=run.wall * num_images / num_compared) for run in exact]
    join = Row("join of all", num_images, "image", joins)
    table = [
        Row("exact, faiss", num_compared, "image", exact),
        Row("index", num_images, "image", runs["index"]),
        Row("search", num_queries, "image", runs["search"]),
        join,
    ]
    return table, join, Row("exact join", num_images, "image", flat_joins)


if __name__ == "__main__":
    main()
