from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import FileTable, concat_catalogs
from lib.data.image_reader import ImageReader
from lib.errors import UserError
from tests.features.toy_catalog import catalogue
from tests.image_catalog import SIZE, known

__all__ = ["known"]  # a fixture


def test_pictures_of_both_are_read_as_from_each(known, tmp_path):
    other = tmp_path / "other.bson"
    other.write_bytes(b"12345" + known.path.read_bytes())
    second = replace(known, path=other, offset=known.offset + 5)
    both = concat_catalogs(known, second)
    with ImageReader(known, SIZE, 1) as alone, ImageReader(both, SIZE, 1) as reader:
        for row in (0, 7, len(known.offset) - 1):
            np.testing.assert_array_equal(reader.decode(row), alone.decode(row))
            later = reader.decode(row + len(known.offset))
            np.testing.assert_array_equal(later, alone.decode(row))


def test_products_follow_each_other(tmp_path):
    rng = np.random.default_rng(1)
    one, other = (catalogue(rng, n, 30) for n in (9, 5))
    both = concat_catalogs(one, other)
    np.testing.assert_array_equal(both.label, np.append(one.label, other.label))
    for product in range(5):
        images = both.images_of(np.array([9 + product]))
        assert len(images) == other.image_count[product] == both.image_count[9 + product]
        if len(images):
            assert images[0] == both.first_image[9 + product]
            own = other.images_of(np.array([product]))
            np.testing.assert_array_equal(both.md5[images], other.md5[own])


def test_files_keep_their_places():
    rng = np.random.default_rng(1)
    one, other = (catalogue(rng, n, 30) for n in (9, 5))
    images = len(one.offset)
    files = FileTable(np.array([0, 4]), pa.chunked_array([["a.npy", "b.npy"]]), "image")
    first = replace(one, path=Path("/x"), files=files)
    both = concat_catalogs(first, replace(other, path=Path("/y.bson")))
    assert both.files is not None
    assert both.files.names.to_pylist() == ["/x/a.npy", "/x/b.npy", "/y.bson"]
    assert both.files.first_image.tolist() == [0, 4, images]


def test_other_kinds_of_pictures_are_refused():
    one = catalogue(np.random.default_rng(1), 4, 9)
    files = FileTable(np.array([0]), pa.chunked_array([["a.npy"]]), "uint8:28x28")
    with pytest.raises(UserError, match="must be the same"):
        concat_catalogs(one, replace(one, files=files))
