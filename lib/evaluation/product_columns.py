"""Columns of products that are computed alike for labelled and new ones, to compare the two."""

import numpy as np

from lib.data.catalog import Catalog

NUM_DIMS = 32  # of an embedding, the first principal axes
FAR_QUANTILE = 0.005  # labelled products whose nearest neighbor is further away than `far_limit`


def nearest_outside_group(
    cosine: np.ndarray, row: np.ndarray, image_group: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Cosine of each image to the nearest labelled one outside of its group: float32 [n].

    cosine: float32 [n, k], falling, and row: int64 [n, k], -1 for none, rows of labelled images.
    image_group: int32 [I], group of every labelled image. own: int32 [n], group of each image.
    Where all k are of the group, the last of them, which is an upper bound; -inf without any.
    """
    outside = (row >= 0) & (image_group[np.maximum(row, 0)] != own[:, None])
    first = outside.argmax(axis=1)
    last = np.maximum((row >= 0).sum(axis=1) - 1, 0)
    return cosine[np.arange(len(row)), np.where(outside.any(axis=1), first, last)]


def image_columns(catalog: Catalog, embeddings: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """What the images of every product show: float32 [P, d + 1], NaN for a product without any.

    embeddings: float16 [I, d], centered; at most NUM_DIMS dimensions are used. scale: float32 [d],
    1 / standard deviation of each dimension among the labelled images.
    Mean whitened embedding of the images, number of images.
    """
    num_products, dims = len(catalog.product_id), min(NUM_DIMS, embeddings.shape[1])
    count = np.bincount(catalog.image_product, minlength=num_products)
    columns = np.empty((num_products, dims + 1), np.float32)
    for dim in range(dims):
        values = embeddings[:, dim].astype(np.float64) * scale[dim]
        total = np.bincount(catalog.image_product, values, num_products)
        columns[:, dim] = np.divide(
            total, count, out=np.full(num_products, np.nan), where=count > 0
        )
    columns[:, dims] = count
    return columns


def far_limit(nearest_cos: np.ndarray) -> float:
    """The cosine below which a new product is far from everything: float32 [P] of labelled ones."""
    finite = nearest_cos[np.isfinite(nearest_cos)]
    return float(np.quantile(finite, FAR_QUANTILE)) if len(finite) else -1.0
