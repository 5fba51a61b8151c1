"""How many products of each class hold a picture, or hold it and are not of one fold."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Holdings:
    """How often each group (a picture, or a picture less one fold) has each class.

    keys int64 [E]: group * class_count + class, ascending; counts int32 [E] products.
    start int64 [G + 1]: first entry of each group.
    ranked int64 [E]: entries by group, then falling count, then class.
    crowded bool [G]: a crowd holds the picture, the fold that is left out included.
    """

    keys: np.ndarray
    counts: np.ndarray
    start: np.ndarray
    ranked: np.ndarray
    crowded: np.ndarray
    class_count: int


def fold_group(crowd: np.ndarray, picture: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Group of a crowded picture less one fold; groups below len(crowd) are whole pictures."""
    position = np.cumsum(crowd) - 1
    return len(crowd) + fold.astype(np.int64) * crowd.sum() + position[picture]


def tabulate(
    picture: np.ndarray,
    label: np.ndarray,
    fold: np.ndarray,
    query_fold: np.ndarray,
    crowded: np.ndarray,
    crowd: np.ndarray,
    class_count: int,
) -> Holdings:
    """Count the holders of each class.

    picture int64, label int16 and fold int8 [m]: one row for each product that holds a picture.
    query_fold int8: the folds that are asked for. crowd bool [pictures]: which pictures are also
    counted less each of these folds; crowded bool [pictures]: `Holdings.crowded`.
    """
    folds = 1 + int(query_fold.max(initial=-1))
    keys = [picture * class_count + label]
    for left_out in range(folds):
        stays = crowd[picture] & (fold != left_out)
        group = fold_group(crowd, picture[stays], np.full(int(stays.sum()), left_out))
        keys.append(group * class_count + label[stays])
    sorted_keys = np.concatenate(keys)
    del keys
    sorted_keys.sort()
    first = np.flatnonzero(np.diff(sorted_keys, prepend=-1))
    counts = np.diff(first, append=len(sorted_keys)).astype(np.int32)
    distinct_keys = sorted_keys[first]
    group = distinct_keys // class_count
    sizes = np.bincount(group, minlength=len(crowd) + folds * int(crowd.sum()))
    # Classes ascend in a group already; only where there are several can counts disagree.
    ranked = np.arange(len(group))
    several = np.flatnonzero(sizes[group] > 1)
    ranked[several] = several[np.lexsort((-counts[several], group[several]))]
    return Holdings(
        keys=distinct_keys,
        counts=counts,
        start=np.concatenate([[0], np.cumsum(sizes)]),
        ranked=ranked,
        crowded=np.concatenate([crowded, np.tile(crowded[crowd], folds)]),
        class_count=class_count,
    )
