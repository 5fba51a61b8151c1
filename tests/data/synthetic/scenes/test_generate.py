"""A folder of composed scenes: official layout, equal bytes, and every planted fault is found.

The finder here is the plain definition of each kind of fault, on nothing but the written files.
"""

import csv
import itertools
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import bson
import cv2
import pytest

from lib.config.clusters import Clusters
from lib.config.scenes import DESCRIPTIONS_FILE, HIERARCHY_FILE, Faults, Scenes
from lib.data.openimages.annotation_files import AnnotationFiles
from lib.data.openimages.annotations import Limits, build_annotations
from lib.data.openimages.places import read_hierarchy_file
from lib.data.synthetic.scenes.class_tree import read_tree, walk
from lib.data.synthetic.scenes.generate import generate
from lib.data.synthetic.scenes.plan import power_law_counts
from lib.errors import UserError

FAULTS = Faults(
    placed_twice=0.1,
    missing_parent=0.3,
    missing_description=0.1,
    two_levels=0.2,
    missing_box=0.15,
    wrong_label=0.1,
    missing_ancestor=0.2,
)
SETTINGS = Scenes(
    num_images=200, num_test_images=20, num_classes=60, size=64, inside=0.0, faults=FAULTS
)
NO_FAULTS = Faults(**dict.fromkeys(Faults.__dataclass_fields__, 0.0))


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("scenes")
    return folder, generate(folder, SETTINGS, 1)


@pytest.fixture(scope="module")
def folder(written) -> Path:
    return written[0]


def planted(folder: Path, kind: str) -> list[dict[str, str]]:
    return [row for row in read(folder / "truth/train-faults.csv") if row["Kind"] == kind]


def boxes_by_image(path: Path) -> dict[str, list[tuple[str, tuple[float, ...]]]]:
    boxes = defaultdict(list)
    for row in read(path):
        edges = tuple(float(row[column]) for column in ("XMin", "XMax", "YMin", "YMax"))
        boxes[row["ImageID"]].append((row["LabelName"], edges))
    return boxes


def positives(folder: Path) -> dict[str, set[str]]:
    labels = defaultdict(set)
    for row in read(folder / "train-annotations-human-imagelabels-boxable.csv"):
        if row["Confidence"] == "1":
            labels[row["ImageID"]].add(row["LabelName"])
    return labels


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    wide = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[2], b[2]))
    areas = [(box[1] - box[0]) * (box[3] - box[2]) for box in (a, b)]
    return wide * high / (sum(areas) - wide * high)


def test_files_and_columns_are_the_official_ones(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "train",
        "test",
        "truth",
        "SOURCES.txt",
        HIERARCHY_FILE,
        DESCRIPTIONS_FILE,
        "train-annotations-bbox.csv",
        "train-annotations-human-imagelabels-boxable.csv",
    }
    header = (folder / "train-annotations-bbox.csv").read_text().splitlines()[0]
    assert header == (
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
        "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
    )
    labels = (folder / "train-annotations-human-imagelabels-boxable.csv").read_text()
    assert labels.startswith("ImageID,Source,LabelName,Confidence\n")
    assert not labels.startswith(" ")


def test_columns_are_those_of_the_real_table(folder, shared_data):
    real = (shared_data / "openimages/photos/vehicles-annotations-bbox.csv").read_text()
    ours = (folder / "train-annotations-bbox.csv").read_text()
    assert ours.splitlines()[0] == real.splitlines()[0]


def test_every_image_decodes_and_boxes_are_fractions(folder):
    boxes = boxes_by_image(folder / "truth/train-annotations-bbox.csv")
    images = sorted((folder / "train").glob("*.jpg"))
    assert [path.stem for path in images] == sorted(boxes)
    assert len(images) == 200
    assert len(list((folder / "test").glob("*.jpg"))) == 20
    for path in images[:30]:
        image = cv2.imread(str(path))
        assert max(image.shape) == 64
        for _, (x_min, x_max, y_min, y_max) in boxes[path.stem]:
            assert 0 <= x_min < x_max <= 1
            assert 0 <= y_min < y_max <= 1


