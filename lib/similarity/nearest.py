"""The k nearest images by cosine among millions of embeddings, through an index kept on disk.

Up to `EXACT` images the search is exact. Above, faiss finds candidates and their exact cosines,
read from the embeddings, rank them. The index divides the images into cells around the centroids of
a k-means (an inverted file) and keeps half a byte for every four dimensions (product quantization).
Sources: Jegou, Douze and Schmid, "Product quantization for nearest neighbor search" (2011); Andre,
Kermarrec and Le Scouarnec, "Quicker ADC" (2019); Douze et al., "The Faiss library" (2024).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from lib.similarity.topk_cosine import CPU, topk_cosine, unit_vectors
from lib.utils.chunks import chunks
from lib.utils.files import atomic_write

INDEX = "index.faiss"
EXACT = 200_000  # images up to which every pair is compared
SAMPLE = 200_000  # rows whose standard deviation stands for that of all
ROWS = 65_536  # added to the index at a time
QUERIES = 16_384  # searched at a time: enough that several queries read a cell together
RERANKED = 1024  # queries whose candidates are compared exactly at a time

# The work of a query: distances to 4 sqrt(n) centroids, then NUM_PROBES cells of sqrt(n) / 4 codes.
CELLS_PER_ROOT = 4
NUM_PROBES = 128
IMAGES_PER_CELL = 40  # of the sample that trains the centroids; faiss warns below 39
ITERATIONS = 6  # of the k-means; more find no more neighbors
MIN_CANDIDATES, CANDIDATES_PER_NEIGHBOR = 32, 2


class NearestImages:
    """A search for the nearest of `embeddings`: float [n, d], usually mapped from a file."""

    def __init__(
        self, embeddings: np.ndarray, scale: np.ndarray, threads: int, index: Any = None
    ) -> None:
        """index: a faiss index of all rows, or None to compare every pair."""
        self.embeddings, self.scale, self.threads, self.index = embeddings, scale, threads, index
        if index is not None:
            index.nprobe = min(NUM_PROBES, index.nlist)

    @classmethod
    def build(
        cls, folder: Path, embeddings: np.ndarray, scale: np.ndarray, threads: int
    ) -> "NearestImages":
        """Write the index of the embeddings into `folder`, if they need one; return the search.

        scale: float32 [d], of `scale_of`. The same file for the same number of threads.
        """
        if len(embeddings) <= EXACT:
            return cls(embeddings, scale, threads)
        import faiss

        with _num_threads(threads):
            index = _train(embeddings, scale)
            for rows in _with_progress(len(embeddings), ROWS, "Index of embeddings"):
                index.add(unit_vectors(embeddings, rows, scale))
        with atomic_write(folder / INDEX) as temporary:
            faiss.write_index(index, str(temporary))
        return cls(embeddings, scale, threads, index)

    @classmethod
    def load(
        cls, folder: Path, embeddings: np.ndarray, scale: np.ndarray, threads: int
    ) -> "NearestImages":
        """Open what `build` wrote for the same embeddings.

        Raises ValueError if the index is of other embeddings, RuntimeError if there is none.
        """
        if len(embeddings) <= EXACT:
            return cls(embeddings, scale, threads)
        import faiss

        index = faiss.read_index(str(folder / INDEX))
        if (index.ntotal, index.d) != embeddings.shape:
            raise ValueError(
                f"{folder / INDEX} has {index.ntotal} images of {index.d} numbers, "
                f"the embeddings have {len(embeddings)} of {embeddings.shape[1]}"
            )
        return cls(embeddings, scale, threads, index)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest images of each query: cosine float32 [q, k], falling, and row int64 [q, k].

        queries: float [q, d], not scaled. A query that is itself among the images finds itself.
        Cosines are exact; -inf and -1 beyond the last image that was found. An index misses some
        neighbors: docs/scale.md says how many.
        """
        cosine = np.full((len(queries), k), -np.inf, np.float32)
        row = np.full((len(queries), k), -1, np.int64)
        search = self._search_all if self.index is None else self._search_cells
        blocks = _with_progress(len(queries), QUERIES, "Nearest images")
        with _num_threads(self.threads, uses_faiss=self.index is not None):
            for block in blocks:
                search(queries[block], cosine[block], row[block])
        return cosine, row

    def _search_all(self, queries: np.ndarray, cosine: np.ndarray, row: np.ndarray) -> None:
        """Fill `cosine` and `row`, of one block, by comparing every pair."""
        cosine[:], row[:] = topk_cosine(
            queries,
            np.arange(len(queries)),
            self.embeddings,
            np.arange(len(self.embeddings)),
            cosine.shape[1],
            CPU,
            self.scale,
            self._units,
        )

    @cached_property
    def _units(self) -> np.ndarray:
        """The unit vectors of at most `EXACT` images: a loaded search needs them at every call."""
        return unit_vectors(self.embeddings, slice(None), self.scale)

    def _search_cells(self, queries: np.ndarray, cosine: np.ndarray, row: np.ndarray) -> None:
        """Fill `cosine` and `row`, of one block, with the best of the candidates."""
        k = cosine.shape[1]
        units = unit_vectors(queries, slice(None), self.scale)
        num_candidates = max(MIN_CANDIDATES, CANDIDATES_PER_NEIGHBOR * k)
        _, candidates = self.index.search(units, num_candidates)
        candidates.sort(axis=1)  # so that the earlier of equal images is first
        for block in chunks(len(units), RERANKED):
            exact = self._cosines(units[block], candidates[block])
            best = np.argsort(-exact, axis=1, kind="stable")[:, :k]
            cosine[block] = np.take_along_axis(exact, best, 1)
            row[block] = np.take_along_axis(candidates[block], best, 1)

    def _cosines(self, units: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Cosines of unit vectors float32 [q, d] and rows int64 [q, c]; -inf for row -1."""
        rows = np.maximum(candidates, 0).ravel()
        vectors = torch.from_numpy(self.embeddings[rows]).float().mul_(torch.from_numpy(self.scale))
        vectors = vectors.view(*candidates.shape, -1)
        length = torch.linalg.vector_norm(vectors, dim=2)
        cosine = torch.bmm(vectors, torch.from_numpy(units)[:, :, None])[:, :, 0]
        cosine /= length.where(length > 0, torch.ones(()))
        return np.where(candidates >= 0, cosine.numpy(), np.float32(-np.inf))


def scale_of(embeddings: np.ndarray) -> np.ndarray:
    """1 / standard deviation of each dimension, 0 where it is constant: float32 [d].

    embeddings: float [n, d]. More than `SAMPLE` rows are sampled, evenly spaced.
    """
    if len(embeddings) == 0:
        return np.zeros(embeddings.shape[1], np.float32)
    step = math.ceil(len(embeddings) / SAMPLE)
    deviation = embeddings[::step].astype(np.float32).std(axis=0, dtype=np.float64)
    varies = deviation > 0
    return np.divide(1, deviation, out=np.zeros_like(deviation), where=varies).astype(np.float32)


def _train(embeddings: np.ndarray, scale: np.ndarray) -> Any:
    """An empty faiss index, trained on evenly spaced rows."""
    import faiss

    num_images, dims = embeddings.shape
    num_cells = round(CELLS_PER_ROOT * math.sqrt(num_images))
    num_cells = max(1, min(num_cells, num_images // IMAGES_PER_CELL))
    size = next(size for size in (4, 2, 1) if dims % size == 0)  # dimensions of half a byte
    index: Any = faiss.index_factory(
        dims, f"IVF{num_cells},PQ{dims // size}x4fsr", faiss.METRIC_INNER_PRODUCT
    )
    index.cp.spherical = True
    index.cp.niter = ITERATIONS
    num_sampled = min(num_images, num_cells * IMAGES_PER_CELL)
    rows = np.linspace(0, num_images - 1, num_sampled).astype(np.int64)
    index.train(unit_vectors(embeddings, rows, scale))
    return index


def _with_progress(num_rows: int, size: int, title: str) -> Iterator[slice]:
    """`chunks`, with a bar of the images that are done."""
    with tqdm(total=num_rows, desc=title, unit=" images", disable=None) as bar:
        for rows in chunks(num_rows, size):
            yield rows
            bar.update(rows.stop - rows.start)


@contextmanager
def _num_threads(threads: int, uses_faiss: bool = True) -> Iterator[None]:
    """Let torch, and faiss where it is used, work with so many threads; restore them after."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        if uses_faiss:
            import faiss

            faiss.omp_set_num_threads(threads)
        yield
    finally:
        torch.set_num_threads(before)
