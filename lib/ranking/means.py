"""Probabilities looked up in top-k lists, and their means over models and pictures (C14).

A class outside a list has a share of the list's `rest`: the same for each of the classes that
are not listed. Without that floor a geometric mean would be zero for whatever one list lacks.
"""

from collections.abc import Sequence

import numpy as np

from lib.ranking.candidates import Queried, candidates, check_rows, chunks
from lib.topk import TopK

CHUNK = 200_000  # rows at a time
LEAST = 1e-7  # probability that float16 may have rounded to zero, for logarithms


def probability(topk: TopK, row: np.ndarray, classes: np.ndarray, class_count: int) -> np.ndarray:
    """Probability of each class int [m] at each row int [m] of the dump: float32 [m]."""
    k = topk.classes.shape[1]
    found = np.empty(len(row), np.float32)
    for first in range(0, len(row), CHUNK):
        part = slice(first, first + CHUNK)
        some = row[part]
        listed = topk.classes[some] == classes[part, None]
        # A floor above the least listed probability would put an unlisted class before a listed.
        floor = np.minimum(topk.rest[some] / max(class_count - k, 1), topk.probs[some, -1])
        inside = np.where(listed, topk.probs[some], 0).sum(axis=1)
        found[part] = np.where(listed.any(axis=1), inside, floor)
    return found


def mean(topks: Sequence[TopK], weights: Sequence[float], class_count: int) -> TopK:
    """Weighted arithmetic mean of dumps over the same pictures; the best k of the union.

    A class that a dump does not list has that dump's floor. k is the largest of the dumps'.
    """
    first = topks[0]
    assert all(np.array_equal(first.image, other.image) for other in topks), "other pictures"
    shares = _shares(weights, len(topks))
    k = max(topk.classes.shape[1] for topk in topks)
    n = len(first.image)
    classes, probs = np.empty((n, k), np.int16), np.empty((n, k), np.float32)
    for rows in chunks(n):
        listed = np.sort(np.concatenate([topk.classes[rows] for topk in topks], axis=1), axis=1)
        row = np.repeat(np.arange(rows.start, rows.stop), listed.shape[1])
        score: np.ndarray = np.zeros(len(row), np.float32)
        for topk, share in zip(topks, shares, strict=True):
            score += share * probability(topk, row, listed.ravel(), class_count)
        score = score.reshape(listed.shape)
        score[:, 1:][listed[:, 1:] == listed[:, :-1]] = -1  # listed by more than one dump
        order = np.argsort(-score, axis=1, kind="stable")[:, :k]  # equal scores: class ascends
        classes[rows] = np.take_along_axis(listed, order, axis=1)
        probs[rows] = np.take_along_axis(score, order, axis=1)
    return TopK(first.image, classes, probs, np.maximum(0, 1 - probs.sum(axis=1)))


def best_classes(
    query: Queried,
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
    query: Queried,
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
