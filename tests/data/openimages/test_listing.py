from dataclasses import replace
from pathlib import Path

import numpy as np

from lib.data.catalog import Catalog, build_named_categories, read_catalog, read_categories
from lib.data.openimages.annotations import Annotations
from lib.data.openimages.boxes import ImageLabels
from lib.data.openimages.listing import boxes_of_catalog, labels_of_catalog, list_annotated
from lib.data.sources.base import index_listing
from tests.data.openimages.test_image_classes import boxes_of


def annotations_of(keys: list[str]) -> Annotations:
    """Images of these keys; image i has i + 1 boxes, and a label of the class i."""
    boxes = boxes_of([(i, i, 1) for i in range(len(keys)) for _ in range(i + 1)], len(keys))
    rows = np.arange(len(keys))
    labels = ImageLabels(rows.astype(np.int32), rows.astype(np.int16), np.ones_like(rows, np.int8))
    return Annotations(keys, [f"{key}.jpg" for key in keys], boxes, labels)


def index(folder: Path, annotations: Annotations, labels: list[str]) -> Catalog:
    for name in annotations.files:
        (folder / name).write_bytes(name.encode())
    build_named_categories(folder, folder, labels)
    listing = list_annotated(annotations, folder, folder / "scenes", labels)
    index_listing(folder, folder, listing, read_categories(folder), True, 0.0)
    return read_catalog(folder, folder)


def test_images_without_a_cluster_are_left_out(tmp_path):
    annotations = annotations_of(["b", "a", "7", "c"])
    listing = list_annotated(annotations, tmp_path, tmp_path, ["x", "", "y", "x"])
    assert list(listing.keys) == ["b", "7", "c"]
    assert listing.cautions == ["1 images have no box of a cluster and are left out"]
    assert list_annotated(annotations, tmp_path, tmp_path, None).labels == ["", "", "", ""]


def test_boxes_and_labels_go_to_the_rows_of_the_catalog(tmp_path):
    annotations = annotations_of(["b", "a", "d", "c"])
    catalog = index(tmp_path, annotations, ["x", "", "y", "x"])
    clusters = annotations.boxes.class_row * 10
    boxes = boxes_of_catalog(annotations, catalog, clusters)
    assert boxes.num_images == 3
    assert boxes.image.tolist() == [0, 1, 1, 1, 2, 2, 2, 2]
    assert boxes.class_row.tolist() == [0, 2, 2, 2, 3, 3, 3, 3]
    assert boxes.cluster.tolist() == [0, 20, 20, 20, 30, 30, 30, 30]
    labels = labels_of_catalog(annotations, catalog)
    assert (labels.image.tolist(), labels.class_row.tolist()) == ([0, 1, 2], [0, 2, 3])


def test_images_that_cannot_be_decoded_have_no_boxes(tmp_path):
    annotations = annotations_of(["a", "b", "c"])
    catalog = index(tmp_path, annotations, ["x", "y", "x"])
    readable = replace(catalog, image_product=catalog.image_product[[0, 2]])
    boxes = boxes_of_catalog(annotations, readable, annotations.boxes.cluster)
    assert boxes.num_images == 2
    assert boxes.image.tolist() == [0, 1, 1, 1]
    assert boxes.class_row.tolist() == [0, 2, 2, 2]
