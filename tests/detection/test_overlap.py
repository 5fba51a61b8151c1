"""Overlap of coarse masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.detection.overlap import Overlap, mean_iou, measure_overlap


def test_iou_is_over_all_images_and_the_mean_over_classes():
    predicted = np.array([[[[1.0, 1, 0, 0]], [[0, 0, 0, 1]]], [[[1, 0, 0, 0]], [[0, 0, 0, 0]]]])
    target = np.array([[[[1.0, 0, 0, 0]], [[0, 0, 0, 1]]], [[[1, 1, 0, 0]], [[0, 0, 0, 0]]]])
    overlap = measure_overlap(predicted, target, np.ones_like(target), 0.5)
    assert overlap.iou_by_class() == pytest.approx([2 / 4, 1])
    assert mean_iou(overlap.iou_by_class()) == pytest.approx(0.75)


def test_cells_of_weight_zero_do_not_count():
    predicted = np.array([[[[1.0, 1]]]])
    target = np.array([[[[1.0, 0]]]])
    overlap = measure_overlap(predicted, target, np.array([[[[0.5, 0]]]]), 0.5)
    assert overlap.iou_by_class() == [1]


def test_a_class_that_is_true_nowhere_has_no_iou():
    overlap = Overlap(np.array([[0.1, 0]]), np.array([[0.2, 0.3]]), np.array([[0.2, 0]]))
    assert np.isnan(overlap.iou_by_class()[1])
    assert mean_iou(overlap.iou_by_class()) == pytest.approx(0.5)
    assert np.isnan(mean_iou(Overlap.zeros(2, 3).iou_by_class()))


@given(st.integers(0, 2**32 - 1))
def test_weights_count_images_as_repetitions_do(seed):
    rng = np.random.default_rng(seed)
    shape = (4, 3, 2, 2)
    predicted, target = rng.random(shape), rng.random(shape)
    overlap = measure_overlap(predicted, target, np.ones(shape), 0.5)
    times = rng.integers(0, 3, (2, 4))
    by_weight = overlap.iou_by_class(times.astype(float))
    for row, repeats in zip(by_weight, times, strict=True):
        again = np.repeat(np.arange(4), repeats)
        repeated = measure_overlap(
            predicted[again], target[again], np.ones_like(target[again]), 0.5
        )
        assert row == pytest.approx(repeated.iou_by_class(), nan_ok=True)
