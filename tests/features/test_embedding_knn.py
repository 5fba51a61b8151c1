"""Who is asked about what, and the columns that come of it."""

from dataclasses import replace

import numpy as np
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
    catalog = random_catalog(rng, PRODUCTS, 30, most_images=3)
    parts = splits(rng, PRODUCTS, folds=4)
    asked = make_query(catalog, parts.products(part))
    embeddings = [
        rng.normal(size=(len(catalog.image_product), 5)).astype(np.float16) for _ in range(folds)
    ]
    indexes = [
        FoldIndex(one, one, *role)
        for one, role in zip(
            embeddings, fold_assignments(parts, folds, part, asked.products), strict=True
        )
    ]
    query_row = np.repeat(np.arange(len(asked.products)), CLASSES)
    class_id = np.tile(np.arange(CLASSES, dtype=np.int16), len(asked.products))
    return catalog, parts, asked, indexes, query_row, class_id


def all_features(catalog, asked, indexes, query_row, class_id):
    return knn_features(
        indexes, catalog, asked, query_row, class_id, "m", Run()
    ) | similar_id_features(indexes, catalog, catalog, asked, query_row, class_id, (3, 9), "m")


@pytest.mark.parametrize("part", ["fit", "holdout", "locked"])
def test_no_network_is_asked_about_what_it_has_seen(part: str) -> None:
    _, parts, asked, indexes, _, _ = make_case(1, part)
    times = np.zeros(len(asked.products), int)
    for fold_number, index in enumerate(indexes):
        assert not np.intersect1d(asked.products[index.query_rows], index.reference_products).size
        assert (parts.part[index.reference_products] == 0).all()
        assert (parts.fold[index.reference_products] % FOLDS != fold_number).all()
        times[index.query_rows] += 1
    assert (times == (1 if part == "fit" else FOLDS)).all()


def test_a_model_of_one_network_answers_with_all_of_fit() -> None:
    _, parts, asked, indexes, _, _ = make_case(2, "holdout", folds=1)
    np.testing.assert_array_equal(indexes[0].reference_products, parts.products("fit"))
    np.testing.assert_array_equal(indexes[0].query_rows, np.arange(len(asked.products)))


def test_a_row_sees_no_label_of_its_fold_nor_of_locked() -> None:
    catalog, parts, asked, indexes, query_row, class_id = make_case(3, "fit")
    before = all_features(catalog, asked, indexes, query_row, class_id)
    rng = np.random.default_rng(0)
    for fold in range(4):
        label = catalog.label.copy()
        hidden = ((parts.part == 0) & (parts.fold == fold)) | (parts.part != 0)
        label[hidden] = rng.integers(0, CLASSES, hidden.sum())
        after = all_features(with_labels(catalog, label), asked, indexes, query_row, class_id)
        own = parts.fold[asked.products[query_row]] == fold
        for name in before:
            np.testing.assert_array_equal(before[name][own], after[name][own], err_msg=name)
        assert any((before[name][~own] != after[name][~own]).any() for name in before)


def test_columns_equal_loops() -> None:
    catalog, _, asked, indexes, query_row, class_id = make_case(4, "locked")
    table = all_features(catalog, asked, indexes, query_row, class_id)

    def unit(vectors: np.ndarray) -> np.ndarray:
        vectors = vectors.astype(np.float64)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    for place in range(len(asked.products)):
        rows = np.flatnonzero(query_row == place)
        images = asked.images[
            asked.image_start[place] : asked.image_start[place] + asked.image_count[place]
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
        np.testing.assert_allclose(table["m_closest_score"][rows], score, rtol=1e-3)
        np.testing.assert_allclose(table["m_closest_cos"][rows], cos, rtol=1e-3)
        share = score / score.sum()
        np.testing.assert_allclose(table["m_closest_share"][rows], share, rtol=1e-3)
        rank = np.argsort(np.argsort(-score))
        np.testing.assert_array_equal(table["m_closest_rank"][rows], rank)
        other = [max(np.delete(cos, one)) for one in range(CLASSES)]
        np.testing.assert_allclose(table["m_closest_gap"][rows], cos - other, atol=1e-3)


@pytest.mark.parametrize("part", ["fit", "locked"])
def test_proposed_classes_are_voted_by_all_networks_asked(part: str) -> None:
    catalog, _, asked, indexes, _, _ = make_case(5, part)
    proposed = propose_classes(indexes, catalog, asked, 2, Run())
    assert proposed.shape == (len(asked.images), 2)
    query_row = asked.query_row_of_image()
    for row in range(len(query_row)):
        votes: dict[int, float] = {}
        for index in indexes:
            if query_row[row] not in index.query_rows:
                continue
            reference = catalog.images_of(index.reference_products)
            embeddings = index.labelled_embeddings[reference].astype(np.float64)
            embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
            own = index.query_embeddings[asked.images[row]].astype(np.float64)
            cosine = embeddings @ own / np.linalg.norm(own)
            for place in np.argsort(-cosine)[:2]:
                one = int(catalog.label[catalog.image_product[reference[place]]])
                votes[one] = votes.get(one, 0.0) + ((1 + cosine[place]) / 2) ** 35
        expected = sorted(votes, key=lambda one: -votes[one])[:2]
        assert proposed[row].tolist() == expected + [-1] * (2 - len(expected))


def test_which_network_is_asked_has_no_say_in_the_places() -> None:
    catalog, _, asked, indexes, _, _ = make_case(7, "fit")
    proposed = propose_classes(indexes, catalog, asked, 3, Run())
    query_row = asked.query_row_of_image()
    for index in indexes:
        is_queried = np.isin(query_row, index.query_rows)
        assert is_queried.any()
        assert (proposed[is_queried, 0] >= 0).all()


def test_names_lie_near_no_number() -> None:
    catalog, _, asked, indexes, query_row, class_id = make_case(6, "locked")
    named = replace(catalog, keys=np.array(["a"] * PRODUCTS))
    table = similar_id_features(indexes, catalog, named, asked, query_row, class_id, (3,), "m")
    assert all(np.isnan(column).all() for column in table.values())
