"""Which classes are worth ranking for a product: one row for each (product, class) (C9).

The union, over a product's pictures, of each network's best classes and the classes of the
picture's hash, and if asked for of the classes of the nearest ids. A truth outside the union
stays a miss; no row is added for it.

The walks are compiled: a product has a few dozen listed classes, so that a table of what it has
been given and a sort of a dozen numbers replace a sort of all keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from lib.data.catalog import Catalog
from lib.errors import UserError
from lib.inference.topk import TopK

CHUNK = 100_000  # products at a time
FALLBACK = 5  # classes of a product that no picture speaks for


@dataclass(frozen=True)
class Query:
    """Some products and their pictures; a slot is a place in `products`.

    products int64 [Q] ascending rows of the catalogue; images int64 [n] ascending rows of their
    pictures, as in `TopK.image`; start and count int64 [Q]: where in `images` a product's lie.
    """

    products: np.ndarray
    images: np.ndarray
    start: np.ndarray
    count: np.ndarray

    def slot_of_image(self) -> np.ndarray:
        """int64 [n]."""
        return np.repeat(np.arange(len(self.products)), self.count)

    def images_in(self, slots: slice) -> slice:
        """Where in `images` those of some neighbouring slots lie."""
        last = slots.stop - 1
        return slice(int(self.start[slots.start]), int(self.start[last] + self.count[last]))

    def at(self, slot: np.ndarray, position: int) -> np.ndarray:
        """Place in `images` of each slot's picture at a position: int64 [rows], -1 for none."""
        return np.where(position < self.count[slot], self.start[slot] + position, -1)

    def pairs(self, slot: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every row with every picture of its product: (row, place in `images`), both int64."""
        count = self.count[slot]
        row = np.repeat(np.arange(len(slot)), count)
        within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
        return row, self.start[slot][row] + within


def make_query(catalogue: Catalog, products: np.ndarray) -> Query:
    """`products`: ascending rows of the catalogue."""
    count = catalogue.image_count[products].astype(np.int64)
    images = catalogue.images_of(products)
    assert len(images) == count.sum(), "image_count disagrees with image_product"
    return Query(products.astype(np.int64), images, np.cumsum(count) - count, count)


def check_rows(query: Query, topks: Sequence[TopK], names: Sequence[str]) -> None:
    """Raises UserError unless every dump has exactly the queried pictures."""
    for topk, name in zip(topks, names, strict=True):
        if not np.array_equal(topk.image, query.images):
            raise UserError(
                f"predictions of {name}: their {len(topk.image)} pictures are not the"
                f" {len(query.images)} pictures of the part; run 03_predict_tta.py --rebuild"
            )


def candidates(
    query: Query,
    image_classes: Sequence[np.ndarray],
    product_classes: Sequence[np.ndarray],
    fallback: np.ndarray,
    class_count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Unique (slot int64 [R], class int16 [R]), ascending by slot, then class.

    image_classes: int16 [n, k] arrays over the pictures; product_classes: int16 [Q, m] arrays over
    the slots; -1 is no class. fallback int16 [Q, f]: classes of the slots that have none otherwise.
    """
    size = np.zeros(len(query.products), np.int64)
    found = [np.empty(0, np.int16)]
    for slots in chunks(len(query.products)):
        images = query.images_in(slots)
        size[slots], some = _union(
            _beside(image_classes, images),
            _beside(product_classes, slots),
            query.start[slots] - images.start,
            query.count[slots],
            fallback[slots],
            class_count,
        )
        found.append(some)
    return np.repeat(np.arange(len(size)), size), np.concatenate(found)


def best_listed(
    query: Query,
    image_classes: Sequence[np.ndarray],
    product_classes: Sequence[np.ndarray],
    slot: np.ndarray,
    cls: np.ndarray,
    cap: int,
    class_count: int,
) -> np.ndarray:
    """Which of the candidates to keep, so that no product has more than `cap`: bool [R].

    By the sum of 1 / place over all lists that name the class, the pictures of a product sharing
    one vote; of equals the smaller class. No booster has a say yet, and a list of no probabilities
    has one like any other. Arguments and rows as in `candidates`.
    """
    bounds = np.searchsorted(slot, np.arange(len(query.products) + 1))
    kept = np.zeros(len(slot), bool)
    for slots in chunks(len(query.products)):
        images = query.images_in(slots)
        rows = slice(bounds[slots.start], bounds[slots.stop])
        _keep(
            (_beside(image_classes, images), _votes(image_classes)),
            (_beside(product_classes, slots), _votes(product_classes)),
            query.start[slots] - images.start,
            query.count[slots],
            bounds[slots.start : slots.stop + 1] - rows.start,
            cls[rows],
            (cap, class_count),
            kept[rows],
        )
    return kept


def most_frequent(prior: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The FALLBACK most frequent classes seen from each fold [Q] (-1: from all): int16 [Q, f].

    prior: what `priors.global_prior` returns; a fold's own labels do not choose its candidates.
    """
    best = np.argsort(-np.nan_to_num(prior), axis=1, kind="stable")[:, :FALLBACK]
    return best[fold].astype(np.int16)


def chunks(slots: int, size: int = CHUNK) -> Iterator[slice]:
    for first in range(0, slots, size):
        yield slice(first, min(first + size, slots))


def _beside(lists: Sequence[np.ndarray], rows: slice) -> np.ndarray:
    """The rows of all lists side by side: int16 [rows, k of all]."""
    none = np.empty((rows.stop - rows.start, 0), np.int16)
    return np.concatenate([none, *(listed[rows] for listed in lists)], axis=1, dtype=np.int16)


def _votes(lists: Sequence[np.ndarray]) -> np.ndarray:
    """1 / place of each column of `_beside`: float64 [k of all]."""
    return np.concatenate([np.empty(0), *(1 / (1 + np.arange(o.shape[1])) for o in lists)])


@njit(cache=True, nogil=True)
def _union(
    of_image: np.ndarray,
    of_product: np.ndarray,
    start: np.ndarray,
    count: np.ndarray,
    fallback: np.ndarray,
    class_count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """How many classes each slot has, int64 [slots], and the classes, ascending by slot: int16."""
    size = np.zeros(len(count), np.int64)
    found = np.empty(of_image.size + of_product.size + fallback.size, np.int16)
    seen = np.full(class_count, -1, np.int64)  # the last slot that was given the class
    end = 0
    for slot in range(len(count)):
        first = end
        for image in range(start[slot], start[slot] + count[slot]):
            end = _add(of_image[image], slot, seen, found, end)
        end = _add(of_product[slot], slot, seen, found, end)
        if end == first:
            end = _add(fallback[slot], slot, seen, found, end)
        found[first:end].sort()
        size[slot] = end - first
    return size, found[:end].copy()


@njit(cache=True, nogil=True)
def _add(listed: np.ndarray, slot: int, seen: np.ndarray, found: np.ndarray, end: int) -> int:
    for cls in listed:
        if cls >= 0 and seen[cls] != slot:
            seen[cls] = slot
            found[end] = cls
            end += 1
    return end


@njit(cache=True, nogil=True)
def _keep(
    of_images: tuple,
    of_products: tuple,
    start: np.ndarray,
    count: np.ndarray,
    bounds: np.ndarray,
    cls: np.ndarray,
    numbers: tuple,
    kept: np.ndarray,
) -> None:
    """Set `kept` for the best rows of each slot, rows [bounds[s], bounds[s + 1]) of `cls`."""
    of_image, image_vote = of_images
    of_product, product_vote = of_products
    cap, class_count = numbers
    score = np.zeros(class_count)
    for slot in range(len(count)):
        first, last = bounds[slot], bounds[slot + 1]
        score[cls[first:last]] = 0.0
        for image in range(start[slot], start[slot] + count[slot]):
            for column in range(len(image_vote)):
                if of_image[image, column] >= 0:
                    score[of_image[image, column]] += image_vote[column] / count[slot]
        for column in range(len(product_vote)):
            if of_product[slot, column] >= 0:
                score[of_product[slot, column]] += product_vote[column]
        for row in range(first, last):  # sums of thirds differ in the last bit
            score[cls[row]] = np.rint(score[cls[row]] * 1e9)
        for _ in range(min(cap, last - first)):
            best = first
            for row in range(first, last):
                if score[cls[row]] > score[cls[best]]:
                    best = row
            kept[best] = True
            score[cls[best]] = -1.0
