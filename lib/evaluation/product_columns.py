"""Columns of products that are computed alike for labelled and new ones, to compare the two."""

from typing import NamedTuple

import numpy as np

from lib.data.catalog import Catalog
from lib.utils.chunks import chunks

IMAGES = 65_536  # compared with their neighbors at a time
NUM_DIMS = 32  # of an embedding, the first principal axes
FAR_QUANTILE = 0.005  # labelled products whose nearest neighbor is further away than `far_limit`


class LabelledImages(NamedTuple):
    """group: int32 [I], label: int16 [I], of the product of every labelled image."""

    group: np.ndarray
    label: np.ndarray


def neighbor_columns(
    cosine: np.ndarray,
    row: np.ndarray,
    labelled: LabelledImages,
    own_group: np.ndarray,
    own_class: np.ndarray,
) -> np.ndarray:
    """Cosines of each image to labelled images of other groups: float32 [n, 3].

    To the nearest of all, the nearest of the own class, and the nearest of another class.

    cosine: float32 [n, k], falling, and row: int64 [n, k], -1 for none, rows of labelled images.
    own_group: int32 [n], -1 for none. own_class: int16 [n], the class that is predicted.
    NaN where the k images hold none of a kind.
    """
    columns = np.empty((len(row), 3), np.float32)
    for rows in chunks(len(row), IMAGES):
        found, at = row[rows] >= 0, np.maximum(row[rows], 0)
        other_group = found & (labelled.group[at] != own_group[rows, None])
        same_class = labelled.label[at] == own_class[rows, None]
        kinds = (other_group, other_group & same_class, other_group & ~same_class)
        for number, kind in enumerate(kinds):
            nearest = cosine[rows][np.arange(len(at)), kind.argmax(axis=1)]
            columns[rows, number] = np.where(kind.any(axis=1), nearest, np.nan)
    return columns


def fill_missing(columns: np.ndarray, cosine: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Columns float32 [n, 3] of `neighbor_columns` without NaN, from the same cosine and row.

    The cosine of the last image found, which is an upper bound; -inf where none was found.
    """
    last = np.maximum((row >= 0).sum(axis=1) - 1, 0)
    bound = np.where(row[:, 0] >= 0, cosine[np.arange(len(row)), last], -np.inf)
    return np.where(np.isnan(columns), bound[:, None], columns)


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
