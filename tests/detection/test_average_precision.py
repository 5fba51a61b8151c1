"""Average precision against pycocotools and against a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.detection.average_precision import average_precision, match_boxes
from lib.detection.components import BoxTable, concat_boxes

EMPTY = concat_boxes([])


def table(rows):
    """Rows (image, class, score, x_min, x_max, y_min, y_max)."""
    values = np.array(rows, float).reshape(-1, 7)
    return BoxTable(
        values[:, 0].astype(np.int64),
        values[:, 1].astype(np.int16),
        values[:, 2].astype(np.float32),
        values[:, 3:].astype(np.float32),
    )


def random_tables(rng, num_images, num_true, num_found):
    def random(count):
        corners = np.sort(rng.random((count, 2, 2)), 2).reshape(count, 4)
        return np.column_stack(
            [
                rng.integers(0, num_images, count),
                rng.integers(0, 3, count),
                rng.random(count),
                corners,
            ]
        )

    true, found = random(num_true), random(num_found)
    copies = rng.integers(0, max(num_true, 1), num_found // 2) if num_true else np.zeros(0, int)
    found[: len(copies), [0, 1, 3, 4, 5, 6]] = true[copies][:, [0, 1, 3, 4, 5, 6]]
    return table(true), table(found)


def mean_ap(matched, num_images):
    once = np.ones((1, num_images))
    return np.nanmean([average_precision(m, once)[0] for m in matched.by_class.values()])


def test_hits_misses_and_double_boxes():
    truth = table([(0, 5, 1, 0, 0.5, 0, 1), (1, 5, 1, 0, 1, 0, 0.5)])
    found = table(
        [
            (0, 5, 0.9, 0, 0.5, 0, 1),  # hit
            (0, 5, 0.8, 0, 0.5, 0, 1),  # the same box again
            (1, 5, 0.7, 0, 1, 0, 0.6),  # hit, IoU 0.83
            (0, 6, 0.6, 0, 1, 0, 1),  # a class that is true nowhere
        ]
    )
    matched = match_boxes(truth, np.zeros(2, bool), found, 2)
    assert list(matched.by_class) == [5]
    assert matched.by_class[5].hit.tolist() == [True, False, True]
    # 51 of the 101 recalls have precision 1, the others 2 / 3
    assert matched.mean_ap == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_box_in_a_group_is_neither_hit_nor_miss():
    truth = table([(0, 5, 1, 0, 1, 0, 1), (1, 5, 1, 0, 0.5, 0, 1)])
    found = table([(0, 5, 0.9, 0.1, 0.3, 0, 0.5), (1, 5, 0.8, 0, 0.5, 0, 1)])
    matched = match_boxes(truth, np.array([True, False]), found, 2)
    assert matched.by_class[5].hit.tolist() == [True]
    assert matched.by_class[5].num_true.tolist() == [0, 1]
    assert matched.mean_ap == pytest.approx(1)


def test_no_true_box_has_no_average_precision():
    assert np.isnan(match_boxes(EMPTY, np.zeros(0, bool), EMPTY, 2).mean_ap)
    only_group = match_boxes(table([(0, 5, 1, 0, 1, 0, 1)]), np.ones(1, bool), EMPTY, 2)
    assert np.isnan(only_group.mean_ap)
    assert average_precision(only_group.by_class[5], np.ones((1, 2))).tolist() == [
        pytest.approx(np.nan, nan_ok=True)
    ]


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_it_is_what_pycocotools_computes(seed):
    rng = np.random.default_rng(seed)
    num_images = int(rng.integers(1, 5))
    truth, found = random_tables(rng, num_images, int(rng.integers(1, 8)), int(rng.integers(0, 12)))
    matched = match_boxes(truth, rng.random(len(truth)) < 0.2, found, num_images)
    if not np.isnan(matched.mean_ap):
        assert mean_ap(matched, num_images) == pytest.approx(matched.mean_ap)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_an_image_drawn_twice_counts_as_two_images(seed):
    rng = np.random.default_rng(seed)
    truth, found = random_tables(rng, 4, 9, 12)
    is_group = rng.random(len(truth)) < 0.2
    times = rng.integers(0, 3, 4)
    copies = np.repeat(np.arange(4), times)

    def repeat(boxes):
        rows = [np.flatnonzero(boxes.image == image) for image in copies]
        index = np.concatenate([*rows, np.zeros(0, int)]).astype(int)
        position = np.repeat(np.arange(len(copies)), [len(r) for r in rows])
        taken = boxes.take(index)
        return BoxTable(position, taken.class_row, taken.score, taken.box), index

    matched = match_boxes(truth, is_group, found, 4)
    (truth, index), (found, _) = repeat(truth), repeat(found)
    repeated = match_boxes(truth, is_group[index], found, len(copies))
    for class_row, matches in matched.by_class.items():
        value = average_precision(matches, times[None].astype(float))[0]
        if class_row not in repeated.by_class:
            assert np.isnan(value)
            continue
        once = np.ones((1, len(copies)))
        expected = average_precision(repeated.by_class[class_row], once)[0]
        assert value == pytest.approx(expected, abs=1e-9, nan_ok=True)
