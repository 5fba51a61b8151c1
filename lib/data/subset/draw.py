"""Which products a rehearsal draws: whole runs of neighboring ids, and whole sets of equal images

A draw of single products would be another catalog: no image would occur twice, and the products
with the nearest ids would be strangers.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lib.data.catalog import Catalog

RUN = 25  # products with neighboring ids that are drawn together
MAX_HOLDERS = 50  # products that hold an image; one that more hold stands for a missing picture
MAX_SHARE = 0.1  # of a draw in one set; larger sets are not kept whole


def draw_products(
    catalog: Catalog, count: int, seed: int, labelled: Catalog | None = None
) -> np.ndarray:
    """Products of a draw: bool [P], about `count` of them, or all if there are no more.

    labelled: the labelled products that were drawn. Half of the draw are then products that share
    an image with one of them, if there are as many.
    """
    total = len(catalog.product_id)
    if count >= total:
        return np.ones(total, bool)
    rng = np.random.default_rng([seed, total])
    drawn = np.zeros(total, bool)
    if labelled is not None:
        shared = np.isin(catalog.md5[:, 0], labelled.md5[:, 0])
        related = np.unique(catalog.image_product[shared])
        drawn[rng.permutation(related)[: count // 2]] = True
    sets = _sets(catalog)
    is_small = np.bincount(sets)[sets] <= max(MAX_SHARE * count, 1)
    by_id = np.argsort(catalog.product_id, kind="stable")
    by_set = np.argsort(sets, kind="stable")
    first = np.searchsorted(sets[by_set], np.arange(sets.max() + 2))
    for run in rng.permutation(-(-total // RUN)):
        if drawn.sum() >= count:
            break
        products = by_id[run * RUN : (run + 1) * RUN]
        drawn[products] = True
        for number in np.unique(sets[products[is_small[products]]]):
            drawn[by_set[first[number] : first[number + 1]]] = True
    return drawn


def _sets(catalog: Catalog) -> np.ndarray:
    """The set of each product, int [P]: products that share an image or a group are in one."""
    total = len(catalog.product_id)
    keys = [(catalog.image_product, catalog.md5[:, 0])]
    if catalog.group is not None:
        keys.append((np.arange(total), catalog.group))
    edges = [np.empty((2, 0), np.int64)]
    for product, key in keys:
        order = np.argsort(key, kind="stable")
        _, first, holders = np.unique(key[order], return_index=True, return_counts=True)
        few = np.repeat(holders <= (MAX_HOLDERS if key.dtype == np.uint64 else total), holders)
        pairs = np.stack([product[order], np.repeat(product[order][first], holders)])
        edges.append(pairs[:, few])
    rows, columns = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(total, total))
    return connected_components(graph, directed=False)[1]
