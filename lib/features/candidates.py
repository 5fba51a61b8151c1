"""Candidate classes of each product: one row for each (product, class) that is worth ranking.

The candidates are the union, over a product's images, of each network's top classes, of the classes
of other products with the same image, of similar images, and of the products with the nearest ids.
A true class outside the union stays a miss: no row is added for it. The tables of recall measure
each source, and at which k another class per list costs more rows than it finds true classes.

The loops are compiled: a product has a few dozen listed classes, so that a lookup table by class
and a sort of a dozen numbers replace a sort of all keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.features.query import Query
from lib.utils.chunks import chunks
from lib.utils.compiled import njit

CHUNK = 100_000  # products at a time
NUM_FALLBACK = 5  # candidates of a product for which no source proposes a class


def unique_candidates(
    query: Query,
    image_classes: Sequence[np.ndarray],
    product_classes: Sequence[np.ndarray],
    fallback: np.ndarray,
    num_classes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The union of lists of classes: query_row int64 [R] and class_id int16 [R].

    image_classes: int16 [n, k] each, classes listed for every image; -1 for none.
    product_classes: int16 [Q, m] each, classes listed for every query row; -1 for none.
    fallback: int16 [Q, f], classes of the products for which nothing is listed.
    Rows are unique, sorted by query row, then by class.
    """
    size = np.zeros(len(query.products), np.int64)
    pieces = [np.empty(0, np.int16)]
    for query_rows in chunks(len(query.products), CHUNK):
        images = query.image_slice(query_rows)
        size[query_rows], class_id = _union(
            _side_by_side(image_classes, images),
            _side_by_side(product_classes, query_rows),
            query.image_start[query_rows] - images.start,
            query.image_count[query_rows],
            fallback[query_rows],
            num_classes,
        )
        pieces.append(class_id)
    return np.repeat(np.arange(len(size)), size), np.concatenate(pieces)


def cap_candidates(
    query: Query,
    image_classes: Sequence[np.ndarray],
    product_classes: Sequence[np.ndarray],
    query_row: np.ndarray,
    class_id: np.ndarray,
    max_candidates: int,
    num_classes: int,
) -> np.ndarray:
    """Which candidates to keep so that no product has more than `max_candidates`: bool [R].

    query_row, class_id: [R], as `unique_candidates` returns them for the same lists.

    Keeps the classes with the highest sum of 1 / rank over all lists, where a list of an image
    counts as 1 / number of images of the product. Of equal sums the smaller class is kept. No
    booster has scored the rows yet, and lists without probabilities count like the others.
    """
    bounds = np.searchsorted(query_row, np.arange(len(query.products) + 1))
    is_kept = np.zeros(len(query_row), bool)
    for query_rows in chunks(len(query.products), CHUNK):
        images = query.image_slice(query_rows)
        rows = slice(bounds[query_rows.start], bounds[query_rows.stop])
        _keep_best(
            _side_by_side(image_classes, images),
            _reciprocal_ranks(image_classes),
            _side_by_side(product_classes, query_rows),
            _reciprocal_ranks(product_classes),
            query.image_start[query_rows] - images.start,
            query.image_count[query_rows],
            bounds[query_rows.start : query_rows.stop + 1] - rows.start,
            class_id[rows],
            max_candidates,
            num_classes,
            is_kept[rows],
        )
    return is_kept


