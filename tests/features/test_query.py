"""Rows and images of queried products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
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
