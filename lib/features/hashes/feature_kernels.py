"""Compiled loop that fills the hash features of candidate rows."""

import numpy as np

from lib.features.hashes.hash_kernels import ImageLabelCounts, find_class
from lib.features.network import POSITIONS
from lib.utils.compiled import njit


@njit(cache=True, nogil=True)
def fill_columns(
    columns: np.ndarray,
    query_row: np.ndarray,
    class_id: np.ndarray,
    image_start: np.ndarray,
    image_count: np.ndarray,
    counts: ImageLabelCounts,
) -> None:
    """Fill the columns of rows that have an image.

    columns: float32 [F, R], all NaN; query_row: int64 [R]; class_id: int16 [R].
    image_start, image_count: int64 [Q], images of each query row; counts: of the images.
    """
    table_start, table_classes, table_counts = counts.table
    group, own_class, _, total, distinct, entropy, placeholder, _ = counts
    for row in range(len(query_row)):
        first = image_start[query_row[row]]
        last = first + image_count[query_row[row]]
        if first == last:
            continue
        count_sum = share_sum = num_held = total_sum = max_classes = nats = unanimous = 0.0
        num_clear = clear_share_sum = 0.0
        for image in range(first, last):
            first_entry, end = table_start[group[image]], table_start[group[image] + 1]
            entry = find_class(table_classes, first_entry, end, class_id[row])
            count = table_counts[entry] - (own_class[image] == class_id[row]) if entry >= 0 else 0
            share = _ratio(count, total[image])
            if image < first + POSITIONS:
                columns[2 * (image - first), row] = count
                columns[2 * (image - first) + 1, row] = share
            if total[image] == 0:
                continue
            count_sum += count
            share_sum += share
            num_held += 1
            total_sum += total[image]
            max_classes = max(max_classes, distinct[image])
            nats += entropy[image]
            unanimous += distinct[image] == 1 and count > 0
            if not placeholder[image]:
                num_clear += 1
                clear_share_sum += share
        mean = _ratio(share_sum, num_held)
        sums = (
            count_sum,
            mean * num_held,  # NaN if no image has holders
            num_held,
            total_sum,
            max_classes,
            _ratio(nats, num_held),
            unanimous,
            mean,
            num_held - num_clear,
            _ratio(clear_share_sum, num_clear),
        )
        for number in range(len(sums)):
            columns[2 * POSITIONS + number, row] = sums[number]


@njit(cache=True, nogil=True)
def _ratio(count: float, total: float) -> float:
    return count / total if total > 0 else np.nan
