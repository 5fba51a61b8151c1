import json

import pytest

from lib.config.clusters import Clusters
from lib.data.openimages.annotations import (
    Limits,
    build_annotations,
    read_annotations,
)
from lib.data.openimages.hierarchy import Hierarchy, read_fixes
from lib.data.openimages.places import read_hierarchy_file
from lib.errors import UserError
from tests.data.openimages.annotated_folder import (
    CSV,
    JSON,
    box,
    make_files,
    names_of,
    write_tree,
)

ALL = Limits(1.0, 1.0)
NONE = Limits(0.0, 0.0)


@pytest.fixture
def hierarchy(tmp_path) -> Hierarchy:
    write_tree(tmp_path)
    return read_hierarchy_file(tmp_path / JSON, tmp_path / CSV, Clusters())[0]


def test_images_have_their_files_and_boxes(tmp_path, hierarchy):
    files = make_files(tmp_path, [box("b", "car"), box("a", "dog"), box("b", "bus", 0, 1, 0, 0.5)])
    (tmp_path / "train" / "b.jpg").rename(tmp_path / "b.PNG")
    facts = build_annotations(tmp_path, files, hierarchy, Clusters(), NONE)
    annotations = read_annotations(tmp_path)
    assert annotations.keys == ["b", "a"]
    assert annotations.files == ["b.PNG", "train/a.jpg"]
    assert annotations.boxes.image.tolist() == [0, 0, 1]
    assert names_of(hierarchy, annotations.boxes.class_row) == ["car", "bus", "dog"]
    assert annotations.boxes.cluster.tolist() == [-1, -1, -1]
    assert annotations.labels is None
    assert facts["images"] == 2
    assert read_fixes(tmp_path) == []


def test_images_without_a_file_are_listed_and_most_stop(tmp_path, hierarchy):
    files = make_files(tmp_path, [box("a", "car"), box("b", "car"), box("c", "dog")])
    (tmp_path / "train" / "b.jpg").unlink()
    (tmp_path / "train" / "c.jpg").write_bytes(b"")
    facts = build_annotations(tmp_path, files, hierarchy, Clusters(), ALL)
    assert (facts["images"], facts["missing_images"], facts["bad_rows"]) == (1, 2, 0)
    report = json.loads((tmp_path / "scan_report.json").read_text())
    assert report["counts"] == {"image file missing or empty": 2}
    assert report["records"] == [
        {"line": 3, "reason": "image file missing or empty b"},
        {"line": 4, "reason": "image file missing or empty c"},
    ]
    assert read_annotations(tmp_path).keys == ["a"]
    with pytest.raises(UserError, match=r"2 of 3 images .* no file, such as b\.jpg; set data"):
        build_annotations(tmp_path, files, hierarchy, Clusters(), Limits(0.0, 0.5))


def test_bad_rows_are_listed_and_most_stop(tmp_path, hierarchy):
    files = make_files(tmp_path, [box("a", "car"), box("a", "cow"), box("b", "dog", 1, 0, 0, 1)])
    facts = build_annotations(tmp_path, files, hierarchy, Clusters(), ALL)
    assert (facts["images"], facts["bad_rows"]) == (1, 2)
    with pytest.raises(UserError, match="2 of 3 rows cannot be used, the first at line 3: unknown"):
        build_annotations(tmp_path, files, hierarchy, Clusters(), Limits(0.5, 1.0))


def test_no_image_at_all_is_an_error(tmp_path, hierarchy):
    files = make_files(tmp_path, [box("a", "cow")])
    with pytest.raises(UserError, match="no image is left that has a box and a file"):
        build_annotations(tmp_path, files, hierarchy, Clusters(), ALL)
    files = make_files(tmp_path, [])
    with pytest.raises(UserError, match="no rows after the header"):
        build_annotations(tmp_path, files, hierarchy, Clusters(), ALL)


@pytest.mark.parametrize("mend", [True, False])
def test_an_object_at_two_levels_keeps_the_deeper_class(tmp_path, hierarchy, mend):
    boxes = [box("a", "vehicle"), box("a", "car"), box("a", "bus", 0, 0.2, 0, 0.2)]
    files = make_files(tmp_path, boxes)
    facts = build_annotations(tmp_path, files, hierarchy, Clusters(mend=mend), NONE)
    names = names_of(hierarchy, read_annotations(tmp_path).boxes.class_row)
    assert names == (["car", "bus"] if mend else ["vehicle", "car", "bus"])
    assert facts["two_levels"] == int(mend)
    lines = [(line.fault, line.name, line.before) for line in read_fixes(tmp_path)]
    assert lines == ([("two levels", "Vehicle", "1 boxes")] if mend else [])


@pytest.mark.parametrize("used", [True, False])
def test_images_without_boxes_are_used_if_the_config_says_so(tmp_path, hierarchy, used):
    labels = [("a", "dog", 0), ("b", "car", 1), ("c", "bus", 0)]
    files = make_files(tmp_path, [box("a", "car")], labels=labels)
    settings = Clusters(use_image_labels=used)
    build_annotations(tmp_path, files, hierarchy, settings, NONE)
    annotations = read_annotations(tmp_path)
    assert annotations.keys == (["a", "b"] if used else ["a"])
    assert annotations.labels is not None
    assert annotations.labels.image.tolist() == ([0, 1, 1] if used else [0])
    assert annotations.labels.present.tolist() == ([0, 1, 1] if used else [0])  # b is a vehicle too
