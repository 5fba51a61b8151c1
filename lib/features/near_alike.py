"""Columns of candidate rows: do the products near by id also look alike? (C11 seen through T3)

Sellers list their products in runs of few classes. How many of the nearest products are of a class
says which classes a run holds; how much their pictures resemble the row's says which of these it
is. Each of the `window` reference products nearest by id counts for its class by the likeness
((1 + cos) / 2) ** power of the two pictures that resemble each other most.

The references of a network are the products that it was trained on, and it is only asked about
others: no row sees its own label, nor its fold's.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.features.id_priors import IdIndex

CHUNK = 50_000  # products at a time, neighbours in the order of ids
SOFT, SHARP = 8, 35  # powers of the likeness; 35 is row T3's
COLUMNS = ("cos", "score", "share_soft", "share_sharp")


@dataclass(frozen=True)
class ProductEmbeddings:
    """Pictures as one network sees them: embeddings float [I, d], rows as the catalogue's images.

    first int64 [P], count int64 [P]: where a product's pictures lie.
    """

    embeddings: np.ndarray
    first: np.ndarray
    count: np.ndarray

    def of(self, products: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors float32 [n, d] of the products' pictures; where those of each begin [P + 1].

        A zero vector stays zero.
        """
        count = self.count[products].astype(np.int64)
        begin = np.concatenate([[0], np.cumsum(count)])
        row = np.arange(begin[-1]) + np.repeat(self.first[products] - begin[:-1], count)
        vectors = self.embeddings[row].astype(np.float32)
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.where(length > 0, length, 1), begin


def near_alike(
    order: IdIndex,
    reference: np.ndarray,
    known: ProductEmbeddings,
    ids: np.ndarray,
    asked: np.ndarray,
    query: ProductEmbeddings,
    bounds: np.ndarray,
    cls: np.ndarray,
    window: int,
) -> np.ndarray:
    """float32 [R, 4], columns as in COLUMNS.

    order: reference products by id; reference int64 [N]: their rows in the album `known`, in that
    order. ids int64 [Q] and asked int64 [Q]: id, and row in the album `query`, of each product;
    bounds int64 [Q + 1]: its candidate rows, whose classes are cls int16 [R].

    cos: largest cosine to a near product of the class, NaN where there is none. score: sum of the
    likeness to the power of 35 over the near products of the class; share_sharp: of all near
    products' sum; share_soft: the same to the power of 8. NaN for products without pictures;
    near products without pictures do not count.
    """
    found = np.full((len(cls), len(COLUMNS)), np.nan, np.float32)
    low, high = order.nearest_range(ids, window)
    by_id = np.argsort(ids, kind="stable")
    for start in range(0, len(ids), CHUNK):
        some = by_id[start : start + CHUNK]
        left, right = low[some].min(), high[some].max()
        near, near_begin = known.of(reference[left:right])
        own, own_begin = query.of(asked[some])
        _fill(
            found,
            own,
            own_begin,
            near,
            near_begin,
            order.labels[left:right],
            low[some] - left,
            high[some] - left,
            bounds[:-1][some],
            bounds[1:][some],
            cls,
        )
    return found


@njit(cache=True, nogil=True)
def _fill(
    found: np.ndarray,
    own: np.ndarray,
    own_begin: np.ndarray,
    near: np.ndarray,
    near_begin: np.ndarray,
    labels: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    cls: np.ndarray,
) -> None:
    for i in range(len(low)):
        if own_begin[i] == own_begin[i + 1]:
            continue
        size = high[i] - low[i]
        cosine = np.full(size, np.nan)
        soft, sharp = np.zeros(size), np.zeros(size)
        for place in range(size):
            product = low[i] + place
            best = -2.0
            for a in range(own_begin[i], own_begin[i + 1]):
                for b in range(near_begin[product], near_begin[product + 1]):
                    dot = 0.0
                    for d in range(own.shape[1]):
                        dot += own[a, d] * near[b, d]
                    best = max(best, dot)
            if best > -1.5:
                cosine[place] = best
                likeness = max(0.0, (1 + best) / 2)
                soft[place], sharp[place] = likeness**SOFT, likeness**SHARP
        all_soft, all_sharp = soft.sum(), sharp.sum()
        for row in range(starts[i], ends[i]):
            best, of_soft, of_sharp = np.nan, 0.0, 0.0
            for place in range(size):
                if labels[low[i] + place] == cls[row] and not np.isnan(cosine[place]):
                    if not best >= cosine[place]:
                        best = cosine[place]
                    of_soft += soft[place]
                    of_sharp += sharp[place]
            found[row, 0] = best
            found[row, 1] = of_sharp
            found[row, 2] = of_soft / all_soft if all_soft > 0 else np.nan
            found[row, 3] = of_sharp / all_sharp if all_sharp > 0 else np.nan
