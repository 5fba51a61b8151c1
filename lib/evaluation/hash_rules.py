"""Rules that classify by the hash alone where it speaks, and by the networks elsewhere (T6).

The public write-ups found +0.32 for a rule by unanimous or L1 frequency and -0.09 for one by
majority: a placeholder that thousands hold outvotes every other picture by its counts, not by its
shares. The rules stand on the ladder for comparison; the boosters see all three numbers.

Each takes what the labelled products say of the queried pictures, and for every product the class
int16 [Q] that stands where the rule is silent; and returns a class int16 [Q] for every product.
Equal scores: the smaller class.
"""

import numpy as np
from numba import njit

from lib.features.candidates import Query
from lib.features.hash_lookup import ImageLabelCounts

EQUAL = 1e-9  # sums of shares that are nearer than this differ by rounding


def by_majority(query: Query, known: ImageLabelCounts, fallback: np.ndarray) -> np.ndarray:
    """The class that most products have, added up over the product's pictures."""
    return _best(query, known, fallback, False)


def by_l1(query: Query, known: ImageLabelCounts, fallback: np.ndarray) -> np.ndarray:
    """The class with the largest sum of the pictures' shares: each known picture has one vote."""
    return _best(query, known, fallback, True)


def by_unanimous(query: Query, known: ImageLabelCounts, fallback: np.ndarray) -> np.ndarray:
    """The one class of all holders of all known pictures; silent where they disagree."""
    seen = np.flatnonzero(known.total > 0)
    slot, cls = query.slot_of_image()[seen], known.classes[seen, 0]
    least = np.full(len(query.products), np.iinfo(np.int16).max, np.int16)
    most = np.full(len(query.products), -1, np.int16)
    np.minimum.at(least, slot, cls)
    np.maximum.at(most, slot, cls)
    agreed = least == most
    agreed[slot[~known.unanimous[seen]]] = False
    return np.where(agreed, most, fallback).astype(np.int16)


def _best(query: Query, known: ImageLabelCounts, fallback: np.ndarray, share: bool) -> np.ndarray:
    held = known.holdings
    best = fallback.astype(np.int16)  # a copy
    _fill(
        best,
        (query.start, query.count),
        (known.group, known.own_class, known.total),
        (held.classes, held.counts, held.start, held.class_count),
        share,
    )
    return best


@njit(cache=True, nogil=True)
def _fill(best: np.ndarray, query: tuple, known: tuple, held: tuple, share: bool) -> None:
    """Put the class with the largest score into `best` int16 [Q], wherever one has a score.

    All classes of a picture are added up, not the listed ones alone, so that the sum is exact.
    """
    image_start, image_count = query
    group, own_class, total = known
    classes, counts, start, class_count = held
    score = np.zeros(class_count)
    touched = np.empty(class_count, np.int64)
    for slot in range(len(best)):
        listed = 0
        for image in range(image_start[slot], image_start[slot] + image_count[slot]):
            for entry in range(start[group[image]], start[group[image] + 1]):
                cls = classes[entry]
                count = counts[entry] - (cls == own_class[image])
                if count == 0:
                    continue
                if score[cls] == 0:
                    touched[listed] = cls
                    listed += 1
                score[cls] += count / total[image] if share else count
        most = 0.0
        for place in range(listed):
            most = max(most, score[touched[place]])
        first = class_count
        for place in range(listed):
            cls = touched[place]
            if score[cls] >= most - EQUAL:
                first = min(first, cls)
            score[cls] = 0
        if listed:
            best[slot] = first
