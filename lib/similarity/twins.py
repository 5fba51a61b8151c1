"""Near twins: products whose images are so alike that the class of one gives the other's away.

People photograph in bursts: several images of one object, each a product of its own. If such twins
stand on both sides of a split, a model is asked what it was told, and its accuracy is too high for
products photographed elsewhere.

How alike is too alike depends on the catalog. Two images of different classes never show the same
object, so the cosine of an image to its nearest image of another class says how alike strangers
can be. Twins are more alike than all but `STRANGERS` of the images are to their nearest stranger.
Embeddings are whitened, so that a cosine says whether two images show the same scene rather than
the same kind of thing (Jegou and Chum, "Negative evidences and co-occurences in image retrieval",
2012).
"""

from dataclasses import dataclass

import numpy as np

from lib.utils.compiled import njit

STRANGERS = 0.05  # fraction of images that are as alike to an image of another class as twins
MIN_COSINE = 0.4  # of twins; images that have so little in common are none
MANY = 0.15  # fraction of products with a twin from which sets are kept together
MAX_SET = 64  # products that are kept together at most; chance links chain larger sets
MIN_SET, SETS = 8, 50  # that limit is lower in a small catalog: 1 / SETS of it, at least MIN_SET
SIGMAS = 3.0  # by which the shares of twins must differ before the split follows the difference


@dataclass(frozen=True)
class Pairs:
    """Pairs of an image and one of its nearest images of other products, as alike as twins.

    first, second: int32 [n], products. cosine: float32 [n].
    """

    first: np.ndarray
    second: np.ndarray
    cosine: np.ndarray

    def has_twin(self, num_products: int) -> np.ndarray:
        """Whether each product has a twin: bool [P]."""
        twin = np.zeros(num_products, bool)
        twin[self.first] = twin[self.second] = True
        return twin


