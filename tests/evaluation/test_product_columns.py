from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.catalog import Catalog
from lib.evaluation import product_columns
from lib.evaluation.product_columns import (
    FAR_QUANTILE,
    NUM_DIMS,
    LabelledImages,
    far_limit,
    fill_missing,
    image_columns,
    neighbor_columns,
)


def catalog(image_product, num_products):
    """A catalog that knows which product each image shows."""
    none = np.zeros(num_products, np.int64)
    product = np.array(image_product, np.int32)
    rest = [np.zeros(len(product), np.int64)] * 4
    return Catalog(Path(), np.arange(num_products), none, none, none, product, *rest)


@given(st.integers(0, 999))
def test_cosines_to_neighbors_are_those_of_a_loop(seed):
    rng = np.random.default_rng(seed)
    labelled = LabelledImages(
        rng.integers(0, 3, 10).astype(np.int32), rng.integers(0, 3, 10).astype(np.int16)
    )
    own_group = rng.integers(-1, 3, 20).astype(np.int32)
    own_class = rng.integers(-1, 3, 20).astype(np.int16)
    num_found = rng.integers(0, 5, 20)
    row = np.where(np.arange(4) < num_found[:, None], rng.integers(0, 10, (20, 4)), -1)
    cosine = np.where(row >= 0, -np.sort(-rng.random((20, 4)), axis=1), -np.inf)
    cosine = cosine.astype(np.float32)
    columns = neighbor_columns(cosine, row, labelled, own_group, own_class)
    filled = fill_missing(columns, cosine, row)
    for image, count in enumerate(num_found):
        found = row[image, :count]
        outside = labelled.group[found] != own_group[image]
        same = labelled.label[found] == own_class[image]
        for number, kind in enumerate((outside, outside & same, outside & ~same)):
            values = cosine[image, :count]
            if kind.any():
                assert columns[image, number] == filled[image, number] == values[kind].max()
            else:  # the next one would be no nearer than the last
                assert np.isnan(columns[image, number])
                assert filled[image, number] == (values.min() if count else -np.inf)


def test_neighbors_are_compared_block_by_block(monkeypatch):
    rng = np.random.default_rng(0)
    labelled = LabelledImages(np.arange(50, dtype=np.int32), np.arange(50).astype(np.int16) % 7)
    cosine, row = -np.sort(-rng.random((50, 9)), axis=1), rng.integers(0, 50, (50, 9))
    own = labelled.group, labelled.label
    whole = neighbor_columns(cosine, row, labelled, *own)
    monkeypatch.setattr(product_columns, "IMAGES", 8)
    np.testing.assert_array_equal(neighbor_columns(cosine, row, labelled, *own), whole)


def test_columns_are_the_mean_whitened_embedding_and_the_number_of_images():
    rng = np.random.default_rng(0)
    image_product = np.array([0, 0, 0, 1, 3, 3])
    embeddings = rng.normal(size=(6, 5)).astype(np.float16)
    scale = np.array([1, 2, 0.5, 10, 0], np.float32)
    columns = image_columns(catalog(image_product, 4), embeddings, scale)
    assert (columns.shape, columns.dtype) == ((4, 6), np.float32)
    for product in (0, 1, 3):
        images = embeddings[image_product == product].astype(float)
        np.testing.assert_allclose(columns[product, :5], images.mean(axis=0) * scale, rtol=1e-5)
    assert columns[:, 5].tolist() == [3, 1, 0, 2]


def test_a_product_without_images_has_no_embedding():
    columns = image_columns(catalog([1], 3), np.ones((1, 2), np.float16), np.ones(2, np.float32))
    assert np.isnan(columns[:, :2]).all(axis=1).tolist() == [True, False, True]


def test_only_the_first_axes_of_long_embeddings_count():
    embeddings = np.arange(100, dtype=np.float16)[None]
    columns = image_columns(catalog([0], 1), embeddings, np.ones(100, np.float32))
    assert columns[0].tolist() == [*range(NUM_DIMS), 1]


def test_few_labelled_products_are_far():
    nearest = np.random.default_rng(0).permutation(1000) / 1000
    limit = far_limit(nearest.astype(np.float32))
    assert (nearest < limit).mean() == pytest.approx(FAR_QUANTILE)


def test_products_without_images_do_not_move_the_limit():
    nearest = np.linspace(0, 1, 200).astype(np.float32)
    none = np.full(50, -np.inf, np.float32)
    assert far_limit(np.concatenate([none, nearest])) == far_limit(nearest)
    assert far_limit(none) == -1.0
