"""Small random catalogs, splits and top-k lists for tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.data.catalog import Catalog, Splits
from lib.inference.topk import TopK

CLASSES = 7


def random_catalog(
    rng: np.random.Generator,
    products: int,
    num_images: int,
    classes: int = CLASSES,
    max_images: int = 5,
    placeholder: float = 0.0,
) -> Catalog:
    """Random products with 0 to `max_images` of `num_images` distinct images; ids in no order.

    placeholder: share of images that are image 0.
    """
    image_count = rng.integers(0, max_images + 1, products).astype(np.int16)
    image_product = np.repeat(np.arange(products, dtype=np.int32), image_count)
    first_image = np.cumsum(image_count.astype(np.int64)) - image_count
    images = len(image_product)
    image_id = rng.integers(0, num_images, images)
    image_id[rng.random(images) < placeholder] = 0
    # The first words of two images agree: the whole MD5 must be compared.
    md5 = np.stack([image_id // 2 + 10, image_id % 2], axis=1).astype(np.uint64)
    md5[:, 1] += np.uint64(2**63)  # no word of an MD5 is a small number
    return Catalog(
        path=Path("toy.bson"),
        product_id=rng.choice(products * 3, products, replace=False).astype(np.int64),
        label=rng.integers(0, classes, products).astype(np.int16),
        first_image=first_image,
        image_count=image_count,
        image_product=image_product,
        image_position=(np.arange(images) - first_image[image_product]).astype(np.int16),
        offset=np.zeros(images, np.int64),
        length=np.zeros(images, np.int32),
        md5=md5,
    )


def splits(rng: np.random.Generator, products: int, folds: int = 3) -> Splits:
    part = rng.choice([0, 1, 2], products, p=[0.5, 0.2, 0.3]).astype(np.int8)
    fold = np.where(part == 2, -1, rng.integers(0, folds, products)).astype(np.int8)
    return Splits(part, fold)


def random_topk(
    rng: np.random.Generator, images: np.ndarray, k: int = 5, classes: int = CLASSES
) -> tuple[TopK, np.ndarray]:
    """Top-k lists, and the dense probabilities float32 [n, classes] that they are from."""
    dense = rng.dirichlet(np.full(classes, 0.7), len(images)).astype(np.float32)
    dense = dense.reshape(len(images), classes)
    order = np.argsort(-dense, axis=1, kind="stable")[:, :k].astype(np.int16)
    probs = np.take_along_axis(dense, order.astype(np.int64), axis=1)
    rest = np.maximum(0, 1 - probs.sum(axis=1))
    return TopK(images.astype(np.int64), order, probs, rest), dense


def with_labels(known: Catalog, label: np.ndarray) -> Catalog:
    return replace(known, label=label.astype(np.int16))
