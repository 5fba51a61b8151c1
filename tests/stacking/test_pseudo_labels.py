import numpy as np
import pytest

from lib.features.query import make_query
from lib.stacking import pseudo_labels
from lib.stacking.pseudo_labels import BY_CONFIDENCE, BY_HASH, PseudoLabels
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk


@pytest.fixture
def case():
    rng = np.random.default_rng(4)
    catalog = random_catalog(rng, 40, 99)
    query = make_query(catalog, np.arange(0, 40, 2))
    return rng, query, [random_topk(rng, query.images, k=CLASSES) for _ in range(2)]


def test_class_and_confidence_are_those_of_the_mean(case):
    _, query, dumps = case
    class_id, confidence = pseudo_labels.predict_classes(
        query, [topk for topk, _ in dumps], [3.0, 1.0], CLASSES
    )
    dense = 0.75 * dumps[0][1] + 0.25 * dumps[1][1]
    for row in range(len(query.products)):
        images = dense[query.image_start[row] :][: query.image_count[row]]
        if len(images) == 0:
            assert (class_id[row], confidence[row]) == (-1, 0)
            continue
        mean = images.mean(axis=0)
        assert class_id[row] == mean.argmax()
        assert confidence[row] == pytest.approx(mean.max(), abs=2e-3)


def test_predictions_from_the_minimal_confidence_have_the_precision():
    rng = np.random.default_rng(1)
    confidence = rng.random(20_000).astype(np.float32)
    truth = np.zeros(len(confidence), np.int16)
    class_id = (rng.random(len(confidence)) > confidence).astype(
        np.int16
    )  # right as often as it is confident
    class_id[:50] = -1
    min_confidence = pseudo_labels.fit_min_confidence(class_id, confidence, truth, 0.9)
    assert min_confidence is not None
    accepted = (confidence >= min_confidence) & (class_id >= 0)
    assert (class_id[accepted] == 0).mean() >= 0.9
    assert 0.75 < min_confidence < 0.9
    assert pseudo_labels.fit_min_confidence(1 - truth, confidence, truth, 0.9) is None


def test_both_sources_label_products_unless_they_disagree(case):
    _, query, _ = case
    n = len(query.products)
    hash_class, class_id = np.full(n, -1, np.int16), np.full(n, 2, np.int16)
    confidence = np.full(n, 0.5, np.float32)
    hash_class[:4] = [2, 3, 3, 2]
    confidence[[0, 1, 5]] = 0.9
    class_id[6], confidence[6] = -1, 0.95
    labels = pseudo_labels.select_labels(query, hash_class, class_id, confidence, 0.9)
    assert labels.product.tolist() == query.products[[0, 2, 3, 5]].tolist()
    assert labels.class_id.tolist() == [2, 3, 2, 2]
    assert labels.reason.tolist() == [BY_HASH] * 3 + [BY_CONFIDENCE]
    only_by_hash = pseudo_labels.select_labels(query, hash_class, class_id, confidence, None)
    assert only_by_hash.product.tolist() == query.products[:4].tolist()


def test_labels_are_read_as_they_were_written(case, tmp_path):
    _, query, _ = case
    hash_class = np.arange(len(query.products), dtype=np.int16) % 3
    labels = pseudo_labels.select_labels(
        query, hash_class, hash_class, np.ones(len(hash_class)), 0.5
    )
    labels.save(tmp_path)
    loaded = PseudoLabels.load(tmp_path)
    for name in ("product", "class_id", "reason"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(labels, name))
