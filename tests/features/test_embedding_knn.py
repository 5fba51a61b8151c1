"""References and queries of fold models, and k-NN features against loops."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from lib.config.schema import Run
from lib.features.embedding_knn import (
    FoldIndex,
    fold_assignments,
    knn_features,
    propose_classes,
)
from lib.features.query import make_query
from lib.features.similar_ids import similar_id_features
from tests.features.toy_catalog import CLASSES, random_catalog, splits, with_labels

FOLDS, PRODUCTS = 2, 300


def make_case(seed: int, part: str, folds: int = FOLDS):
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, PRODUCTS, 30, max_images=3)
    parts = splits(rng, PRODUCTS, folds=4)
    query = make_query(catalog, parts.products(part))
    embeddings = [
        rng.normal(size=(len(catalog.image_product), 5)).astype(np.float16) for _ in range(folds)
    ]
    indexes = [
        FoldIndex(one, one, *role)
        for one, role in zip(
            embeddings, fold_assignments(parts, folds, part, query.products), strict=True
        )
    ]
    query_row = np.repeat(np.arange(len(query.products)), CLASSES)
    class_id = np.tile(np.arange(CLASSES, dtype=np.int16), len(query.products))
    return catalog, parts, query, indexes, query_row, class_id


def all_features(catalog, query, indexes, query_row, class_id):
    return knn_features(
        indexes, catalog, query, query_row, class_id, "m", Run()
    ) | similar_id_features(indexes, catalog, catalog, query, query_row, class_id, (3, 9), "m")


@pytest.mark.parametrize("part", ["fit", "holdout", "locked"])
def test_no_network_is_queried_with_its_training_products(part: str) -> None:
    _, parts, query, indexes, _, _ = make_case(1, part)
    times = np.zeros(len(query.products), int)
    for fold_number, index in enumerate(indexes):
        assert not np.intersect1d(query.products[index.query_rows], index.reference_products).size
        assert (parts.part[index.reference_products] == 0).all()
        assert (parts.fold[index.reference_products] % FOLDS != fold_number).all()
        times[index.query_rows] += 1
    assert (times == (1 if part == "fit" else FOLDS)).all()


def test_the_references_of_a_single_network_are_all_of_fit() -> None:
    _, parts, query, indexes, _, _ = make_case(2, "holdout", folds=1)
    np.testing.assert_array_equal(indexes[0].reference_products, parts.products("fit"))
    np.testing.assert_array_equal(indexes[0].query_rows, np.arange(len(query.products)))


def test_a_row_sees_no_label_of_its_fold_nor_of_locked() -> None:
    catalog, parts, query, indexes, query_row, class_id = make_case(3, "fit")
    before = all_features(catalog, query, indexes, query_row, class_id)
    rng = np.random.default_rng(0)
    for fold in range(4):
        label = catalog.label.copy()
        hidden = ((parts.part == 0) & (parts.fold == fold)) | (parts.part != 0)
        label[hidden] = rng.integers(0, CLASSES, hidden.sum())
        after = all_features(with_labels(catalog, label), query, indexes, query_row, class_id)
        own = parts.fold[query.products[query_row]] == fold
        for name in before:
            np.testing.assert_array_equal(before[name][own], after[name][own], err_msg=name)
        assert any((before[name][~own] != after[name][~own]).any() for name in before)


def test_knn_features_equal_loops() -> None:
    catalog, _, query, indexes, query_row, class_id = make_case(4, "locked")
    table = all_features(catalog, query, indexes, query_row, class_id)

    def unit(vectors: np.ndarray) -> np.ndarray:
        vectors = vectors.astype(np.float64)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    for product_row in range(len(query.products)):
        rows = np.flatnonzero(query_row == product_row)
        images = query.images[
            query.image_start[product_row] : query.image_start[product_row]
            + query.image_count[product_row]
        ]
        if not len(images):
            assert all(np.isnan(table[name][rows]).all() for name in table)
            continue
        score, cos = np.zeros(CLASSES), np.zeros(CLASSES)
        for index in indexes:
            reference = catalog.images_of(index.reference_products)
            label = catalog.label[catalog.image_product[reference]]
            cosine = (
                unit(index.query_embeddings[images]) @ unit(index.labelled_embeddings[reference]).T
            )
            for one in range(CLASSES):
                five = -np.sort(-cosine[:, label == one], axis=1)[:, :5]
                likeness = ((1 + five) / 2) ** 35
                score[one] += likeness.sum() / len(images) / FOLDS
                cos[one] += five.max() / FOLDS
        np.testing.assert_allclose(table["m_knn_score"][rows], score, rtol=1e-3)
        np.testing.assert_allclose(table["m_knn_cos"][rows], cos, rtol=1e-3)
        share = score / score.sum()
        np.testing.assert_allclose(table["m_knn_share"][rows], share, rtol=1e-3)
        rank = np.argsort(np.argsort(-score))
        np.testing.assert_array_equal(table["m_knn_rank"][rows], rank)
        other = [max(np.delete(cos, one)) for one in range(CLASSES)]
        np.testing.assert_allclose(table["m_knn_gap"][rows], cos - other, atol=1e-3)


@pytest.mark.parametrize("part", ["fit", "locked"])
def test_proposed_classes_are_voted_by_all_networks_queried(part: str) -> None:
    catalog, _, query, indexes, _, _ = make_case(5, part)
    proposed = propose_classes(indexes, catalog, query, 2, Run())
    assert proposed.shape == (len(query.images), 2)
    query_row = query.query_row_of_image()
    for row in range(len(query_row)):
        votes: dict[int, float] = {}
        for index in indexes:
            if query_row[row] not in index.query_rows:
                continue
            reference = catalog.images_of(index.reference_products)
            embeddings = index.labelled_embeddings[reference].astype(np.float64)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            own = index.query_embeddings[query.images[row]].astype(np.float64)
            cosine = embeddings @ own / np.linalg.norm(own)
            for product_row in np.argsort(-cosine)[:2]:
                one = int(catalog.label[catalog.image_product[reference[product_row]]])
                votes[one] = votes.get(one, 0.0) + ((1 + cosine[product_row]) / 2) ** 35
        expected = sorted(votes, key=lambda one: -votes[one])[:2]
        assert proposed[row].tolist() == expected + [-1] * (2 - len(expected))


def test_ranks_do_not_depend_on_which_network_is_queried() -> None:
    catalog, _, query, indexes, _, _ = make_case(7, "fit")
    proposed = propose_classes(indexes, catalog, query, 3, Run())
    query_row = query.query_row_of_image()
    for index in indexes:
        is_queried = np.isin(query_row, index.query_rows)
        assert is_queried.any()
        assert (proposed[is_queried, 0] >= 0).all()


def test_names_lie_near_no_number() -> None:
    catalog, _, query, indexes, query_row, class_id = make_case(6, "locked")
    named = replace(catalog, keys=pa.chunked_array([["a"] * PRODUCTS]))
    table = similar_id_features(indexes, catalog, named, query, query_row, class_id, (3,), "m")
    assert all(np.isnan(column).all() for column in table.values())