def test_subjects_follow_the_power_law(folder, written):
    counts = Counter(row["LabelName"] for row in read(folder / "truth/train-labels.csv"))
    num_classes = written[1]["classes"]
    expected = power_law_counts(200, num_classes, SETTINGS.power_law)
    assert sorted(counts.values(), reverse=True) == sorted(expected[expected > 0].tolist())[::-1]


def test_two_levels_are_two_boxes_on_each_other(folder):
    tree = read_tree(folder / "truth")
    found = {
        (image, label, other)
        for image, boxes in boxes_by_image(folder / "train-annotations-bbox.csv").items()
        for label, box in boxes
        for other, second in boxes
        if other in tree.ancestors(label) and iou(box, second) > 0.9
    }
    rows = planted(folder, "two_levels")
    assert found == {(row["ImageID"], row["LabelName"], row["Other"]) for row in rows}
    assert len(rows) > 20


def test_a_missing_box_is_a_label_without_any(folder):
    tree, boxes = read_tree(folder / "truth"), boxes_by_image(folder / "train-annotations-bbox.csv")
    ancestors = {label: {label, *tree.ancestors(label)} for label in tree.labels}
    found = set()
    for image, labels in positives(folder).items():
        boxed = set().union(*(ancestors[label] for label, _ in boxes[image]))
        lacking = labels - boxed
        found |= {
            (image, label)
            for label in lacking
            if not any(label in ancestors[other] - {other} for other in lacking)
        }
    rows = planted(folder, "missing_box")
    assert found == {(row["ImageID"], row["LabelName"]) for row in rows}
    assert len(rows) > 20


def test_a_missing_ancestor_is_a_label_without_what_is_above_it(folder):
    tree = read_tree(folder / "truth")
    removed = {row["LabelName"] for row in planted(folder, "missing_parent")}
    found = {
        (image, label)
        for image, labels in positives(folder).items()
        for label in labels
        if set(tree.ancestors(label)) - removed - labels
    }
    rows = planted(folder, "missing_ancestor")
    assert found == {(row["ImageID"], row["LabelName"]) for row in rows}
    assert len(rows) > 10


def test_a_wrong_label_is_at_the_box_of_another_class(folder):
    truth = boxes_by_image(folder / "truth/train-annotations-bbox.csv")
    tree = read_tree(folder / "truth")
    found = {
        (image, true_label, label)
        for image, boxes in boxes_by_image(folder / "train-annotations-bbox.csv").items()
        for label, box in boxes
        for true_label, true_box in truth[image]
        if box == true_box and label != true_label and label not in tree.ancestors(true_label)
    }
    rows = planted(folder, "wrong_label")
    assert found == {(row["ImageID"], row["LabelName"], row["Other"]) for row in rows}
    assert len(rows) > 10


def test_faults_of_the_hierarchy_are_those_of_its_files(folder):
    places = Counter(
        node["LabelName"] for node, _, _ in walk(json.loads((folder / HIERARCHY_FILE).read_text()))
    )
    names = {line.split(",")[0] for line in (folder / DESCRIPTIONS_FILE).read_text().splitlines()}
    found = {
        "placed_twice": {label for label, count in places.items() if count > 1},
        "missing_parent": names - set(places),
        "missing_description": set(places) - names,
    }
    for kind, labels in found.items():
        assert labels == {row["LabelName"] for row in planted(folder, kind)}
        assert labels
    truth = read_tree(folder / "truth")
    assert set(truth.labels) == set(truth.names)


def test_the_facts_count_what_was_written(written):
    folder, facts = written
    kinds = Counter(row["Kind"] for row in read(folder / "truth/train-faults.csv"))
    rows = read(folder / "train-annotations-bbox.csv")
    assert {key: facts[key] for key in kinds} == kinds
    assert (facts["train_images"], facts["train_boxes"]) == (200, len(rows))


def test_scenes_to_classify_have_truth_alone(folder):
    assert not list(folder.glob("test-*"))
    tests = {row["ImageID"] for row in read(folder / "truth/test-labels.csv")}
    assert tests == {path.stem for path in (folder / "test").iterdir()}


