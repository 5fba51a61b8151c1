import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import read_catalog, write_table
from lib.data.subset.tables import write_subset


@pytest.fixture
def index(tmp_path):
    """Five products of 2, 0, 1, 3 and 1 images in three files."""
    folder = tmp_path / "index"
    folder.mkdir()
    counts = np.array([2, 0, 1, 3, 1])
    write_table(
        folder / "products.arrow",
        {
            "product_id": np.arange(10, 15),
            "class_id": np.arange(5, dtype=np.int16),
            "first_image": np.cumsum(counts) - counts,
            "image_count": counts.astype(np.int16),
            "key": pa.array(list("abcde")),
        },
    )
    product = np.repeat(np.arange(5), counts).astype(np.int32)
    md5 = np.arange(14, dtype=np.uint64)
    write_table(
        folder / "images.arrow",
        {
            "product": product,
            "position": np.array([0, 1, 0, 0, 1, 2, 0], np.int16),
            "offset": np.arange(7) * 100,
            "length": np.arange(7, dtype=np.int32) + 1,
            "md5": pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), 7, [None, pa.py_buffer(md5)]
            ),
        },
    )
    files = {"first_image": np.array([0, 3, 6]), "name": ["x", "y", "z"], "codec": ["image"] * 3}
    write_table(folder / "files.arrow", files)
    return folder


def test_products_and_images_that_are_kept_point_to_the_same_bytes(index, tmp_path):
    catalog = read_catalog(index, tmp_path)
    images = np.array([1, 1, 1, 1, 0, 1, 1], bool)
    products = np.array([0, 1, 0, 1, 1], bool)
    counts = write_subset(tmp_path, index, catalog, images, products)
    part = read_catalog(tmp_path, tmp_path)
    assert counts.tolist() == part.image_count.tolist() == [0, 2, 1]
    assert part.product_id.tolist() == [11, 13, 14]
    assert part.label.tolist() == [1, 3, 4]
    assert [part.key(i) for i in range(3)] == ["b", "d", "e"]
    assert part.first_image.tolist() == [0, 0, 2]
    assert part.image_product.tolist() == [1, 1, 2]
    assert part.image_position.tolist() == [0, 1, 0]
    assert part.offset.tolist() == [300, 500, 600]
    assert part.length.tolist() == [4, 6, 7]
    assert part.md5.tolist() == catalog.md5[[3, 5, 6]].tolist()
    assert part.files is not None
    assert part.files.names.to_pylist() == ["y", "z"]
    assert part.files.first_image.tolist() == [0, 2]


def test_all_products_are_kept_where_none_are_named(index, tmp_path):
    catalog = read_catalog(index, tmp_path)
    counts = write_subset(tmp_path, index, catalog, np.arange(7) == 2)
    assert counts.tolist() == [0, 0, 1, 0, 0]
    assert read_catalog(tmp_path, tmp_path).product_id.tolist() == list(range(10, 15))
