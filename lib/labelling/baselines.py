"""Predictions of the models for the products that people label."""

from collections.abc import Mapping

import numpy as np

from lib.data.catalog import Catalog
from lib.features.network import best_classes
from lib.features.query import make_query
from lib.inference.topk import TopK


def predicted_classes(
    topks: Mapping[str, TopK], catalog: Catalog, products: np.ndarray, num_classes: int
) -> dict[str, np.ndarray]:
    """The most probable class id of each product by each model, int16 [N], by model name.

    topks: predictions by model name, out-of-fold for products of `fit`. products: int64 [N],
    ascending. A class is the best one by the geometric mean over all images of a product.
    """
    query = make_query(catalog, products)
    return {
        name: best_classes(query, [_select_images(topk, query.images)], [1.0], num_classes)
        for name, topk in topks.items()
    }


def _select_images(topk: TopK, images: np.ndarray) -> TopK:
    """The rows of `images` (int64, ascending).

    A missing image gets another image's row, which `best_classes` detects and reports.
    """
    rows = np.minimum(np.searchsorted(topk.image, images), len(topk.image) - 1)
    return TopK(topk.image[rows], topk.classes[rows], topk.probs[rows], topk.rest[rows])
