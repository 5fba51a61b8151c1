"""Rows and images of queried products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.features import query as module
from lib.features.query import check_topks, make_query
from tests.features.toy_catalog import random_catalog, random_topk

untimed = settings(deadline=None)  # the machine may be busy

seeds = st.integers(0, 2**32 - 1)


@untimed
@given(seeds)
def test_positions_and_pairs_give_images_of_the_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, 15, 10)
    query = make_query(catalog, np.flatnonzero(rng.random(15) < 0.6))
    query_row = (
        np.sort(rng.integers(0, len(query.products), 20)) if len(query.products) else np.empty(0)
    )
    query_row = query_row.astype(np.int64)
    row, image = query.row_image_pairs(query_row)
    products = query.products[query_row]
    assert (catalog.image_product[query.images[image]] == products[row]).all()
    np.testing.assert_array_equal(
        np.bincount(row, minlength=len(query_row)), catalog.image_count[products]
    )
    assert len(set(zip(row.tolist(), image.tolist(), strict=True))) == len(row)
    for position in range(6):
        at = query.image_at(query_row, position)
        has_image = at >= 0
        np.testing.assert_array_equal(has_image, catalog.image_count[products] > position)
        assert (catalog.image_position[query.images[at[has_image]]] == position).all()
        assert (catalog.image_product[query.images[at[has_image]]] == products[has_image]).all()


def test_predictions_of_other_images_are_refused() -> None:
    catalog = random_catalog(np.random.default_rng(0), 15, 10)
    query = make_query(catalog, np.arange(5))
    good, _ = random_topk(np.random.default_rng(0), query.images)
    check_topks(query, [good], ["small"])
    bad, _ = random_topk(np.random.default_rng(0), query.images + 1)
    with pytest.raises(UserError, match=r"predictions of other.*03_predict_tta"):
        check_topks(query, [good, bad], ["small", "other"])


@untimed
@given(seeds, st.integers(1, 9))
def test_partitions_of_rows_end_between_products_and_cover_them(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    product = np.sort(rng.integers(0, 12, rng.integers(0, 30))).astype(np.int32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PARTITION_ROWS", size)
        slices = list(module.row_partitions(product))
    assert [row for some in slices for row in range(some.start, some.stop)] == list(
        range(len(product))
    )
    for some in slices:
        assert not np.isin(product[some], np.delete(product, some)).any()
        first_of_last = np.searchsorted(product, product[some][-1:])
        assert (first_of_last < some.start + size).all()


@untimed
@given(seeds)
def test_rows_of_neighboring_products_are_a_slice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    products = np.flatnonzero(rng.random(20) < 0.6)
    product = np.sort(rng.choice(products, 30)).astype(np.int32) if len(products) else products
    first, last = np.sort(rng.integers(0, len(products) + 1, 2))
    some = module.rows_of_products(product, products[first:last])
    expected = np.flatnonzero(np.isin(product, products[first:last]))
    np.testing.assert_array_equal(np.arange(len(product))[some], expected)


@untimed
@given(seeds)
def test_images_of_products_in_any_order_are_found_without_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, 15, 10)
    products = rng.integers(0, 15, rng.integers(0, 20))
    expected = np.flatnonzero(np.isin(catalog.image_product, products))
    np.testing.assert_array_equal(catalog.images_of(products), expected)
