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
    """The most probable class of each product by each model: int16 [N].

    topks: predictions by the name of the model, out-of-fold for products of `fit`.
    products: int64 [N], ascending. The class is that of the geometric mean over all images.
    """
    query = make_query(catalog, products)
    return {
        name: best_classes(query, [_of_images(topk, query.images)], [1.0], num_classes)
        for name, topk in topks.items()
    }


def _of_images(topk: TopK, images: np.ndarray) -> TopK:
    """The rows of `images`; where an image is absent another row stands in, which `best_classes`
    detects."""
    rows = np.minimum(np.searchsorted(topk.image, images), len(topk.image) - 1)
    return TopK(topk.image[rows], topk.classes[rows], topk.probs[rows], topk.rest[rows])
