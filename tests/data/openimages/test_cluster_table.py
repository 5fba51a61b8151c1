from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.clusters import Clusters
from lib.data.openimages.annotations import Annotations, Limits, build_annotations, read_annotations
from lib.data.openimages.cluster_table import ClusterTable, build_clusters, read_clusters
from lib.data.openimages.hierarchy import Hierarchy
from lib.data.openimages.places import read_hierarchy_file
from lib.errors import UserError
from tests.data.openimages.annotated_folder import CSV, JSON, box, make_files, write_tree
from tests.data.openimages.test_hierarchy import make_hierarchy
from tests.data.openimages.test_image_classes import boxes_of

COUNTS = {"car": 5, "taxi": 2, "bus": 1, "vehicle": 2, "dog": 3, "wheel": 1}


def annotate(folder: Path, settings: Clusters, **labels) -> tuple[Hierarchy, Annotations]:
    """Images named after their class: car0, car1, ..."""
    write_tree(folder)
    hierarchy, _ = read_hierarchy_file(folder / JSON, folder / CSV, settings)
    boxes = [box(f"{n}{number}", n) for n, count in COUNTS.items() for number in range(count)]
    files = make_files(folder, boxes, **labels)
    build_annotations(folder, files, hierarchy, settings, Limits(0.0, 0.0))
    return hierarchy, read_annotations(folder)


def clusters(folder: Path, **settings) -> tuple[ClusterTable, dict[str, str]]:
    """The clusters, and the key of the cluster of each image."""
    table, labels, _ = clusters_and_facts(folder, **settings)
    return table, labels


def clusters_and_facts(folder: Path, **settings) -> tuple[ClusterTable, dict[str, str], dict]:
    config = Clusters(**{"min_images": 1, **settings})
    hierarchy, annotations = annotate(folder, config)
    facts = build_clusters(folder, annotations, hierarchy, config)
    table = read_clusters(folder)
    labels = table.of_images(annotations, hierarchy, config)
    keys = [table.keys[label] if label >= 0 else "" for label in labels.tolist()]
    return table, dict(zip(annotations.keys, keys, strict=True)), facts


def test_clusters_have_paths_for_keys_and_labels_for_images(tmp_path):
    table, labels, facts = clusters_and_facts(tmp_path, min_images=2)
    assert table.keys == ["Animal/Dog", "Vehicle", "Vehicle/Car", "Vehicle/Car/Taxi"]
    assert table.names == ["Dog", "Vehicle", "Car", "Taxi"]
    assert table.level.tolist() == [1, 0, 1, 2]
    assert table.images.tolist() == [3, 3, 5, 2]
    assert labels["bus0"] == labels["vehicle1"] == "Vehicle"
    assert labels["taxi0"] == "Vehicle/Car/Taxi"
    assert labels["wheel0"] == ""
    assert facts["clusters"] == 4
    assert facts["coverage"] == pytest.approx(13 / 14)
    levels = [facts[name] for name in ("level0", "level1", "level2", "deeper")]
    assert levels == pytest.approx([3 / 14, 8 / 14, 2 / 14, 0])


def test_boxes_have_the_clusters_of_their_classes(tmp_path):
    config = Clusters(min_images=2)
    hierarchy, annotations = annotate(tmp_path, config)
    build_clusters(tmp_path, annotations, hierarchy, config)
    table = read_clusters(tmp_path)
    rows, of_box = annotations.boxes.class_row.tolist(), table.of_boxes(annotations).tolist()
    named = {hierarchy.names[row]: number for row, number in zip(rows, of_box, strict=True)}
    assert named == {"Car": 2, "Taxi": 3, "Bus": 1, "Vehicle": 1, "Dog": 0, "Wheel": -1}


