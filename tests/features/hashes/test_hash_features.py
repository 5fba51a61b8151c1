"""Features of images and of sets against loops, and a booster on random labels."""

from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from lib.data.catalog import Catalog
from lib.features.hashes import hash_lookup
from lib.features.hashes.hash_features import (
    HashFeatures,
    image_hash_features,
    image_set_features,
    lookup_hash_features,
)
from lib.features.hashes.hash_lookup import ReferenceProducts
from lib.features.query import Query, make_query
from tests.features.toy_catalog import random_catalog, with_labels

CLASSES = 14  # more than a placeholder needs
few = settings(max_examples=12, deadline=None)  # the loops are slow


def lookup_all(
    labelled: Catalog, fold: np.ndarray, prefix: str = "hash"
) -> tuple[Query, HashFeatures]:
    """Look up all products of a labelled catalog: their images and sets."""
    query, whole = make_query(labelled, np.arange(len(labelled.label))), np.ones(len(fold), bool)
    references = ReferenceProducts(labelled, whole, fold)
    return query, lookup_hash_features(prefix, references, labelled, query, fold, 5, True)


def all_rows(products: int) -> tuple[np.ndarray, np.ndarray]:
    class_id = np.tile(np.arange(CLASSES, dtype=np.int16), products)
    return np.repeat(np.arange(products), CLASSES), class_id


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 60]))
def test_sums_over_the_product_equal_a_loop(seed: int, num_images: int) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, 60, num_images, CLASSES, placeholder=0.3)
    query, hashes = lookup_all(labelled, rng.integers(0, 3, 60).astype(np.int8))
    query_row, class_id = all_rows(60)
    table = image_hash_features(query, hashes.images, query_row, class_id)
    for row in rng.choice(len(query_row), 60).tolist():
        first = query.image_start[query_row[row]]
        own = np.arange(first, first + query.image_count[query_row[row]])
        with_holders = [image for image in own.tolist() if hashes.images.total[image] > 0]
        clear = [image for image in with_holders if not hashes.images.placeholder[image]]

        def shares(some: list[int], row: int = row) -> list[float]:
            count = hashes.images.count_of(np.array(some, int), np.full(len(some), class_id[row]))
            return (count / hashes.images.total[some]).tolist()

        all_of_class = sum(share == 1 for share in shares(with_holders))
        expected = {
            "entropy": np.mean(hashes.images.entropy[with_holders]) if with_holders else np.nan,
            "unanimous": all_of_class if len(own) else np.nan,
            "l1": np.mean(shares(with_holders)) if with_holders else np.nan,
            "placeholders": hashes.images.placeholder[own].sum() if len(own) else np.nan,
            "clear_l1": np.mean(shares(clear)) if clear else np.nan,
        }
        for at, image in enumerate(own[:4]):
            count = hashes.images.count_of(np.array([image]), class_id[[row]])[0]
            expected[f"count_{at}"] = count
            expected[f"share_{at}"] = shares([image])[0] if image in with_holders else np.nan
        for at in range(len(own), 4):
            expected |= {f"count_{at}": np.nan, f"share_{at}": np.nan}
        for name, value in expected.items():
            np.testing.assert_allclose(table[f"hash_{name}"][row], value, rtol=1e-5, err_msg=name)


def test_the_cases_have_placeholders_beside_other_images() -> None:
    """Otherwise the loop above would never see the two kinds of l1 differ."""
    rng = np.random.default_rng(0)
    labelled = random_catalog(rng, 60, 60, CLASSES, placeholder=0.3)
    query, hashes = lookup_all(labelled, rng.integers(0, 3, 60).astype(np.int8))
    table = image_hash_features(query, hashes.images, *all_rows(60))
    assert (table["hash_placeholders"] > 0).any()
    both = np.isfinite(table["hash_clear_l1"])
    assert (table["hash_clear_l1"][both] != table["hash_l1"][both]).any()


def test_the_l1_frequencies_of_a_product_add_up_to_one() -> None:
    rng = np.random.default_rng(1)
    labelled = random_catalog(rng, 60, 20, CLASSES)
    query, hashes = lookup_all(labelled, np.full(60, -1, np.int8))
    l1 = image_hash_features(query, hashes.images, *all_rows(60))["hash_l1"].reshape(60, CLASSES)
    some = np.isfinite(l1[:, 0])
    assert 0 < some.sum() < 60
    np.testing.assert_allclose(l1[some].sum(axis=1), 1, rtol=1e-6)