def all_bytes(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_the_seed_alone_determines_every_byte(tmp_path):
    small = replace(SETTINGS, num_images=24, num_test_images=4, num_classes=12)
    for name, seed, threads in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        generate(tmp_path / name, small, seed, threads)
    first, second, other = (all_bytes(tmp_path / name) for name in "abc")
    assert first == second
    assert not set(first.values()) & {other[k] for k in other if k.endswith(".jpg")}


def test_without_faults_the_tables_are_the_truth(tmp_path):
    generate(tmp_path, replace(SETTINGS, num_images=40, num_classes=12, faults=NO_FAULTS), 1)
    truth = boxes_by_image(tmp_path / "truth/train-annotations-bbox.csv")
    assert boxes_by_image(tmp_path / "train-annotations-bbox.csv") == truth
    assert (tmp_path / HIERARCHY_FILE).read_text() == (
        tmp_path / "truth" / HIERARCHY_FILE
    ).read_text()
    assert read(tmp_path / "truth/train-faults.csv") == []


@pytest.mark.parametrize("size", [16, 32])
def test_the_smallest_scenes_and_every_fraction_at_one_work(tmp_path, size):
    full = dict.fromkeys(("occlusion", "truncation", "parts", "difficulty"), 1.0)
    faults = Faults(**dict.fromkeys(Faults.__dataclass_fields__, 1.0))
    settings = Scenes(num_images=30, size=size, num_classes=10, faults=faults, **full)
    facts = generate(tmp_path, settings, 1)
    assert facts["train_images"] == 30
    generate(tmp_path, replace(settings, groups=1.0, inside=1.0, power_law=5.0), 2)
    generate(tmp_path, replace(settings, depictions=1.0, num_classes=2), 3)


def some_pictures(folder: Path, shared: Path) -> Path:
    """A part of the shared pictures that is read in a moment: links, and the first products."""
    links = [f"openimages/{name}" for name in (HIERARCHY_FILE, DESCRIPTIONS_FILE, "photos")]
    links.append("fashion/category_names.csv")
    drawn = ("bat", "dog", "knife", "bicycle", "teddy-bear", "hat", "car", "tree", "cello", "eye")
    links += [f"quickdraw/strokes/{name}.ndjson.gz" for name in drawn]
    for link in links:
        (folder / link).parent.mkdir(parents=True, exist_ok=True)
        (folder / link).symlink_to(shared / link)
    with (shared / "fashion/train.bson").open("rb") as file:
        records = itertools.islice(bson.decode_file_iter(file), 400)
        (folder / "fashion/train.bson").write_bytes(b"".join(map(bson.encode, records)))
    return folder


def test_scenes_of_real_pictures_over_the_real_hierarchy(tmp_path, shared_data):
    """190 of its classes stand in it more than once: their true place is that of the reader."""
    pictures = str(some_pictures(tmp_path / "pictures", shared_data))
    settings = Scenes(num_images=80, size=64, power_law=0.3, pictures=pictures, faults=FAULTS)
    generate(tmp_path, settings, 1, threads=2)
    kinds = {
        row["Picture"].split("/")[0] for row in read(tmp_path / "truth/train-annotations-bbox.csv")
    }
    assert {"quickdraw", "fashion", "openimages", "figure"} <= kinds
    assert len(read_tree(tmp_path / "truth").labels) == 601
    files = (tmp_path / HIERARCHY_FILE, tmp_path / DESCRIPTIONS_FILE)
    hierarchy, _ = read_hierarchy_file(*files, Clusters())
    (tmp_path / "found").mkdir()
    tables = AnnotationFiles([], [], tmp_path, tmp_path)
    build_annotations(tmp_path / "found", tables, hierarchy, Clusters(), Limits(0.0, 0.0))
    found = {(row["fault"], row["image"]) for row in read(tmp_path / "found/faults.csv")}
    rows = read(tmp_path / "truth/train-faults.csv")
    expected = {
        (row["Kind"].replace("_", " "), row["ImageID"])
        for row in rows
        if row["ImageID"] and row["Kind"] != "wrong_label"
    }
    assert found == expected
    assert {kind for kind, _ in found} == {"two levels", "missing box", "missing ancestor"}


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(UserError, match=r"scenes\.pictures"):
        generate(tmp_path, Scenes(num_images=1, pictures=str(tmp_path / "none")), 1)