def test_the_config_edits_the_clusters(tmp_path):
    table, labels = clusters(
        tmp_path,
        min_images=2,
        split=["Bus"],
        drop=["/m/wheel"],
        merge={"Pets and taxis": ("Dog", "Taxi")},
        rename={"Bus": "Coach", "Vehicle": "Transport"},
    )
    assert table.keys == ["Pets and taxis", "Transport", "Transport/Car", "Transport/Coach"]
    assert table.class_row[0] == -1
    assert labels["dog0"] == labels["taxi1"] == "Pets and taxis"
    assert labels["wheel0"] == ""
    assert labels["vehicle0"] == "Transport"


def test_a_merged_cluster_stands_where_its_members_share_a_path(tmp_path):
    table, labels = clusters(tmp_path, merge={"Road": ("Car", "Bus")}, drop=["Taxi"])
    assert "Vehicle/Road" in table.keys
    assert labels["car0"] == labels["bus0"] == "Vehicle/Road"
    assert labels["taxi0"] == ""


def test_clusters_without_images_are_left_out(tmp_path):
    table, _ = clusters(tmp_path, split=["Animal"])
    assert "Animal" not in table.keys
    assert table.images.min() > 0
    assert table.options.max() == len(table) - 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"split": ("Cow",)}, "clusters.split: no class 'Cow'"),
        ({"drop": ("Cow",)}, "clusters.drop: no class 'Cow'; did you mean"),
        ({"merge": {"x": ("Cow",)}}, "clusters.merge.x: no class 'Cow'"),
        ({"merge": {"x": ("Car",), "y": ("Car",)}}, "clusters.merge: Car is in x and in y"),
        ({"split": ("Taxi",), "drop": ("Car",)}, "clusters.drop leaves out Taxi, which another"),
        ({"rename": {"Cow": "x"}}, "clusters.rename: no cluster 'Cow'; there are"),
        ({"rename": {"Bus": "Car"}}, "two clusters are named 'Vehicle/Car'; rename one"),
        ({"min_images": 100}, "clusters.min_images = 100: no class has so many of the 14 images"),
    ],
)
def test_edits_that_cannot_be_are_one_line(tmp_path, settings, words):
    with pytest.raises(UserError) as error:
        clusters(tmp_path, **settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_verified_labels_count_where_there_is_no_box(tmp_path):
    config = Clusters(min_images=1, use_image_labels=True)
    labels = [("new", "vehicle", 1), ("new", "bus", 1), ("new", "dog", 0), ("car0", "dog", 1)]
    hierarchy, annotations = annotate(tmp_path, config, labels=labels)
    build_clusters(tmp_path, annotations, hierarchy, config)
    table = read_clusters(tmp_path)
    found = table.of_images(annotations, hierarchy, config)
    named = dict(zip(annotations.keys, (table.names[label] for label in found), strict=True))
    assert named["new"] == "Bus"
    assert named["car0"] == "Car"


def test_without_mending_a_class_of_two_places_is_in_two_clusters(tmp_path):
    # c2 stands below c0 and below c1, which are the clusters.
    once = make_hierarchy([-1, -1, 0])
    hierarchy = replace(
        once, node_class=np.array([0, 2, 1, 2]), node_parent=np.array([-1, 0, -1, 2])
    )
    keys = [f"image{number}" for number in range(100)]
    boxes = boxes_of([(image, 2 if image > 9 else image % 2, 1) for image in range(100)], 100)
    annotations = Annotations(keys, keys, boxes, None)
    for mend in (True, False):
        settings = Clusters(mend=mend, min_images=1, max_clusters=2, split=("c0", "c1"))
        build_clusters(tmp_path, annotations, hierarchy, settings)
        table = read_clusters(tmp_path)
        assert table.options[2].tolist() == ([0] if mend else [0, 1])
        labels = table.of_images(annotations, hierarchy, settings)
        assert (labels == table.of_boxes(annotations)).all()  # of one box each
        counts = np.bincount(labels[10:], minlength=2)
        assert counts.tolist() == [90, 0] if mend else counts.min() > 20
