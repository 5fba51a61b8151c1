from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import (
    FIT,
    HOLDOUT,
    LOCKED,
    Categories,
    FileTable,
    Splits,
    build_categories,
    build_named_categories,
    concat_catalogs,
    read_categories,
    read_table,
    write_table,
)
from lib.data.image_reader import ImageReader
from lib.data.sources.text_table import TableFormat
from lib.errors import UserError
from tests.conftest import jpeg
from tests.features.toy_catalog import random_catalog

HEADER = "category_id,category_level1,category_level2,category_level3\n"


def test_a_table_is_read_as_it_was_written(tmp_path):
    columns = {"x": np.arange(5, dtype=np.int16), "name": pa.array(list("abcde"))}
    write_table(tmp_path / "t.arrow", columns)
    table = read_table(tmp_path / "t.arrow")
    assert table["x"].num_chunks == 1
    np.testing.assert_array_equal(table["x"].to_numpy(), columns["x"])
    assert table["name"].to_pylist() == list("abcde")


def test_classes_are_sorted_by_category_id(tmp_path, write_categories):
    assert build_categories(tmp_path, write_categories([30, 10, 20])) == {"classes": 3}
    categories = read_categories(tmp_path)
    assert categories.category_id.tolist() == [10, 20, 30]
    assert categories.names[0] == ("TOP", "MIDDLE 0", "LEAF 10")
    assert categories.key(1) == "20"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "line 1: no column category_id"),
        (HEADER + "x,a,b,c\n", "line 2: category_id 'x' is not an integer"),
        (HEADER, "no categories"),
        (HEADER + "1,a,b,c, d\n", "line 2: 5 fields, but the header has 4"),
        (
            HEADER + "9223372036854775808,a,b,c\n",
            "line 2: category_id 9223372036854775808 is beyond",
        ),
        (HEADER + "1,a,b,c\n1,a,b,c\n", "line 3: duplicate category_id 1"),
    ],
)
def test_the_message_for_a_bad_category_table_names_the_line(tmp_path, text, message):
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        build_categories(tmp_path, path)


def test_a_category_table_is_read_in_its_encoding(tmp_path):
    path = tmp_path / "c.csv"
    path.write_bytes((HEADER + "1,a,b,d\u00e9co\n2,a,b,c\n").encode("cp1252"))
    with pytest.raises(UserError, match="line 2: not utf-8: set data"):
        build_categories(tmp_path, path)
    build_categories(tmp_path, path, TableFormat("cp1252"))
    assert read_categories(tmp_path).names[0] == ("a", "b", "d\u00e9co")


def test_too_many_categories_are_an_error(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(HEADER + "".join(f"{i},a,b,c\n" for i in range(32768)))
    with pytest.raises(UserError, match="32768 categories; at most 32,767 are supported"):
        build_categories(tmp_path, path)


def test_named_classes_are_paths_of_up_to_three_levels(tmp_path):
    labels = ["Men/Tops/Tees/Red", "", "Bags", "Bags"]
    build_named_categories(tmp_path, Path("x"), labels)
    categories = read_categories(tmp_path)
    assert categories.keys == ["Bags", "Men/Tops/Tees/Red"]
    assert categories.names == [("Bags", "", ""), ("Men", "Tops", "Tees/Red")]
    assert categories.category_id.tolist() == [0, 1]
    with pytest.raises(UserError, match="no product has a category"):
        build_named_categories(tmp_path, Path("x"), [""])


def test_one_category_is_too_few(tmp_path):
    with pytest.raises(UserError, match="x: every product has the category 'Bags'"):
        build_named_categories(tmp_path, Path("x"), ["Bags", "", "Bags"])


def test_only_levels_that_group_classes_are_given():
    names = [("A", "x", "1"), ("A", "x", "2"), ("A", "y", "3"), ("A", "y", "4")]
    categories = Categories(np.arange(4), names)
    assert [level.tolist() for level in categories.levels()] == [[0, 0, 1, 1]]


def test_products_of_parts_and_their_folds():
    part = np.array([FIT, LOCKED, HOLDOUT, FIT], np.int8)
    splits = Splits(part, np.array([3, -1, 2, 0], np.int8))
    assert splits.products("fit").tolist() == [0, 3]
    assert splits.products("holdout", "locked").tolist() == [1, 2]
    assert splits.fold_of_product(4).tolist() == [3, -1, 2, 0]
    assert splits.fold_of_product(2).tolist() == [1, -1, 0, 0]


def test_images_of_products_are_ascending(index_products):
    catalog = index_products([[jpeg(i)] * (i % 3) for i in range(6)])
    assert catalog.images_of(np.array([5, 1, 3])).tolist() == [0, 4, 5]


def test_concatenated_catalogs_read_the_images_of_both(index_products, tmp_path):
    first = index_products([[jpeg(i)] for i in range(5)])
    copy = tmp_path / "copy.bson"
    copy.write_bytes(b"12345" + first.path.read_bytes())
    both = concat_catalogs(first, replace(first, path=copy, offset=first.offset + 5))
    with ImageReader(first, (40, 32), 1) as one, ImageReader(both, (40, 32), 1) as reader:
        for row in range(5):
            np.testing.assert_array_equal(reader.decode(row), one.decode(row))
            np.testing.assert_array_equal(reader.decode(row + 5), one.decode(row))


def test_concatenated_products_follow_each_other():
    rng = np.random.default_rng(1)
    first, second = (random_catalog(rng, n, 30) for n in (9, 5))
    both = concat_catalogs(first, second)
    np.testing.assert_array_equal(both.label, np.append(first.label, second.label))
    for product in range(5):
        images = both.images_of(np.array([9 + product]))
        assert len(images) == second.image_count[product] == both.image_count[9 + product]
        if len(images):
            assert images[0] == both.first_image[9 + product]
            expected = second.md5[second.images_of(np.array([product]))]
            np.testing.assert_array_equal(both.md5[images], expected)


def test_concatenated_files_have_absolute_names_and_shifted_images():
    rng = np.random.default_rng(1)
    first, second = (random_catalog(rng, n, 30) for n in (9, 5))
    files = FileTable(np.array([0, 4]), pa.chunked_array([["a.npy", "b.npy"]]), "image")
    first = replace(first, path=Path("/x"), files=files)
    both = concat_catalogs(first, replace(second, path=Path("/y.bson")))
    assert both.files is not None
    assert both.files.names.to_pylist() == ["/x/a.npy", "/x/b.npy", "/y.bson"]
    assert both.files.first_image.tolist() == [0, 4, len(first.offset)]


def test_catalogs_with_different_codecs_are_an_error():
    catalog = random_catalog(np.random.default_rng(1), 4, 9)
    files = FileTable(np.array([0]), pa.chunked_array([["a.npy"]]), "uint8:28x28")
    with pytest.raises(UserError, match=r"stored as uint8:28x28, those of .* as image"):
        concat_catalogs(catalog, replace(catalog, files=files))
