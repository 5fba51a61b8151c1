import json

import numpy as np
import pytest

from lib.evaluation.abstention import MAX_AUC
from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.promise import Promise, loss_of_evidence, without_twin
from lib.evaluation.shift import Shift, measure_shift

ALIKE = Estimate(0.5, 0.47, 0.53, 500)
APART = Estimate(0.52, 0.51, 0.53, 500)  # surely, but not by much
FAR_APART = Estimate(0.8, 0.75, 0.84, 500)
EXPECTED = Estimate(0.8, 0.62, 0.85, 200)


def columns(count, seed, mean=0.0):
    values = np.random.default_rng(seed).normal(mean, 1, (count, 4))
    return values.astype(np.float32)


def promise(images=ALIKE, supported=(True,) * 4, **losses):
    shift = Shift(images, np.ones(300), np.ones(4, bool), 300.0)
    return Promise(shift, losses, np.array(supported), EXPECTED, np.ones(4, np.float32))


def measured(labelled, new):
    """The promise of a real test."""
    images = measure_shift(labelled, new, np.arange(300), np.arange(200))
    return Promise(images, {}, images.supported, EXPECTED, np.ones(200, np.float32))


def test_without_a_shift_the_line_says_so():
    same = measured(columns(300, 0), columns(200, 1))
    assert not same.differs
    assert not same.too_few
    assert not same.withdrawn
    auc = same.auc
    assert same.line(0.9) == (
        "the products to classify look like the labelled ones"
        f" (AUC {auc.value:.2f} ({auc.low:.2f} .. {auc.high:.2f}), 0.5 or less if alike);"
        " expect an accuracy of 0.8000 (0.6200 .. 0.8500) there"
    )
    assert auc.low < 0.5 < auc.high


def test_a_strong_shift_is_a_caution_and_withdraws_the_promise():
    other = measured(columns(300, 0), columns(200, 1, mean=3))
    assert other.differs
    assert other.withdrawn
    assert other.supported.mean() < 0.5  # most products are unlike any labelled one
    assert other.line(0.9).startswith(
        "caution: the products to classify are unlike the labelled ones (AUC 1.00"
    )


def test_the_line_says_by_how_many_points_the_accuracy_may_be_off():
    assert promise(FAR_APART).line(0.9) == (
        "caution: the products to classify are unlike the labelled ones (AUC 0.80 (0.75 .. 0.84));"
        " the accuracy of 0.9000 may be off by 28 points: expect an accuracy of 0.8000"
        " (0.6200 .. 0.8500) there"
    )


@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.01, 0.99), (0.2, 0.71)])
def test_few_products_cannot_be_compared(ends):
    few = promise(Estimate(0.5, *ends, 301))
    assert few.too_few
    line = few.line(0.9)
    assert line == (
        "too few products to tell whether they look like the labelled ones;"
        " expect an accuracy of 0.8000 (0.6200 .. 0.8500) there"
    )


def test_the_accuracy_may_be_off_upwards():
    assert "the accuracy of 0.6000 may be off by 25 points" in promise(FAR_APART).line(0.6)


def test_a_small_shift_is_a_caution_that_withdraws_nothing():
    little = promise(APART)
    assert APART.low < MAX_AUC
    assert little.differs
    assert not little.withdrawn
    assert little.line(0.9).startswith("caution")


def test_the_surest_of_all_tests_decides():
    alike_images = promise(ALIKE, probability=ALIKE, nearest_cos=FAR_APART)
    assert alike_images.auc == FAR_APART
    assert alike_images.withdrawn
    # A higher AUC of few products is less sure than a lower one of many.
    unsure = Estimate(0.9, 0.4, 1.0, 8)
    assert promise(APART, nearest_cos=unsure).auc == APART
    assert not promise(ALIKE, nearest_cos=unsure).differs


def test_json_holds_every_test_and_its_verdict():
    facts = promise(ALIKE, (True, False, False, True), nearest_cos=FAR_APART).to_dict()
    assert json.loads(json.dumps(facts)) == {
        "auc": {
            "images": {"value": 0.5, "low": 0.47, "high": 0.53, "n": 500},
            "nearest_cos": {"value": 0.8, "low": 0.75, "high": 0.84, "n": 500},
        },
        "effective": 300.0,
        "unlike_any": 0.5,
        "differs": True,
        "too_few": False,
        "withdrawn": True,
        "expected_accuracy": {"value": 0.8, "low": 0.62, "high": 0.85, "n": 200},
    }


def test_only_less_evidence_is_a_loss():
    labelled, groups = columns(300, 0), (np.arange(300), np.arange(200))
    lower = loss_of_evidence(labelled, columns(200, 1, mean=-1), *groups, seed=0)
    assert lower is not None
    assert lower.low > 0.8
    assert loss_of_evidence(labelled, columns(200, 1, mean=1), *groups, seed=0) is None
    same = loss_of_evidence(labelled, labelled, np.arange(300), np.arange(300), seed=0)
    assert same is None  # as much evidence as before


def test_the_first_column_says_which_way_evidence_went():
    labelled, new = columns(300, 0), columns(200, 1)
    new[:, 0] -= 1
    new[:, 1:] += 1
    groups = np.arange(300), np.arange(200)
    assert loss_of_evidence(labelled, new, *groups, seed=0) is not None
    assert loss_of_evidence(labelled[:, ::-1], new[:, ::-1], *groups, seed=0) is None


def test_no_products_lose_no_evidence():
    labelled, groups = columns(300, 0), np.arange(300)
    assert loss_of_evidence(labelled, labelled[:0], groups, groups[:0], seed=0) is None
    assert loss_of_evidence(labelled[:0], labelled, groups[:0], groups, seed=0) is None


def test_accuracy_without_twins_is_that_of_the_other_products():
    correct = np.array([True, True, True, False, False, True])
    has_twin = np.array([True, True, False, False, False, False])
    found = without_twin(correct, has_twin, None)
    assert found == accuracy(np.array([True, False, False, True]))
    group = np.array([5, 5, 6, 6, 7, 7], np.int32)
    grouped = without_twin(correct, has_twin, group)
    assert grouped == accuracy(correct[2:], group=group[2:])
    assert without_twin(correct, np.ones(6, bool), group) is None
