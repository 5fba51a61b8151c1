"""Compiled loop that scores rows with all trees of a forest."""

import numpy as np

from lib.utils.compiled import njit


@njit(cache=True, nogil=True)
def sum_of_trees(
    x: np.ndarray,
    starts: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    value: np.ndarray,
    out: np.ndarray,
) -> None:
    """Write into `out` float64 [R] the sum over the trees of the value of the leaf of each row.

    x: float32 [R, F]. starts: int64 [T], the root of each tree among all nodes [N].
    feature int32, threshold float64: of a node. left, right: int32, its children, counted from the
    root of its tree; -1 in a leaf. value: float64.
    """
    for row in range(len(x)):
        total = 0.0
        for root in starts:
            node = root
            while left[node] >= 0:
                goes_left = x[row, feature[node]] <= threshold[node]
                node = root + (left[node] if goes_left else right[node])
            total += value[node]
        out[row] = total
