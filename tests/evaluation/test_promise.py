import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.evaluation.abstention import MAX_AUC
from lib.evaluation.metrics import Estimate, accuracy
from lib.evaluation.promise import Promise, expected_accuracy, loss_of_evidence, without_twin
from lib.evaluation.shift import Shift, measure_shift

ALIKE = Estimate(0.5, 0.47, 0.53, 500)
APART = Estimate(0.52, 0.51, 0.53, 500)  # surely, but not by much
FAR_APART = Estimate(0.8, 0.75, 0.84, 500)


def columns(count, seed, mean=0.0):
    values = np.random.default_rng(seed).normal(mean, 1, (count, 4))
    return values.astype(np.float32)


def promise(images=ALIKE, expected=0.9, supported=(True,) * 4, **losses):
    shift = Shift(images, np.ones(300), np.ones(4, bool), 300.0)
    return Promise(shift, losses, np.array(supported), expected, np.ones(4, np.float32))


def measured(labelled, new):
    """The promise of a real test, for a model that is right on 270 of 300 labelled products."""
    images = measure_shift(labelled, new, np.arange(300), np.arange(200))
    correct, probability = np.arange(300) % 10 > 0, np.full(200, 0.9, np.float32)
    found = expected_accuracy(
        correct, images.weights, images.effective, probability, images.supported
    )
    return Promise(images, {}, images.supported, found, np.ones(200, np.float32))


def test_without_a_shift_the_line_says_so():
    same = measured(columns(300, 0), columns(200, 1))
    assert not same.differs
    assert not same.withdrawn
    auc = same.auc
    assert same.line(0.9) == (
        "the products to classify look like the labelled ones"
        f" (AUC {auc.value:.2f} ({auc.low:.2f} .. {auc.high:.2f}))"
    )
    assert auc.low < 0.5 < auc.high


def test_a_strong_shift_is_a_caution_and_withdraws_the_promise():
    other = measured(columns(300, 0), columns(200, 1, mean=3))
    assert other.differs
    assert other.withdrawn
    assert other.expected < 0.5  # most products are unlike any labelled one
    points = 100 * (0.9 - other.expected)
    line = other.line(0.9)
    assert line.startswith(
        "caution: the products to classify are unlike the labelled ones (AUC 1.00"
    )
    assert f"0.9000 may be off by {points:.0f} points" in line
    assert line.endswith(f"expect at least {other.expected:.2f}")


def test_the_line_says_by_how_many_points_the_accuracy_may_be_off():
    assert promise(FAR_APART, expected=0.62).line(0.9) == (
        "caution: the products to classify are unlike the labelled ones (AUC 0.80 (0.75 .. 0.84));"
        " the accuracy of 0.9000 may be off by 28 points: expect at least 0.62"
    )


def test_no_more_than_the_headline_is_expected():
    line = promise(FAR_APART, expected=0.95).line(0.9)
    assert line.endswith("may be off by 0 points: expect at least 0.90")


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
    facts = promise(ALIKE, 0.8, (True, False, False, True), nearest_cos=FAR_APART).to_dict()
    assert json.loads(json.dumps(facts)) == {
        "auc": {
            "images": {"value": 0.5, "low": 0.47, "high": 0.53, "n": 500},
            "nearest_cos": {"value": 0.8, "low": 0.75, "high": 0.84, "n": 500},
        },
        "effective": 300.0,
        "unlike_any": 0.5,
        "differs": True,
        "withdrawn": True,
        "expected_accuracy": 0.8,
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


def test_products_without_images_do_not_change_which_way_evidence_went():
    labelled, groups = columns(300, 0), (np.arange(300), np.arange(200))
    less, more = columns(200, 1, mean=-1), columns(200, 1, mean=1)
    labelled[::10] = less[::10] = more[::10] = np.nan
    lost = loss_of_evidence(labelled, less, *groups, seed=0)
    assert lost is not None
    assert lost.low > 0.5
    assert loss_of_evidence(labelled, more, *groups, seed=0) is None


EVERY, SURE = np.ones(10, bool), np.ones(10, np.float32)


def test_expected_accuracy_is_the_lower_end_of_the_weighted_one():
    correct, weights = np.array([True, True, False, False]), np.array([3.0, 1.0, 0.5, 0.5])
    expected = expected_accuracy(correct, weights, 64.0, SURE, EVERY)
    assert expected == pytest.approx(0.8 - 1.96 * 0.4 / 8)
    assert expected_accuracy(correct, weights, 1e15, SURE, EVERY) == pytest.approx(0.8)
    assert expected_accuracy(correct, np.ones(4), 1e15, SURE, EVERY) == pytest.approx(0.5)


def test_expected_accuracy_is_at_most_the_mean_probability():
    correct, half = np.ones(4, bool), np.full(10, 0.5, np.float32)
    assert expected_accuracy(correct, np.ones(4), 4.0, half, EVERY) == pytest.approx(0.5)


def test_nothing_is_expected_of_products_without_support():
    correct, supported = np.ones(4, bool), np.arange(10) < 3
    assert expected_accuracy(correct, np.ones(4), 4.0, SURE, supported) == pytest.approx(0.3)
    assert expected_accuracy(correct, np.ones(4), 4.0, SURE, ~EVERY) == 0.0


def test_without_weight_nothing_is_expected():
    assert expected_accuracy(np.ones(4, bool), np.zeros(4), 0.0, SURE, EVERY) == 0.0


@given(st.integers(0, 9999))
def test_expected_accuracy_is_at_most_each_of_its_parts(seed):
    rng = np.random.default_rng(seed)
    correct, weights = rng.random(20) < rng.random(), rng.random(20)
    probability, supported = rng.random(10).astype(np.float32), rng.random(10) < 0.8
    few, many = (
        expected_accuracy(correct, weights, effective, probability, supported)
        for effective in (2.0, 200.0)
    )
    assert 0 <= few <= many
    parts = (np.average(correct, weights=weights), probability.mean(), supported.mean())
    assert many <= min(parts) + 1e-6


def test_accuracy_without_twins_is_that_of_the_other_products():
    correct = np.array([True, True, True, False, False, True])
    has_twin = np.array([True, True, False, False, False, False])
    found = without_twin(correct, has_twin, None)
    assert found == accuracy(np.array([True, False, False, True]))
    group = np.array([5, 5, 6, 6, 7, 7], np.int32)
    grouped = without_twin(correct, has_twin, group)
    assert grouped == accuracy(correct[2:], group=group[2:])
    assert without_twin(correct, np.ones(6, bool), group) is None