def most_frequent_classes(prior: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The most frequent classes outside each product's fold: int16 [Q, NUM_FALLBACK].

    prior: float32 [folds + 1, classes], as `id_priors.global_prior` returns it.
    fold: int8 [Q], -1 for none. The labels of a fold do not choose its own candidates.
    """
    best = np.argsort(-np.nan_to_num(prior), axis=1, kind="stable")[:, :NUM_FALLBACK]
    return best[fold].astype(np.int16)


@dataclass(frozen=True)
class Proposals:
    """Classes that each source proposes, best first, -1 for none; arrays by name of the source.

    by_image: int16 [n, k] arrays over the query's images, one for each network or hash key.
    by_product: int16 [Q, k] over the query rows.
    """

    by_image: dict[str, list[np.ndarray]]
    by_product: dict[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """The names of all sources."""
        return [*self.by_image, *self.by_product]

    def candidates(
        self, query: Query, fallback: np.ndarray, num_classes: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The union of all sources, as `unique_candidates` returns it."""
        return unique_candidates(query, *self._lists(), fallback, num_classes)

    def cap(
        self,
        query: Query,
        query_row: np.ndarray,
        class_id: np.ndarray,
        max_candidates: int,
        num_classes: int,
    ) -> np.ndarray:
        """Which of these candidates `cap_candidates` keeps: bool [R]."""
        lists = self._lists()
        return cap_candidates(query, *lists, query_row, class_id, max_candidates, num_classes)

    def select(self, name: str) -> "Proposals":
        """The lists of one source."""
        by_image = {key: lists for key, lists in self.by_image.items() if key == name}
        by_product = {key: classes for key, classes in self.by_product.items() if key == name}
        return Proposals(by_image, by_product)

    def head(self, k: int) -> "Proposals":
        """The first k classes of each list."""
        by_image = {
            key: [classes[:, :k] for classes in lists] for key, lists in self.by_image.items()
        }
        by_product = {key: classes[:, :k] for key, classes in self.by_product.items()}
        return Proposals(by_image, by_product)

    def replace_with(self, other: "Proposals") -> "Proposals":
        """These lists, with the sources of `other` added or replaced by its lists."""
        return Proposals(self.by_image | other.by_image, self.by_product | other.by_product)

    def recall(self, query: Query, label: np.ndarray, num_classes: int) -> tuple[float, float]:
        """Share of the labelled products whose class is proposed, and classes per product.

        label: int16 [Q], -1 for an unknown class, which does not count in the share.
        """
        hits, num_rows = self.hits(query, label, num_classes)
        return hits / max(int((label >= 0).sum()), 1), num_rows / max(len(label), 1)

    def hits(self, query: Query, label: np.ndarray, num_classes: int) -> tuple[int, int]:
        """The number of products whose class is proposed, and of proposed classes; label: [Q]."""
        no_fallback = np.empty((len(label), 0), np.int16)
        query_row, class_id = self.candidates(query, no_fallback, num_classes)
        return int((class_id == label[query_row]).sum()), len(query_row)

    def _lists(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        by_image = [classes for lists in self.by_image.values() for classes in lists]
        return by_image, list(self.by_product.values())


def hits_by_source(
    proposals: Proposals, query: Query, label: np.ndarray, num_classes: int
) -> dict[str, int]:
    """How many products have their class proposed by each source alone, and by any: "without_cap".

    label: int16 [Q], -1 for an unknown class.
    """
    parts = {name: proposals.select(name) for name in proposals.names}
    return {
        name: part.hits(query, label, num_classes)[0]
        for name, part in (parts | {"without_cap": proposals}).items()
    }


def recall_by_k(
    proposals: Proposals,
    used: Proposals,
    query: Query,
    label: np.ndarray,
    num_classes: int,
    max_k: int,
) -> list[dict[str, Any]]:
    """One row for each source of `proposals` and each k up to `max_k`: recall and rows per product.

    label: int16 [Q], -1 for an unknown class. Each row measures the first k classes of the source's
    lists, alone and together with the other sources as they are in `used`. Rows per product are
    those before a cap and without fallback classes.
    """
    table = []
    for name in proposals.names:
        for k in range(1, max_k + 1):
            head = proposals.select(name).head(k)
            recall_alone, rows_alone = head.recall(query, label, num_classes)
            recall, rows = used.replace_with(head).recall(query, label, num_classes)
            table.append(
                {
                    "source": name,
                    "k": k,
                    "recall_alone": recall_alone,
                    "rows_alone": rows_alone,
                    "recall": recall,
                    "rows_per_product": rows,
                }
            )
    return table


def _side_by_side(lists: Sequence[np.ndarray], rows: slice) -> np.ndarray:
    """The rows of all lists side by side: int16 [rows, sum of k]."""
    none = np.empty((rows.stop - rows.start, 0), np.int16)
    return np.concatenate([none, *(classes[rows] for classes in lists)], axis=1, dtype=np.int16)


def _reciprocal_ranks(lists: Sequence[np.ndarray]) -> np.ndarray:
    """1 / rank of each column of `_side_by_side`, the first rank being 1: float64 [sum of k]."""
    ranks = [1 / (1 + np.arange(classes.shape[1])) for classes in lists]
    return np.concatenate([np.empty(0), *ranks])


@njit(cache=True, nogil=True)
def _union(
    image_classes: np.ndarray,
    product_classes: np.ndarray,
    image_start: np.ndarray,
    image_count: np.ndarray,
    fallback: np.ndarray,
    num_classes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Number of distinct classes of each query row, int64 [Q], and the classes in order, int16."""
    size = np.zeros(len(image_count), np.int64)
    class_id = np.empty(image_classes.size + product_classes.size + fallback.size, np.int16)
    last_query_row = np.full(num_classes, -1, np.int64)  # the last one that got the class
    end = 0
    for query_row in range(len(image_count)):
        first = end
        for image in range(image_start[query_row], image_start[query_row] + image_count[query_row]):
            end = _append_new(image_classes[image], query_row, last_query_row, class_id, end)
        end = _append_new(product_classes[query_row], query_row, last_query_row, class_id, end)
        if end == first:
            end = _append_new(fallback[query_row], query_row, last_query_row, class_id, end)
        class_id[first:end].sort()
        size[query_row] = end - first
    return size, class_id[:end].copy()


@njit(cache=True, nogil=True)
def _append_new(
    classes: np.ndarray, query_row: int, last_query_row: np.ndarray, class_id: np.ndarray, end: int
) -> int:
    """Append the classes that the query row does not have yet; returns the new end."""
    for candidate in classes:
        if candidate >= 0 and last_query_row[candidate] != query_row:
            last_query_row[candidate] = query_row
            class_id[end] = candidate
            end += 1
    return end


@njit(cache=True, nogil=True)
def _keep_best(
    image_classes: np.ndarray,
    image_weight: np.ndarray,
    product_classes: np.ndarray,
    product_weight: np.ndarray,
    image_start: np.ndarray,
    image_count: np.ndarray,
    bounds: np.ndarray,
    class_id: np.ndarray,
    max_candidates: int,
    num_classes: int,
    is_kept: np.ndarray,
) -> None:
    """Set `is_kept` bool [R] for the best rows of each query row.

    image_classes: int16 [n, k]; image_weight: float64 [k], of each column.
    product_classes: int16 [Q, m]; product_weight: float64 [m], of each column.
    image_start, image_count: int64 [Q], rows of `image_classes` of each query row.
    bounds: int64 [Q + 1], candidate rows of each query row; class_id: int16 [R], of each row.
    """
    score = np.zeros(num_classes)
    for query_row in range(len(image_count)):
        first, last = bounds[query_row], bounds[query_row + 1]
        score[class_id[first:last]] = 0.0
        count = image_count[query_row]
        for image in range(image_start[query_row], image_start[query_row] + count):
            for column in range(len(image_weight)):
                if image_classes[image, column] >= 0:
                    score[image_classes[image, column]] += image_weight[column] / count
        for column in range(len(product_weight)):
            if product_classes[query_row, column] >= 0:
                score[product_classes[query_row, column]] += product_weight[column]
        for row in range(first, last):  # sums of thirds differ in the last bit
            score[class_id[row]] = np.rint(score[class_id[row]] * 1e9)
        for _ in range(min(max_candidates, last - first)):
            best = first
            for row in range(first, last):
                if score[class_id[row]] > score[class_id[best]]:
                    best = row
            is_kept[best] = True
            score[class_id[best]] = -1.0
