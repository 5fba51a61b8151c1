"""Probabilities looked up in top-k lists, and their means over models and pictures (C14).

A class outside a list has a share of the list's `rest`: the same for each of the classes that
are not listed. Without that floor a geometric mean would be zero for whatever one list lacks.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit

from lib.features.candidates import Query, candidates, check_rows, chunks
from lib.inference.topk import TopK

CHUNK = 200_000  # pictures at a time
LEAST = 1e-7  # probability that float16 may have rounded to zero, for logarithms


def probability(topk: TopK, row: np.ndarray, classes: np.ndarray, class_count: int) -> np.ndarray:
    """Probability of each class int [m] at each row int [m] of the dump: float32 [m]."""
    unlisted = _unlisted(topk, class_count)
    return _look_up(topk.classes, topk.probs, topk.rest, unlisted, row, classes)


def mean(topks: Sequence[TopK], weights: Sequence[float], class_count: int) -> TopK:
    """Weighted arithmetic mean of dumps over the same pictures; the best k of the union.

    A class that a dump does not list has that dump's floor. k is the largest of the dumps'. Of
    classes as probable the smaller comes first.
    """
    first = topks[0]
    assert all(np.array_equal(first.image, other.image) for other in topks), "other pictures"
    shares = _shares(weights, len(topks))
    k = max(topk.classes.shape[1] for topk in topks)
    n = len(first.image)
    ends = np.cumsum([topk.classes.shape[1] for topk in topks])
    unlisted = np.array([_unlisted(topk, class_count) for topk in topks])
    classes, probs = np.empty((n, k), np.int16), np.empty((n, k), np.float32)
    for rows in chunks(n, CHUNK):
        listed = np.concatenate([topk.classes[rows] for topk in topks], axis=1)
        given = np.concatenate([topk.probs[rows] for topk in topks], axis=1)
        rest = np.stack([topk.rest[rows] for topk in topks], axis=1)
        lists = (listed, given, rest, ends, unlisted)
        _average(lists, shares, class_count, classes[rows], probs[rows])
    return TopK(first.image, classes, probs, np.maximum(0, 1 - probs.sum(axis=1)))


def best_classes(
    query: Query,
    topks: Sequence[TopK],
    weights: Sequence[float],
    class_count: int,
    how: str = "geometric",
) -> np.ndarray:
    """The class that a weighted mean over pictures and models puts first: int16 [Q].

    how: "arithmetic" or "geometric". A product's pictures count alike. Every class that any dump
    lists for any of the pictures is compared; equal scores: the smaller class. -1 for a product
    without pictures.
    """
    check_rows(query, topks, [str(number) for number in range(len(topks))])
    shares = _shares(weights, len(topks))
    none = np.empty((len(query.products), 0), np.int16)
    slot, cls = candidates(query, [topk.classes for topk in topks], [], none, class_count)
    best = np.full(len(query.products), -1, np.int16)
    bounds = np.searchsorted(slot, np.arange(len(query.products) + 1))
    for slots in chunks(len(query.products), 20_000):
        rows = slice(bounds[slots.start], bounds[slots.stop])
        score = _mean_score(query, topks, shares, slot[rows], cls[rows], class_count, how)
        order = np.lexsort((cls[rows], -score, slot[rows]))
        first = order[np.flatnonzero(np.diff(slot[rows][order], prepend=-1))]
        best[slot[rows][first]] = cls[rows][first]
    return best


def _mean_score(
    query: Query,
    topks: Sequence[TopK],
    shares: np.ndarray,
    slot: np.ndarray,
    cls: np.ndarray,
    class_count: int,
    how: str,
) -> np.ndarray:
    """float64 [rows]; the geometric mean stays a logarithm, which ranks the same."""
    assert how in ("arithmetic", "geometric"), how
    row, image = query.pairs(slot)
    score = np.zeros(len(slot))
    for topk, share in zip(topks, shares, strict=True):
        probs = probability(topk, image, cls[row], class_count).astype(np.float64)
        if how == "geometric":
            probs = np.log(np.maximum(probs, LEAST))
        score += share * np.bincount(row, probs, minlength=len(slot))
    return score / query.count[slot]


def _shares(weights: Sequence[float], models: int) -> np.ndarray:
    shares = np.asarray(weights, np.float64)
    assert len(shares) == models, f"{len(shares)} weights for {models} models"
    assert (shares >= 0).all(), "negative weight"
    assert shares.sum() > 0, "all weights are 0"
    return shares / shares.sum()


def _unlisted(topk: TopK, class_count: int) -> np.float32:
    """Classes that share the rest of a list."""
    return np.float32(max(class_count - topk.classes.shape[1], 1))


@njit(cache=True, nogil=True)
def _floor(rest: np.float32, last: np.float32, unlisted: np.float32) -> np.float32:
    """Probability of a class that a list lacks, whose least listed probability is `last`.

    Above that one it would put an unlisted class before a listed one.
    """
    return min(rest / unlisted, last)


@njit(cache=True, nogil=True)
def _look_up(
    listed: np.ndarray,
    probs: np.ndarray,
    rest: np.ndarray,
    unlisted: np.float32,
    row: np.ndarray,
    classes: np.ndarray,
) -> np.ndarray:
    found = np.empty(len(row), np.float32)
    for i in range(len(row)):
        at = row[i]
        found[i] = _floor(rest[at], probs[at, -1], unlisted)
        for place in range(listed.shape[1]):
            if listed[at, place] == classes[i]:
                found[i] = probs[at, place]
                break
    return found


@njit(cache=True, nogil=True)
def _average(
    lists: tuple,
    shares: np.ndarray,
    class_count: int,
    best_classes: np.ndarray,
    best_probs: np.ndarray,
) -> None:
    """Fill the best of each picture's union; columns up to ends[m] of `listed` are dump m's."""
    listed, given, rest, ends, unlisted = lists
    k = best_classes.shape[1]
    score, value = np.zeros(class_count, np.float32), np.empty(class_count, np.float32)
    model_of = np.full(class_count, -1, np.int64)  # the last list that named the class
    union = np.empty(listed.shape[1], np.int64)
    for image in range(len(listed)):
        size = 0
        for column in range(listed.shape[1]):
            cls = listed[image, column]
            if score[cls] >= 0:
                score[cls] = -1  # in the union
                union[size] = cls
                size += 1
        score[union[:size]] = 0
        for model in range(len(ends)):
            last = ends[model] - 1
            floor = _floor(rest[image, model], given[image, last], unlisted[model])
            for column in range(ends[model - 1] if model else 0, ends[model]):
                model_of[listed[image, column]] = model
                value[listed[image, column]] = given[image, column]
            for cls in union[:size]:
                prob = value[cls] if model_of[cls] == model else floor
                score[cls] += shares[model] * prob
        for place in range(k):
            best = union[0]
            for cls in union[:size]:
                if score[cls] > score[best] or (score[cls] == score[best] and cls < best):
                    best = cls
            best_classes[image, place], best_probs[image, place] = best, score[best]
            score[best] = -1
        model_of[union[:size]] = -1
        score[union[:size]] = 0
