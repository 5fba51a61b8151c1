"""Rules that classify by the image hash alone, and by the networks where no hash helps.

The public write-ups report +0.32 for a rule by unanimous or L1 frequency and -0.09 for one by
majority: a placeholder that thousands of products hold outvotes every other image by its counts,
but not by its shares. The rules stand on the ladder for comparison; the boosters see all three
numbers.

Each rule takes the label counts of the query's images and returns a class for every product, which
is that of `fallback` where the rule has none. Of equal scores the smaller class wins.
"""

import numpy as np

from lib.features.hashes.hash_kernels import ImageLabelCounts
from lib.features.query import Query
from lib.utils.compiled import njit

TOLERANCE = 1e-9  # sums of shares that differ by less differ by rounding


def by_majority(query: Query, counts: ImageLabelCounts, fallback: np.ndarray) -> np.ndarray:
    """The class with the highest sum of holders over the product's images: int16 [Q].

    counts: of the query's images; fallback: int16 [Q].
    """
    return _highest_sum(query, counts, fallback, False)


def by_l1(query: Query, counts: ImageLabelCounts, fallback: np.ndarray) -> np.ndarray:
    """The class with the highest sum of the images' shares, each image having one vote: int16 [Q].

    counts: of the query's images; fallback: int16 [Q].
    """
    return _highest_sum(query, counts, fallback, True)


def by_unanimous(query: Query, counts: ImageLabelCounts, fallback: np.ndarray) -> np.ndarray:
    """The class of all holders of all images of a product, if it is the same: int16 [Q].

    counts: of the query's images; fallback: int16 [Q].
    """
    held = np.flatnonzero(counts.total > 0)
    query_row, class_id = query.query_row_of_image()[held], counts.classes[held, 0]
    lowest = np.full(len(query.products), np.iinfo(np.int16).max, np.int16)
    highest = np.full(len(query.products), -1, np.int16)
    np.minimum.at(lowest, query_row, class_id)
    np.maximum.at(highest, query_row, class_id)
    is_unanimous = lowest == highest
    is_unanimous[query_row[~counts.unanimous[held]]] = False
    return np.where(is_unanimous, highest, fallback).astype(np.int16)


def _highest_sum(
    query: Query, counts: ImageLabelCounts, fallback: np.ndarray, use_shares: bool
) -> np.ndarray:
    best = fallback.astype(np.int16)  # a copy
    num_classes = 1 + int(counts.table.classes.max(initial=-1))
    _fill_best(best, query.image_start, query.image_count, counts, num_classes, use_shares)
    return best


@njit(cache=True, nogil=True)
def _fill_best(
    best: np.ndarray,
    image_start: np.ndarray,
    image_count: np.ndarray,
    counts: ImageLabelCounts,
    num_classes: int,
    use_shares: bool,
) -> None:
    """Write the class with the highest sum of each product that has one.

    best: int16 [Q]; image_start, image_count: int64 [Q], images of each product; counts: of the
    images. All classes of an image are summed, not only the listed ones, so that sums are exact.
    """
    start, table_classes, table_counts = counts.table
    score = np.zeros(num_classes)
    touched = np.empty(num_classes, np.int64)
    for query_row in range(len(best)):
        num_touched = 0
        first_image = image_start[query_row]
        for image in range(first_image, first_image + image_count[query_row]):
            group = counts.group[image]
            for entry in range(start[group], start[group + 1]):
                class_id = table_classes[entry]
                count = table_counts[entry] - (class_id == counts.own_class[image])
                if count == 0:
                    continue
                if score[class_id] == 0:
                    touched[num_touched] = class_id
                    num_touched += 1
                score[class_id] += count / counts.total[image] if use_shares else count
        highest = 0.0
        for i in range(num_touched):
            highest = max(highest, score[touched[i]])
        smallest = num_classes
        for i in range(num_touched):
            class_id = touched[i]
            if score[class_id] >= highest - TOLERANCE:
                smallest = min(smallest, class_id)
            score[class_id] = 0
        if num_touched:
            best[query_row] = smallest
