import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.data import Data
from lib.config.scenes import Scenes
from lib.config.schema import Config
from lib.data.sources.source_files import (
    annotation_files,
    checked_path,
    checksum_settings,
    has_category_table,
    hierarchy_files,
    image_path,
    list_source,
    needs_unpacking,
    read_settings,
    source_kind,
    source_path,
)
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.pipeline.predict_target import predict_target
from tests.conftest import jpeg


def experiment(tmp_path: Path, new: Path | None = None, **data) -> Experiment:
    config = Config(name="x", work=str(tmp_path / "work"), data=Data(root=str(tmp_path), **data))
    return Experiment(config, target=None if new is None else predict_target(str(new)))


def test_the_sample_catalog_is_of_generated_bson_files(tmp_path):
    sample = experiment(tmp_path, source="sample")
    assert source_kind(sample, "train") == "bson"
    assert source_path(sample, "test") == tmp_path / "work" / "x" / "extract/sample/test.bson"
    assert has_category_table(sample)


def test_new_products_may_be_of_another_kind_than_the_train_side(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.jpg").write_bytes(jpeg(1))
    catalog = experiment(tmp_path, tmp_path / "new", source="npy", train="train", test="test")
    assert source_kind(catalog, "train") == "npy"
    assert source_kind(catalog, "test") == "folders"
    assert source_path(catalog, "train") == tmp_path / "train"
    assert source_path(catalog, "test") == tmp_path / "new"
    assert list_source(catalog, "test").keys == ["a.jpg"]
    assert not has_category_table(catalog)


def test_a_file_with_another_checksum_is_an_error(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"product,category,images\n")
    checksum = hashlib.sha256((tmp_path / "train.csv").read_bytes()).hexdigest()
    good = experiment(tmp_path, source="csv", train="train.csv", sha256={"train.csv": checksum})
    assert checked_path(good, "train") == tmp_path / "train.csv"
    assert checksum_settings(good, "train") == {"sha256": checksum}
    bad = experiment(tmp_path, source="csv", train="train.csv", sha256={"train.csv": "00"})
    with pytest.raises(UserError, match="its SHA-256 is"):
        checked_path(bad, "train")


def test_a_folder_is_an_error_where_a_file_is_needed(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"a folder; with data.source = csv it must be a file"):
        checked_path(experiment(tmp_path, source="csv", train="train"), "train")


def test_images_of_a_table_are_beside_it_unless_the_config_says_where(tmp_path):
    table = experiment(tmp_path, source="csv", train="train.csv")
    assert image_path(table, "train") == tmp_path
    (tmp_path / "images").mkdir()
    assert image_path(table, "train") == tmp_path / "images"
    table = experiment(tmp_path, source="csv", train="train.csv", images_root="jpegs")
    assert image_path(table, "train") == tmp_path / "jpegs"


def test_images_of_a_new_table_may_have_come_with_it(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "new.csv").write_text("product,images\n")
    table = experiment(
        tmp_path, tmp_path / "new" / "new.csv", source="csv", train="train.csv", images_root="jpegs"
    )
    assert image_path(table, "test") == tmp_path / "jpegs"
    (tmp_path / "new" / "jpegs").mkdir()
    assert image_path(table, "test") == tmp_path / "new" / "jpegs"


def test_compressed_drawings_are_read_from_where_they_are_unpacked(tmp_path):
    drawings = experiment(tmp_path, source="strokes", train="train")
    (tmp_path / "train").mkdir()
    assert not needs_unpacking(drawings, "train")
    assert checked_path(drawings, "train") == tmp_path / "train"
    (tmp_path / "train" / "cat.ndjson.gz").write_bytes(gzip.compress(b"{}\n"))
    assert needs_unpacking(drawings, "train")
    assert checked_path(drawings, "train") == drawings.path("extract/unpacked/train")


def test_classes_of_arrays_are_limited_on_the_train_side_alone(tmp_path):
    for side in ("train", "test"):
        (tmp_path / side).mkdir()
        np.save(tmp_path / side / "cat.npy", np.zeros((5, 4), np.uint8))
        np.save(tmp_path / side / "dog.npy", np.zeros((5, 4), np.uint8))
    arrays = experiment(
        tmp_path, source="npy", train="train", test="test", classes=("cat",), max_per_class=2
    )
    assert list_source(arrays, "train").labels == ["cat", "cat"]
    assert list_source(arrays, "test").labels == [""] * 10
    assert read_settings(arrays, "train") == {
        "source": "npy",
        "classes": ("cat",),
        "max_per_class": 2,
    }
    assert read_settings(arrays, "test") == {"source": "npy"}


def test_tables_of_boxes_are_found_with_the_folder_of_their_images(tmp_path):
    (tmp_path / "photos").mkdir()
    table = tmp_path / "photos" / "a-annotations-bbox.csv"
    table.touch()
    catalog = experiment(tmp_path, source="openimages", train="photos", test="new")
    assert (source_kind(catalog, "train"), source_kind(catalog, "test")) == (
        "openimages",
        "folders",
    )
    files = annotation_files(catalog, "train")
    assert (files.box_tables, files.image_root) == ([table], tmp_path / "photos")
    assert hierarchy_files(catalog) == (
        tmp_path / "bbox_labels_600_hierarchy.json",
        tmp_path / "class-descriptions-boxable.csv",
    )
    labelled = experiment(tmp_path, source="openimages", train="photos", test="photos")
    assert source_kind(labelled, "test") == "openimages"
    elsewhere = experiment(
        tmp_path, source="openimages", train="photos/a-annotations-bbox.csv", images_root="b"
    )
    assert annotation_files(elsewhere, "train").image_root == tmp_path / "b"
    with pytest.raises(UserError, match=r"no table \*annotations-bbox\.csv in it; set data\.train"):
        annotation_files(experiment(tmp_path, source="openimages", train="."), "train")


def test_composed_scenes_stand_beside_the_tables_or_alone(tmp_path):
    def composed(train: str) -> Experiment:
        catalog = experiment(tmp_path, source="openimages", train=train, test="")
        scenes = Scenes(num_images=5, num_test_images=2, pictures="pictures")
        return Experiment(replace(catalog.config, scenes=scenes))

    (tmp_path / "a-annotations-bbox.csv").touch()
    folder = tmp_path / "work" / "x" / "extract" / "scenes"
    both, alone = composed("a-annotations-bbox.csv"), composed("")
    assert both.sides == alone.sides == ("train", "test")
    assert source_path(both, "test") == folder / "test"
    assert source_kind(both, "test") == "folders"
    files = annotation_files(both, "train")
    assert files.box_tables == [tmp_path / "a-annotations-bbox.csv"]
    assert (files.image_root, files.scenes) == (tmp_path, folder)
    files = annotation_files(alone, "train")
    assert (files.box_tables, files.image_root, files.scenes) == ([], folder, folder)
    assert hierarchy_files(both)[0] == folder / "bbox_labels_600_hierarchy.json"