@few
@given(st.integers(0, 2**32 - 1))
def test_features_of_sets_equal_a_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labelled = random_catalog(rng, 40, 3, CLASSES)
    query, hashes = lookup_all(labelled, np.full(40, -1, np.int8))
    query_row, class_id = all_rows(40)
    table = image_set_features(query, hashes.sets, query_row, class_id)
    md5s = [tuple(md5) for md5 in labelled.md5.tolist()]
    sets = [{md5s[image] for image in labelled.images_of(np.array([one]))} for one in range(40)]
    for row in rng.choice(len(query_row), 60).tolist():
        own_set = sets[query_row[row]]
        others = [p for p in range(40) if p != query_row[row] and own_set and sets[p] == own_set]
        same_class = sum(labelled.label[others] == class_id[row])
        expected = [same_class, same_class / len(others) if others else np.nan, len(others)]
        if not own_set:
            expected = [np.nan] * 3
        values = [table[f"hash_set_{name}"][row] for name in ("count", "share", "total")]
        np.testing.assert_allclose(values, expected)


def test_a_prefix_changes_only_names() -> None:
    rng = np.random.default_rng(2)
    labelled = random_catalog(rng, 40, 20, CLASSES)
    query, hashes = lookup_all(labelled, np.full(40, -1, np.int8))
    query_row, class_id = all_rows(40)

    plain = hashes.columns(query, query_row, class_id, raw=True)
    phash = lookup_all(labelled, np.full(40, -1, np.int8), "phash")[1].columns(
        query, query_row, class_id, raw=True
    )
    assert all(name.startswith("hash_") for name in plain)
    assert {"hash_count_0", "hash_set_share", "hash_class_3_4"} <= set(plain)
    assert set(plain) - set(hashes.columns(query, query_row, class_id, raw=False)) == {
        f"hash_{kind}_{at}_{rank}"
        for kind in ("freq", "class")
        for at in "0123"
        for rank in range(5)
    }
    assert [name.replace("hash_", "phash_", 1) for name in plain] == list(phash)
    for one, other in zip(plain.values(), phash.values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_features_of_no_rows_or_no_images_are_nan() -> None:
    rng = np.random.default_rng(3)
    labelled = random_catalog(rng, 5, 20, CLASSES, max_images=0)
    query, hashes = lookup_all(labelled, np.full(5, -1, np.int8))
    for query_row, class_id in (all_rows(5), all_rows(0)):
        table = hashes.columns(query, query_row, class_id, raw=False)
        for column in table.values():
            assert len(column) == len(query_row)
            assert np.isnan(column).all()


def out_of_fold_auc(sets_alone: bool) -> float:
    """AUC of a booster on random labels: 2,000 products, a placeholder on half of the images."""
    rng = np.random.default_rng(0)
    labelled = random_catalog(rng, 2000, 1500, max_images=2, placeholder=0.5)
    labelled = with_labels(labelled, rng.integers(0, CLASSES, 2000))
    fold = rng.integers(0, 4, 2000).astype(np.int8)
    query, hashes = lookup_all(labelled, fold)
    query_row, class_id = all_rows(2000)
    some = rng.random(len(query_row)) < 0.4
    query_row, class_id = query_row[some], class_id[some]
    table: dict[str, Any] = {"class": class_id} | image_set_features(
        query, hashes.sets, query_row, class_id
    )
    if not sets_alone:
        table |= image_hash_features(query, hashes.images, query_row, class_id)
    values = np.stack(list(table.values()), axis=1).astype(np.float32)
    target, score = labelled.label[query_row] == class_id, np.zeros(len(query_row))
    for left_out in range(4):
        with_holders = fold[query_row] == left_out
        booster = lightgbm.LGBMClassifier(n_estimators=40, verbose=-1, n_jobs=1, random_state=0)
        booster.fit(values[~with_holders], target[~with_holders])
        score[with_holders] = booster.booster_.predict(values[with_holders])
    return float(roc_auc_score(target, score))


@pytest.mark.parametrize("sets_alone", [True, False])
def test_random_labels_give_an_auc_of_chance(sets_alone: bool) -> None:
    assert abs(out_of_fold_auc(sets_alone) - 0.5) < 0.04


def test_leaving_out_only_the_own_product_gives_more_than_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why sets with many holders leave out the fold, and proof that the test above can fail."""
    monkeypatch.setattr(hash_lookup, "CROWD", 10**9)
    assert out_of_fold_auc(sets_alone=True) > 0.57
