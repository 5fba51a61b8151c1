import hashlib
from pathlib import Path

import numpy as np
import pytest

from lib.data.image_reader import ImageReader
from lib.data.sources.numpy_arrays import list_arrays
from lib.errors import UserError
from tests.data.source_index import image_bytes, index_source


def test_real_bitmaps_are_indexed_and_read(shared_data, tmp_path):
    source = shared_data / "quickdraw" / "bitmap28_paper11"
    listing = list_arrays(source, True)
    facts, catalog, categories = index_source(tmp_path, source, source, listing)
    assert (facts["products"], facts["images"], len(categories)) == (2200, 2200, 11)
    assert categories.names[1] == ("alarm clock", "", "")
    assert catalog.files is not None
    assert catalog.files.codec == "uint8:28x28"
    assert catalog.key(201) == "alarm clock.npy:1"
    row = np.load(source / "alarm clock.npy")[1]
    assert catalog.label[201] == 1
    assert image_bytes(catalog, 201) == row.tobytes()
    assert catalog.md5[201].tobytes() == hashlib.md5(row.tobytes()).digest()
    with ImageReader(catalog, (28, 28), 1) as reader:
        np.testing.assert_array_equal(reader.decode(201)[:, :, 0], row.reshape(28, 28))


@pytest.fixture
def source(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (3, 5, 7), np.uint8)
    (tmp_path / "train" / "Animals").mkdir(parents=True)
    np.save(tmp_path / "train" / "Animals" / "cat.npy", values)
    np.save(tmp_path / "train" / "dog.npy", values[:2])
    np.save(tmp_path / "train" / "none.npy", values[:0])
    return tmp_path / "train"


def test_each_row_of_each_array_is_a_product(tmp_path, source):
    values = np.load(source / "Animals" / "cat.npy")
    listing = list_arrays(source, True)
    facts, catalog, categories = index_source(tmp_path / "i", source, source, listing)
    assert (facts["images"], facts["distinct_images"]) == (5, 3)
    assert categories.keys == ["Animals/cat", "dog"]
    rows = [values[i].tobytes() for i in (0, 1, 2, 0, 1)]
    assert [image_bytes(catalog, i) for i in range(5)] == rows


def test_classes_and_rows_per_class_can_be_limited(source):
    listing = list_arrays(source, True, ["Animals/cat"], 2)
    assert listing.keys == ["Animals/cat.npy:0", "Animals/cat.npy:1"]


def test_a_single_array_file_is_a_source(source):
    assert list_arrays(source / "dog.npy", False).keys == ["dog.npy:0", "dog.npy:1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 9), np.float32), "float32"),
        (np.zeros((2, 8), np.uint8), "must be uint8"),
        (np.zeros(9, np.uint8), "must be uint8"),
        (np.zeros((2, 0), np.uint8), "must be uint8"),
        (np.zeros((2, 3, 3, 3), np.uint8), "must be uint8"),
        (np.zeros((2, 3, 3), np.uint8, order="F"), "in C order"),
        (np.zeros((2, 16), np.uint8), "images of 4x4, but a.npy has 3x3"),
        (np.zeros((2, 9), object), "not a complete .npy file"),
    ],
)
def test_the_message_for_a_wrong_array_names_it(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 9), np.uint8))
    np.save(tmp_path / "b.npy", values)
    with pytest.raises(UserError, match=message) as error:
        list_arrays(tmp_path, True)
    assert str(tmp_path / "b.npy") in str(error.value)


def test_arrays_without_rows_are_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 9), np.uint8))
    with pytest.raises(UserError, match="no rows"):
        list_arrays(tmp_path, True)


def test_a_truncated_array_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((50, 9), np.uint8))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    with pytest.raises(UserError, match=r"not a complete \.npy file"):
        list_arrays(tmp_path, True)


def test_a_suffix_in_capitals_is_no_part_of_the_class(tmp_path):
    np.save(tmp_path / "cat.npy", np.zeros((1, 4), np.uint8))
    (tmp_path / "cat.npy").rename(tmp_path / "cat.NPY")
    assert list_arrays(tmp_path, True).labels == ["cat"]


def test_another_kind_of_file_is_named(tmp_path):
    (tmp_path / "cat.npy").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(UserError, match=r"cat\.npy: not a numpy array but an HTML page"):
        list_arrays(tmp_path, True)
