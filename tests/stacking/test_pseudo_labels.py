import numpy as np
import pytest

from lib.features.query import make_query
from lib.stacking import pseudo_labels
from lib.stacking.pseudo_labels import BY_CONFIDENCE, BY_HASH, PseudoLabels
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk


@pytest.fixture
def case():
    rng = np.random.default_rng(4)
    known = random_catalog(rng, 40, 99)
    query = make_query(known, np.arange(0, 40, 2))
    return rng, query, [random_topk(rng, query.images, k=CLASSES) for _ in range(2)]


def test_answers_are_those_of_the_mean(case):
    _, query, dumps = case
    cls, confidence = pseudo_labels.predict_classes(
        query, [topk for topk, _ in dumps], [3.0, 1.0], CLASSES
    )
    dense = 0.75 * dumps[0][1] + 0.25 * dumps[1][1]
    for slot in range(len(query.products)):
        images = dense[query.image_start[slot] :][: query.image_count[slot]]
        if len(images) == 0:
            assert (cls[slot], confidence[slot]) == (-1, 0)
            continue
        mean = images.mean(axis=0)
        assert cls[slot] == mean.argmax()
        assert confidence[slot] == pytest.approx(mean.max(), abs=2e-3)


def test_the_least_confidence_has_the_precision_asked_for():
    rng = np.random.default_rng(1)
    confidence = rng.random(20_000).astype(np.float32)
    truth = np.zeros(len(confidence), np.int16)
    cls = (rng.random(len(confidence)) > confidence).astype(np.int16)  # right as often as it says
    cls[:50] = -1
    least = pseudo_labels.fit_min_confidence(cls, confidence, truth, 0.9)
    assert least is not None
    accepted = (confidence >= least) & (cls >= 0)
    assert (cls[accepted] == 0).mean() >= 0.9
    assert 0.75 < least < 0.9
    assert pseudo_labels.fit_min_confidence(1 - truth, confidence, truth, 0.9) is None


def test_both_sources_label_unless_they_disagree(case):
    _, query, _ = case
    n = len(query.products)
    by_hash, cls = np.full(n, -1, np.int16), np.full(n, 2, np.int16)
    confidence = np.full(n, 0.5, np.float32)
    by_hash[:4] = [2, 3, 3, 2]
    confidence[[0, 1, 5]] = 0.9
    cls[6], confidence[6] = -1, 0.95
    found = pseudo_labels.select_labels(query, by_hash, cls, confidence, 0.9)
    assert found.product.tolist() == query.products[[0, 2, 3, 5]].tolist()
    assert found.class_id.tolist() == [2, 3, 2, 2]
    assert found.reason.tolist() == [BY_HASH] * 3 + [BY_CONFIDENCE]
    alone = pseudo_labels.select_labels(query, by_hash, cls, confidence, None)
    assert alone.product.tolist() == query.products[:4].tolist()


def test_labels_come_back_from_disk(case, tmp_path):
    _, query, _ = case
    by_hash = np.arange(len(query.products), dtype=np.int16) % 3
    found = pseudo_labels.select_labels(query, by_hash, by_hash, np.ones(len(by_hash)), 0.5)
    found.save(tmp_path)
    back = PseudoLabels.load(tmp_path)
    for name in ("product", "class_id", "reason"):
        np.testing.assert_array_equal(getattr(back, name), getattr(found, name))
