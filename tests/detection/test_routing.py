"""Which classes are looked for in which images."""

import numpy as np
import pytest

from lib.detection.components import BoxTable
from lib.detection.routing import apply_routes, best_boxes, route, route_everywhere
from lib.inference.topk import TopK

# clusters: car 0, bus 1, dog 2; channels: vehicle (car or bus), car, dog
CLUSTERS = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], bool)
TOPK = TopK(
    np.array([4, 7]),
    np.array([[1, 0, 2], [2, 1, 0]], np.int16),
    np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]], np.float32),
    np.zeros(2, np.float32),
)


def test_the_most_probable_cluster_decides():
    routes = route(TOPK, CLUSTERS, 1, 0.0)
    assert routes.image.tolist() == [4, 7]
    assert routes.seen.tolist() == [[True, False, False], [False, False, True]]
    assert routes.prob == pytest.approx(np.array([[0.8, 0.3, 0.2], [0.1, 0, 0.9]]))


def test_further_clusters_need_a_probability():
    assert route(TOPK, CLUSTERS, 2, 0.2).seen.tolist() == [
        [True, True, False],
        [False, False, True],
    ]
    assert route(TOPK, CLUSTERS, 3, 0.0).seen.all()
    assert route(TOPK, CLUSTERS, 1, 1.0).seen.any(1).all()


def boxes_of(rows):
    """Rows (image, class, score)."""
    image, class_row, score = zip(*rows, strict=True)
    box = np.tile(np.array([0, 1, 0, 1], np.float32), (len(rows), 1))
    return BoxTable(np.array(image), np.array(class_row), np.array(score, np.float32), box)


def test_boxes_of_other_classes_are_dropped_and_scores_are_weighted():
    channels = np.array([10, 20, 30])
    found = boxes_of([(4, 10, 0.5), (4, 20, 0.9), (4, 30, 0.9), (7, 30, 1.0)])
    routed = apply_routes(found, channels, route(TOPK, CLUSTERS, 2, 0.0))
    assert routed.image.tolist() == [4, 4, 7]
    assert routed.class_row.tolist() == [10, 20, 30]
    assert routed.score == pytest.approx([0.4, 0.27, 0.9])
    everywhere = apply_routes(found, channels, route_everywhere(np.array([4, 7]), 3))
    assert everywhere.score == pytest.approx([0.9, 0.9, 0.5, 1])


def test_the_best_boxes_of_each_image_are_kept():
    found = boxes_of([(4, 1, 0.9), (4, 2, 0.5), (4, 3, 0.1), (7, 1, 0.2)])
    assert best_boxes(found, 2).class_row.tolist() == [1, 2, 1]
    assert len(best_boxes(found.take(np.zeros(4, bool)), 2)) == 0
