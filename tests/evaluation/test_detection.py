"""Intervals of mean IoU and mAP."""

import numpy as np
import pytest

from lib.detection.average_precision import match_boxes
from lib.detection.components import BoxTable
from lib.detection.overlap import Overlap
from lib.evaluation.detection import (
    mean_ap_estimate,
    mean_ap_gain,
    mean_iou_estimate,
    mean_iou_gain,
)

N = 60


def overlap_of(share):
    """Two classes; share float [N] of the union is intersection."""
    union = np.ones((N, 2))
    return Overlap(union * share[:, None], union, union)


def boxes_of(score, hit):
    """One box an image that is the true one, or lies beside it."""
    box = np.where(hit[:, None], [0, 0.5, 0, 1], [0.5, 1, 0, 1]).astype(np.float32)
    return BoxTable(np.arange(N), np.zeros(N, np.int16), score.astype(np.float32), box)


TRUTH = boxes_of(np.ones(N), np.ones(N, bool))


def matched(hit, score):
    return match_boxes(TRUTH, np.zeros(N, bool), boxes_of(score, hit), N)


def test_the_interval_of_mean_iou_is_that_of_a_mean_over_images():
    share = np.random.default_rng(0).random(N)
    estimate = mean_iou_estimate(overlap_of(share))
    assert estimate.value == pytest.approx(share.mean())
    width = 2 * 1.96 * share.std() / np.sqrt(N)
    assert estimate.high - estimate.low == pytest.approx(width, rel=0.15)
    assert estimate.n == N


def test_a_gain_that_every_image_has_is_certain():
    share = np.random.default_rng(0).random(N) / 2
    gain = mean_iou_gain(overlap_of(share + 0.25), overlap_of(share))
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.25, 0.25, 0.25))


def test_mean_ap_and_its_gain():
    rng = np.random.default_rng(0)
    hit, score = rng.random(N) < 0.7, rng.random(N)
    estimate = mean_ap_estimate(matched(hit, score), N)
    assert estimate.low < estimate.value < estimate.high
    assert estimate.value == pytest.approx(matched(hit, score).mean_ap)
    more = mean_ap_gain(matched(np.ones(N, bool), score), matched(hit, score), N)
    assert more.low > 0
    same = mean_ap_gain(matched(hit, score), matched(hit, score), N)
    assert (same.value, same.low, same.high) == (0, 0, 0)
