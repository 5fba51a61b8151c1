"""Repeated pictures whose products have different labels: one of these labels is likely wrong."""

from typing import NamedTuple

import numpy as np

from lib.data.catalog import Catalog
from lib.utils.groups import group_runs


class RepeatedPicture(NamedTuple):
    """A picture that stands in products of several classes.

    image: a row of it. products: int64 [n], ascending rows of the catalog. label: int16 [n].
    """

    image: int
    products: np.ndarray
    label: np.ndarray

    @property
    def majority(self) -> int:
        """The class of more than half of the products, -1 if there is none."""
        classes, count = np.unique(self.label, return_counts=True)
        return int(classes[count.argmax()]) if 2 * count.max() > count.sum() else -1


class RepeatedImages(NamedTuple):
    """Images that occur more than once, by equal hashes.

    num_repeats: images that are a copy of another one. num_hashes: different images that are
    repeated. pictures: those whose products have different labels, most products first.
    """

    num_repeats: int
    num_hashes: int
    pictures: list[RepeatedPicture]


def repeated_images(catalog: Catalog, hashes: np.ndarray, most: int) -> RepeatedImages:
    """Find images with equal hashes, and those of them whose labels disagree.

    catalog: labelled. hashes: uint64 [I, 2], MD5s or perceptual hashes. most: of the pictures that
    are returned.
    """
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    order = order[catalog.label[catalog.image_product[order]] >= 0]
    differs = np.zeros(len(order), np.int64)
    differs[1:] = (hashes[order[1:]] != hashes[order[:-1]]).any(axis=1)
    starts, sizes = group_runs(np.cumsum(differs))
    label = catalog.label[catalog.image_product[order]]
    if not len(order):
        return RepeatedImages(0, 0, [])
    lowest, highest = np.minimum.reduceat(label, starts), np.maximum.reduceat(label, starts)
    disagrees = np.flatnonzero((sizes > 1) & (lowest != highest))
    chosen = disagrees[np.argsort(-sizes[disagrees], kind="stable")][:most]
    pictures = []
    for number in chosen.tolist():
        images = order[starts[number] : starts[number] + sizes[number]]
        products = np.unique(catalog.image_product[images]).astype(np.int64)
        pictures.append(RepeatedPicture(int(images.min()), products, catalog.label[products]))
    repeated = sizes > 1
    return RepeatedImages(int((sizes[repeated] - 1).sum()), int(repeated.sum()), pictures)
