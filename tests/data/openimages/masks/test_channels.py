"""Which classes a network draws, and where they are annotated."""

from dataclasses import replace

import numpy as np
import pytest

from lib.config.inputs.segmentation import Segmentation
from lib.data.openimages.boxes import BOX_TYPES, Boxes, ImageLabels
from lib.data.openimages.hierarchy import Hierarchy
from lib.data.openimages.masks.channels import (
    boxes_of_channels,
    choose_channels,
    clusters_of_channels,
    main_channel,
    verified_absent,
)
from lib.errors import UserError

NAMES = ["Vehicle", "Car", "Taxi", "Bus", "Dog"]
VEHICLE, CAR, TAXI, BUS, DOG = range(5)
CLUSTERS = ["On wheels", "Animals"]
LABELS = np.array([0, 0, -1, 1])  # of the images
NONE = np.zeros(0, np.int32)
TREE = Hierarchy(
    labels=[f"/m/{name}" for name in NAMES],
    names=NAMES,
    parent=np.array([-1, 0, 1, 0, -1], np.int16),
    level=np.array([0, 1, 2, 1, 0], np.int8),
    part_of=np.full(5, -1, np.int16),
    node_class=NONE,
    node_parent=NONE,
    node_part=NONE,
)


def boxes_of(rows, num_images=4):
    """Boxes of rows (image, class, cluster, width); the flags of a box of width 1 are set."""
    image, class_row, cluster, width = (np.array(column) for column in zip(*rows, strict=True))
    columns = {name: np.zeros(len(rows), kind) for name, kind in BOX_TYPES.items()}
    columns |= {"image": image, "class_row": class_row, "cluster": cluster}
    columns |= {"x_max": width.astype(np.float32), "y_max": np.ones(len(rows), np.float32)}
    columns |= {flag: (width == 1).astype(np.int8) for flag in ("occluded", "group")}
    return Boxes(**columns, num_images=num_images)


BOXES = boxes_of(
    [(0, CAR, 0, 0.5), (0, TAXI, 0, 0.25), (1, BUS, 0, 1), (1, CAR, 0, 0.5), (3, DOG, 1, 0.5)]
)


def choose(*clusters, min_boxes=1):
    settings = Segmentation(clusters=clusters, min_boxes=min_boxes)
    return choose_channels(TREE, BOXES, settings, CLUSTERS, "models.a").tolist()


def test_a_box_counts_for_its_class_and_those_above():
    assert choose() == [VEHICLE, CAR, TAXI, BUS, DOG]
    assert choose(min_boxes=2) == [VEHICLE, CAR]
    assert choose(min_boxes=3) == [VEHICLE, CAR]
    assert choose(min_boxes=4) == [VEHICLE]


def test_a_name_is_a_cluster_or_a_class_with_those_below():
    assert choose("On wheels") == [CAR, TAXI, BUS]  # no box says Vehicle
    assert choose("Vehicle") == [VEHICLE, CAR, TAXI, BUS]
    assert choose("/m/Car", "Animals") == [CAR, TAXI, DOG]
    settings = Segmentation(clusters=("Vehicle",), min_boxes=1)
    names = ["Vehicle", "Animals"]  # a cluster of the same name has fewer classes
    assert len(choose_channels(TREE, BOXES, settings, names, "models.a")) == 4


def test_an_unknown_name_and_too_few_boxes_are_errors():
    with pytest.raises(UserError, match=r"models.a.segmentation.clusters: no class 'Cra'.*Car"):
        choose("Cra")
    with pytest.raises(UserError, match=r"models.a.segmentation.min_boxes = 2.*the most are 1"):
        choose("Dog", min_boxes=2)


def test_a_network_sees_the_clusters_that_its_classes_belong_to():
    channels = np.array([VEHICLE, TAXI, DOG])
    assert clusters_of_channels(TREE, BOXES, LABELS, channels, 2).tolist() == [
        [True, False],
        [True, False],
        [False, True],
    ]
    part = replace(TREE, part_of=np.array([-1, -1, -1, -1, VEHICLE], np.int16))
    assert clusters_of_channels(part, BOXES, LABELS, np.array([DOG]), 2).tolist() == [[True, True]]
    without = boxes_of([(1, DOG, -1, 0.5), (3, DOG, -1, 0.5), (0, CAR, -1, 0.5)])
    assert clusters_of_channels(TREE, without, LABELS, np.array([DOG, BUS]), 2).tolist() == [
        [True, True],
        [False, False],
    ]


def test_a_class_that_is_absent_has_none_below_it():
    labels = ImageLabels(
        np.array([1, 1, 2], np.int32),
        np.array([CAR, DOG, VEHICLE], np.int16),
        np.array([0, 1, 0], np.int8),
    )
    absent = verified_absent(TREE, labels, 4, np.array([VEHICLE, CAR, TAXI, DOG]))
    assert absent.tolist() == [
        [False, False, False, False],
        [False, True, True, False],
        [True, True, True, False],
        [False, False, False, False],
    ]
    assert not verified_absent(TREE, None, 4, np.array([CAR])).any()


def test_weights_are_those_of_the_settings_or_one():
    channels = np.array([CAR, BUS])
    settings = Segmentation(occluded_weight=0.5, group_weight=0.25)
    weighted = boxes_of_channels(TREE, BOXES, None, channels, settings)
    assert weighted.weight.tolist() == [1, 1, 0.125, 1]
    assert weighted.channel.tolist() == [0, 0, 1, 0]
    assert weighted.row.tolist() == [0, 1, 2, 3]
    assert boxes_of_channels(TREE, BOXES, None, channels).weight.tolist() == [1, 1, 1, 1]
    assert weighted.annotated.tolist() == [[True, False], [True, True], [False] * 2, [False] * 2]


def test_the_main_class_is_that_of_the_largest_box():
    boxes = boxes_of_channels(TREE, BOXES, None, np.array([CAR, TAXI, BUS]))
    assert main_channel(boxes).tolist() == [0, 2, -1, -1]
    assert main_channel(boxes_of_channels(TREE, BOXES, None, np.array([DOG]))).tolist() == [
        -1,
        -1,
        -1,
        0,
    ]