def other_products(
    cosine: np.ndarray, row: np.ndarray, own: np.ndarray, image_product: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest images of other products: cosine float32 [q, k] and row int64 [q, k].

    cosine: float32 [q, K], falling, and row: int64 [q, K], -1 for none: what a search found.
    own: int32 [q], product of each query. image_product: int32 [I], of every row.
    -inf and -1 beyond the last.
    """
    product = np.where(row >= 0, image_product[np.maximum(row, 0)], own[:, None])
    absent = product == own[:, None]
    order = np.argsort(absent, axis=1, kind="stable")[:, :k]
    is_absent = np.take_along_axis(absent, order, 1)
    best = np.where(is_absent, np.float32(-np.inf), np.take_along_axis(cosine, order, 1))
    return best, np.where(is_absent, -1, np.take_along_axis(row, order, 1))


def twin_threshold(
    cosine: np.ndarray, row: np.ndarray, own: np.ndarray, label: np.ndarray
) -> float:
    """The cosine from which two images are twins.

    cosine: float32 [q, K], falling, and row: int64 [q, K]: the nearest images of a sample of
        images, as many as are needed to meet another class.
    own: int16 [q], class of each image of the sample. label: int16 [I], class of every row.
    Images that meet no other class count for nothing. Returns 1 if none does: then nothing shows
    how alike strangers are, and only equal images are twins.
    """
    stranger = (row >= 0) & (label[np.maximum(row, 0)] != own[:, None])
    meets = stranger.any(axis=1)
    if not meets.any():
        return 1.0
    nearest = cosine[np.arange(len(cosine)), stranger.argmax(axis=1)][meets]
    return float(min(max(np.quantile(nearest, 1 - STRANGERS), MIN_COSINE), 1.0))


def find_pairs(
    cosine: np.ndarray,
    row: np.ndarray,
    image_product: np.ndarray,
    label: np.ndarray,
    threshold: float,
) -> Pairs:
    """The pairs of twins among labelled images.

    cosine: float32 [I, k], falling, and row: int64 [I, k]: nearest images of other products.
    image_product: int32 [I]. label: int16 [P], class of each product.
    An image most of whose twins are of other classes, such as a placeholder, gives nothing away;
    its pairs do not count.
    """
    alike = (row >= 0) & (cosine >= threshold - 1e-6)
    own = label[image_product]
    same = alike & (own[_at(row)] == own[:, None])
    gives_away = 2 * same.sum(axis=1) > alike.sum(axis=1)
    keep = alike & gives_away[:, None] & gives_away[_at(row)]
    image, rank = np.nonzero(keep)
    second = row[image, rank]
    return Pairs(
        image_product[image].astype(np.int32),
        image_product[second].astype(np.int32),
        cosine[image, rank].astype(np.float32),
    )


def max_per_product(values: np.ndarray, image_product: np.ndarray, num_products: int) -> np.ndarray:
    """The largest value of each product's images: float32 [P], -inf for a product without any.

    values: float32 [I]. image_product: int32 [I].
    """
    largest = np.full(num_products, -np.inf, np.float32)
    np.maximum.at(largest, image_product, values)
    return largest


def connected_sets(pairs: Pairs, num_products: int) -> np.ndarray:
    """A number for each product, equal for connected twins: int32 [P], ascending by first product.

    Pairs are joined from the most alike on, unless the set would be larger than the limit: a chain
    of chance links would otherwise tie a dense catalog together (Kruskal's algorithm, stopped).
    """
    limit = min(MAX_SET, max(MIN_SET, num_products // SETS))
    order = np.lexsort((pairs.second, pairs.first, -pairs.cosine))
    root = _join(pairs.first[order], pairs.second[order], num_products, limit)
    return np.unique(root, return_inverse=True)[1].astype(np.int32)


def kept_fraction(train: np.ndarray, test: np.ndarray | None = None) -> float:
    """The fraction of connected sets that a split keeps together: from 0 to 1, in tenths.

    train: bool [P], whether each labelled product is as alike to another one as twins are.
    test: bool [Q], whether each product to classify is as alike to a labelled one; None if there
        are none yet.

    Locked products should have as many twins in training as the products to classify. If these
    are not known, none. If they have as many as the labelled ones among each other, the split
    need not care.
    """
    if test is None:
        return 1.0
    share, share_test = float(train.mean()), float(test.mean())
    variance = share * (1 - share) * (1 / len(train) + 1 / len(test))
    if share - share_test <= SIGMAS * np.sqrt(variance):
        return 0.0
    return round(1 - share_test / share, 1)


def split_groups(sets: np.ndarray, kept: float, seed: int) -> np.ndarray:
    """The group of each product in the split: int32 [P]; products of a set that is not kept
    together are groups of their own.

    sets: int32 [P], of `connected_sets`. kept: fraction of the sets that are kept together.
    """
    is_kept = np.random.default_rng([seed, 2]).random(1 + int(sets.max(initial=0))) < kept
    own = np.arange(len(sets)) + len(is_kept)
    return np.unique(np.where(is_kept[sets], sets, own), return_inverse=True)[1].astype(np.int32)


def _at(row: np.ndarray) -> np.ndarray:
    """Rows that may index an array: 0 where there is none (-1)."""
    return np.maximum(row, 0)


@njit(cache=True, nogil=True)
def _join(first: np.ndarray, second: np.ndarray, num_products: int, limit: int) -> np.ndarray:
    """The smallest product of each product's set: int32 [P]."""
    parent = np.arange(num_products).astype(np.int32)
    size = np.ones(num_products, np.int32)
    for i in range(len(first)):
        a, b = _root(parent, first[i]), _root(parent, second[i])
        if a != b and size[a] + size[b] <= limit:
            a, b = min(a, b), max(a, b)
            parent[b] = a
            size[a] += size[b]
    for product in range(num_products):
        parent[product] = _root(parent, product)
    return parent


@njit(cache=True, nogil=True)
def _root(parent: np.ndarray, product: int) -> int:
    while parent[product] != product:
        parent[product] = parent[parent[product]]
        product = parent[product]
    return product
