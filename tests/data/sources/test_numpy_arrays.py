"""Catalogues of arrays, as Quick, Draw! publishes them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from lib.data.image_reader import ImageReader
from lib.data.sources.base import root_of
from lib.data.sources.numpy_arrays import list_arrays
from lib.errors import UserError
from tests.data.sources.test_csv_table import indexed, picture_bytes


def test_real_bitmaps(shared_data, tmp_path):
    source = shared_data / "quickdraw" / "bitmap28_paper11"
    facts, known, classes = indexed(tmp_path, source, source, list_arrays(source, True))
    assert (facts["products"], facts["images"], len(classes)) == (2200, 2200, 11)
    assert classes.names[1] == ("alarm clock", "", "")
    assert known.files is not None
    assert known.files.codec == "uint8:28x28"
    assert known.key(201) == "alarm clock.npy:1"
    row = np.load(source / "alarm clock.npy")[1]
    assert known.label[201] == 1
    assert picture_bytes(known, 201) == row.tobytes()
    assert known.md5[201].tobytes() == hashlib.md5(row.tobytes()).digest()
    with ImageReader(known, (28, 28), 1) as reader:
        np.testing.assert_array_equal(reader.decode(201)[:, :, 0], row.reshape(28, 28))


def test_rows_of_any_shape_and_a_single_file(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (3, 5, 7), np.uint8)
    (tmp_path / "train" / "Animals").mkdir(parents=True)
    np.save(tmp_path / "train" / "Animals" / "cat.npy", values)
    np.save(tmp_path / "train" / "dog.npy", values[:2])
    np.save(tmp_path / "train" / "none.npy", values[:0])
    source = tmp_path / "train"
    facts, known, classes = indexed(tmp_path / "i", source, source, list_arrays(source, True))
    assert (facts["images"], facts["distinct_images"]) == (5, 3)
    assert classes.keys == ["Animals/cat", "dog"]
    assert [picture_bytes(known, i) for i in range(5)] == [
        values[i].tobytes() for i in (0, 1, 2, 0, 1)
    ]
    some = list_arrays(source, True, ["Animals/cat"], 2)
    assert some.keys == ["Animals/cat.npy:0", "Animals/cat.npy:1"]
    single = source / "dog.npy"
    assert root_of(single) == source
    assert list_arrays(single, False).keys == ["dog.npy:0", "dog.npy:1"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((2, 9), np.float32), "float32"),
        (np.zeros((2, 8), np.uint8), "must be uint8"),
        (np.zeros(9, np.uint8), "must be uint8"),
        (np.zeros((2, 0), np.uint8), "must be uint8"),
        (np.zeros((2, 3, 3), np.uint8, order="F"), "in C order"),
        (np.zeros((2, 16), np.uint8), "images of 4x4, but a.npy has 3x3"),
        (np.zeros((2, 9), object), "not a complete .npy file"),
    ],
)
def test_other_arrays_are_named(tmp_path: Path, values: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 9), np.uint8))
    np.save(tmp_path / "b.npy", values)
    with pytest.raises(UserError, match=words) as error:
        list_arrays(tmp_path, True)
    assert str(tmp_path / "b.npy") in str(error.value)


def test_a_file_cut_short_and_no_rows_at_all(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 9), np.uint8))
    with pytest.raises(UserError, match="no rows"):
        list_arrays(tmp_path, True)
    np.save(tmp_path / "a.npy", np.zeros((50, 9), np.uint8))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-5])
    with pytest.raises(UserError, match=r"not a complete \.npy file"):
        list_arrays(tmp_path, True)
