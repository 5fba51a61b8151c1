"""Probabilities, means over models and images, and features against dense arrays."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.features import network
from lib.features.network import best_classes, lookup_probs, network_features, weighted_mean
from lib.features.query import Query, make_query
from lib.inference.topk import TopK
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk

untimed = settings(deadline=None)  # the machine may be busy

seeds = st.integers(0, 2**32 - 1)


def dense_from(topk: TopK) -> np.ndarray:
    """[n, classes] with the floor wherever a class is not listed."""
    n, k = topk.classes.shape
    floor = np.minimum(topk.rest / max(CLASSES - k, 1), topk.probs[:, -1])
    dense = np.repeat(floor[:, None], CLASSES, axis=1)
    for row in range(n):
        dense[row, topk.classes[row]] = topk.probs[row]
    return dense


@untimed
@given(seeds, st.integers(1, CLASSES))
def test_a_probability_is_listed_or_a_share_of_the_rest(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    topk, dense = random_topk(rng, np.arange(9), k)
    row, class_id = np.divmod(np.arange(9 * CLASSES), CLASSES)
    found = lookup_probs(topk, row, class_id, CLASSES).reshape(9, CLASSES)
    np.testing.assert_allclose(found, dense_from(topk), rtol=1e-5)
    listed = np.zeros((9, CLASSES), bool)
    np.put_along_axis(listed, topk.classes.astype(np.int64), True, axis=1)
    np.testing.assert_array_equal(found[listed], dense[listed])
    # Float32 may round a rest to zero; wherever it did not, no class is impossible.
    some_left = ((topk.rest > 0) & (topk.probs[:, -1] > 0))[:, None] & ~listed
    assert (found[some_left] > 0).all()


@untimed
@given(seeds, st.integers(1, 3))
def test_the_mean_of_complete_lists_is_the_dense_mean(seed: int, models: int) -> None:
    """With every class listed there is no floor, so the mean is exact."""
    rng = np.random.default_rng(seed)
    topks = [random_topk(rng, np.arange(6), CLASSES) for _ in range(models)]
    weights = rng.random(models) + 0.1
    found = weighted_mean([topk for topk, _ in topks], weights.tolist(), CLASSES)
    exact = np.average([dense for _, dense in topks], axis=0, weights=weights)
    np.testing.assert_allclose(dense_from(found), exact, rtol=1e-4, atol=1e-6)
    assert (np.diff(found.probs, axis=1) <= 0).all()


@untimed
@given(seeds, st.integers(1, 4))
def test_the_mean_of_short_lists_has_the_best_of_the_union(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    topks = [random_topk(rng, np.arange(6), k)[0] for _ in range(3)]
    found = weighted_mean(topks, [1, 2, 3], CLASSES)
    assert found.classes.shape == (6, k)
    dense = np.average([dense_from(topk) for topk in topks], axis=0, weights=[1, 2, 3])
    for row in range(6):
        union = sorted({int(class_id) for topk in topks for class_id in topk.classes[row]})
        assert len(set(found.classes[row].tolist())) == k
        best = sorted((dense[row, class_id] for class_id in union), reverse=True)[:k]
        np.testing.assert_allclose(found.probs[row], best, rtol=1e-5)
        np.testing.assert_allclose(dense[row, found.classes[row]], best, rtol=1e-5)
        assert found.rest[row] == pytest.approx(1 - sum(best), abs=1e-5)


def test_texts_stand_for_an_image_of_products_without_any() -> None:
    """As if these products had one image, which only the model of texts has seen."""
    rng = np.random.default_rng(0)
    catalog = random_catalog(rng, 40, 60)
    query = make_query(catalog, np.arange(40))
    alone = np.flatnonzero(query.image_count == 0)
    assert len(alone) > 3
    pictures, texts = (random_topk(rng, query.images)[0] for _ in range(2))
    texts = replace(texts, imageless=random_topk(rng, alone)[0])
    rows, classes = np.divmod(np.arange(40 * CLASSES), CLASSES)
    found = network_features(query, texts, "a", rows, classes.astype(np.int16), CLASSES)
    before = network_features(query, pictures, "a", rows, classes.astype(np.int16), CLASSES)
    dense = dense_from(texts.imageless)
    for name in ("a_prob_0", "a_mean", "a_max", "a_geometric"):
        np.testing.assert_allclose(found[name][np.isin(rows, alone)], dense.ravel(), rtol=1e-5)
        assert np.isnan(before[name][np.isin(rows, alone)]).all()
    assert np.isnan(found["a_prob_1"][np.isin(rows, alone)]).all()
    plain = network_features(
        query, replace(texts, imageless=None), "a", rows, classes.astype(np.int16), CLASSES
    )
    for name, values in plain.items():  # others are as they were
        np.testing.assert_array_equal(
            values[~np.isin(rows, alone)], found[name][~np.isin(rows, alone)]
        )
    both, weights = [pictures, texts], [0.7, 0.3]
    mean = weighted_mean(both, weights, CLASSES)
    np.testing.assert_allclose(mean.imageless.probs, texts.imageless.probs, rtol=1e-6)
    for how in ("arithmetic", "geometric"):
        best = best_classes(query, both, weights, CLASSES, how)
        np.testing.assert_array_equal(best[alone], texts.imageless.classes[:, 0])
        without = best_classes(
            query, [pictures, replace(texts, imageless=None)], weights, CLASSES, how
        )
        assert (without[alone] == -1).all()
        np.testing.assert_array_equal(np.delete(best, alone), np.delete(without, alone))
    raw = network.raw_network_features(query, texts, "a", rows, 2)
    np.testing.assert_array_equal(
        raw["a_top_class_0_1"][np.isin(rows, alone)],
        np.repeat(texts.imageless.classes[:, 1], CLASSES),
    )
    score = network.geometric_mean(query, texts, rows, classes.astype(np.int16), CLASSES)
    np.testing.assert_allclose(score[np.isin(rows, alone)], dense.ravel(), rtol=1e-5)


def test_the_mean_of_one_model_is_that_model() -> None:
    topk, _ = random_topk(np.random.default_rng(0), np.arange(50))
    found = weighted_mean([topk], [4.0], CLASSES)
    np.testing.assert_array_equal(found.classes, topk.classes)
    np.testing.assert_allclose(found.probs, topk.probs, rtol=1e-6)


@untimed
@given(seeds, st.sampled_from(["arithmetic", "geometric"]), st.integers(1, CLASSES))
def test_best_classes_equal_a_loop(seed: int, how: str, k: int) -> None:
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, 12, 30)
    query = make_query(catalog, np.flatnonzero(rng.random(12) < 0.8))
    topks = [random_topk(rng, query.images, k)[0] for _ in range(2)]
    found = best_classes(query, topks, [3, 1], CLASSES, how)
    dense = [dense_from(topk) for topk in topks]
    for query_row, product in enumerate(query.products):
        images = np.flatnonzero(catalog.image_product[query.images] == product)
        if not len(images):
            assert found[query_row] == -1
            continue
        listed = np.unique([topk.classes[images] for topk in topks])
        stacked = np.array([part[images] for part in dense])
        if how == "geometric":
            stacked = np.log(np.maximum(stacked, network.MIN_PROB))
        score = np.average(stacked.mean(axis=1), axis=0, weights=[3, 1])
        assert found[query_row] in listed
        assert score[found[query_row]] == pytest.approx(score[listed].max(), rel=1e-5)


def test_arithmetic_and_geometric_means_differ() -> None:
    """One confident image against an uncertain one: only the arithmetic mean follows it."""
    query = Query(np.arange(1), np.arange(2), np.array([0]), np.array([2]))
    classes = np.tile(np.arange(3, dtype=np.int16), (2, 1))
    classes[1] = [1, 2, 0]
    probs = np.array([[0.9, 0.06, 0.04], [0.5, 0.4998, 0.0001]], np.float32)
    topk = TopK(query.images, classes, probs, np.zeros(2, np.float32))
    assert best_classes(query, [topk], [1], 3, "arithmetic").tolist() == [0]
    assert best_classes(query, [topk], [1], 3, "geometric").tolist() == [1]


def test_chunk_sizes_do_not_change_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    topks = [random_topk(rng, np.arange(40))[0] for _ in range(2)]
    whole = weighted_mean(topks, [1, 1], CLASSES)
    monkeypatch.setattr(network, "CHUNK", 7)
    pieces = weighted_mean(topks, [1, 1], CLASSES)
    np.testing.assert_array_equal(whole.classes, pieces.classes)
    np.testing.assert_array_equal(whole.probs, pieces.probs)


@untimed
@given(seeds, st.sampled_from([0.0, 1e-4, 1e-3, 30.0]))
def test_rounding_to_float16_puts_no_unlisted_class_before_a_listed_one(
    tmp_path_factory: pytest.TempPathFactory, seed: int, spread: float
) -> None:
    """Nearly uniform or very sharp predictions, as they come back from disk."""
    rng = np.random.default_rng(seed)
    num_classes, k = 1000, 5
    logits = rng.normal(size=(20, num_classes)) * spread
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    classes = np.argsort(-probs, axis=1, kind="stable")[:, :k].astype(np.int16)
    listed = np.take_along_axis(probs, classes.astype(np.int64), axis=1)
    folder = tmp_path_factory.mktemp("topk")
    TopK(np.arange(20), classes, listed, 1 - listed.sum(axis=1)).save(folder)
    topk = TopK.load(folder)
    for mean in (topk, weighted_mean([topk, topk], [1, 1], num_classes)):
        row, class_id = np.divmod(np.arange(20 * num_classes), num_classes)
        prob = lookup_probs(mean, row, class_id, num_classes).reshape(20, num_classes)
        is_listed = np.zeros(prob.shape, bool)
        np.put_along_axis(is_listed, mean.classes.astype(np.int64), True, axis=1)
        assert (prob.max(axis=1, where=~is_listed, initial=0) <= mean.probs[:, -1]).all()


def test_the_rest_alone_would_put_an_unlisted_class_first() -> None:
    """The second probability was rounded to zero, the rest was not."""
    classes = np.array([[4, 2]], np.int16)
    probs, rest = np.array([[1.0, 0.0]], np.float32), np.array([1e-4], np.float32)
    topk = TopK(np.arange(1), classes, probs, rest)
    prob = lookup_probs(topk, np.zeros(CLASSES, int), np.arange(CLASSES), CLASSES)
    np.testing.assert_array_equal(prob, np.arange(CLASSES) == 4)
    other = TopK(np.arange(1), np.array([[4, 3]], np.int16), probs, rest)
    averaged = weighted_mean([topk, other], [1, 1], CLASSES)
    np.testing.assert_array_equal(averaged.classes, [[4, 2]])
    np.testing.assert_array_equal(averaged.probs, [[1, 0]])


@untimed
@given(seeds)
def test_rank_and_best_of_a_product_equal_a_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    catalog = random_catalog(rng, 12, 30)
    query = make_query(catalog, np.arange(12))
    topk, _ = random_topk(rng, query.images)
    query_row = np.repeat(np.arange(12), CLASSES)
    class_id = np.tile(np.arange(CLASSES, dtype=np.int16), 12)
    columns = network_features(query, topk, "m", query_row, class_id, CLASSES)
    for product in range(12):
        rows = np.flatnonzero(query_row == product)
        mean = columns["m_mean"][rows]
        if query.image_count[product] == 0:
            assert all(np.isnan(column[rows]).all() for column in columns.values())
            continue
        order = sorted(range(CLASSES), key=lambda row: (-mean[row], row))
        assert columns["m_rank"][rows[order]].tolist() == list(range(CLASSES))
        np.testing.assert_array_equal(columns["m_of_best"][rows], mean / mean.max())
