"""Tables read side by side: scores of the layer below, and priors instead of class codes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features import table
from lib.features.table import FeatureTable

CLASSES = 30


def test_score_features_are_score_share_and_rank():
    product = np.array([4, 4, 9], np.int32)
    score = np.array([0.1, 0.3, 0.8], np.float32)
    columns = table.score_features({"xgboost": score, "catboost": 1 - score}, product)
    assert columns.names[:3] == ["xgboost_score", "xgboost_share", "xgboost_rank"]
    np.testing.assert_allclose(
        columns.values[:, :3], [[0.1, 0.25, 1], [0.3, 0.75, 0], [0.8, 1, 0]], rtol=1e-6
    )
    np.testing.assert_allclose(columns.values[0, 3:], [0.9, 0.9 / 1.6, 0], rtol=1e-6)
    with pytest.raises(ValueError, match="catboost: 1 rows are unscored"):
        table.score_features({"catboost": np.array([0.1, np.nan, 0.8])}, product)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20))
def test_class_codes_become_priors_as_the_row_may_see_them(seed, products):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, products)
    product = np.repeat(np.arange(products, dtype=np.int32) * 3, sizes)
    class_id = np.concatenate([np.sort(rng.choice(CLASSES, size, replace=False)) for size in sizes])
    of_product = rng.random((products, CLASSES))  # as if each product had a fold of its own
    common = FeatureTable(
        np.column_stack([class_id, of_product[product // 3, class_id]]).astype(np.float32),
        ["candidate_class", "global_prior"],
        ["candidate_class"],
    )
    coded = rng.integers(-1, CLASSES, (len(product), 2)).astype(np.float32)
    number = rng.random((len(product), 1)).astype(np.float32)
    raw = FeatureTable(np.hstack([coded, number]), ["top", "hash", "prob"], ["top", "hash"])
    replaced = table.target_encode(raw, common, product)
    assert replaced.names == ["top_prior", "hash_prior", "prob"]
    assert replaced.categorical == []
    rows = rng.integers(0, len(product), 15)
    read = table.JoinedTables([replaced, common]).read(rows)
    pairs = zip(product.tolist(), class_id.tolist(), strict=True)
    prior_of = dict(zip(pairs, common.values[:, 1], strict=True))
    for at, row in enumerate(rows):
        for place in range(2):
            expected = prior_of.get((product[row], int(coded[row, place])), np.nan)
            np.testing.assert_equal(read[at, place], expected)
        assert read[at, 2] == number[row, 0]
        assert read[at, 3] == class_id[row]
    assert np.array_equal(raw.values[:, :2], coded)


def test_joined_tables_list_all_columns_and_those_with_class_codes():
    one = FeatureTable(np.array([[1, 2], [3, 4]], np.float32), ["a", "code"], ["code"])
    two = FeatureTable(np.array([[5], [6]], np.float32), ["other"], ["other"])
    joined = table.JoinedTables([one, two])
    assert (joined.rows, joined.names, joined.categorical) == (2, ["a", "code", "other"], [1, 2])
    assert joined.read(np.array([1, 1, 0])).tolist() == [[3, 4, 6], [3, 4, 6], [1, 2, 5]]
    with pytest.raises(ValueError, match=r"tables of \[1, 2\] rows"):
        table.JoinedTables([one, FeatureTable(two.values[:1], ["other"], [])])


def test_unsorted_rows_are_refused():
    common = FeatureTable(
        np.array([[5, 0.1], [3, 0.2]], np.float32), ["candidate_class", "global_prior"], []
    )
    with pytest.raises(ValueError, match="not sorted by \\(product, class\\)"):
        table.target_encode(common, common, np.array([1, 1], np.int32))
    with pytest.raises(ValueError, match="not sorted by group"):
        table.target_encode(common, common, np.array([2, 1], np.int32))
