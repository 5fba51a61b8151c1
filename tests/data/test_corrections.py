"""A table of corrected labels: what it changes in an index, and what is refused."""

import numpy as np
import pytest

from lib.data.catalog import Categories, read_catalog
from lib.data.corrections import (
    correct_labels,
    find_products,
    read_class_table,
    read_given_labels,
)
from lib.data.sources.bson_file import index_bson
from lib.errors import UserError
from tests.conftest import jpeg, product

CATEGORIES = Categories(np.array([7, 8, 9]), [("a", "b", str(c)) for c in (7, 8, 9)])


@pytest.fixture
def index(tmp_path, write_bson):
    """Products 11, 12 and 13 of the categories 7, 8 and 9."""
    records = [product(11 + n, [jpeg(n)], 7 + n) for n in range(3)]
    path, folder = write_bson(records), tmp_path / "index"
    folder.mkdir()
    index_bson(folder, path, CATEGORIES, True, 0.0, processes=1)
    return folder


def table(folder, *lines):
    path = folder.parent / "corrections.csv"
    path.write_text("\n".join(["product,class,name", *lines]) + "\n")
    return path


def test_a_table_changes_labels_and_keeps_the_given_ones(index):
    before = read_catalog(index, index)
    assert read_given_labels(index).tolist() == [0, 1, 2]
    path = table(index, "13,7,x", "12,8,x", "11,,not known")
    for _ in range(2):  # a build that was killed at its end writes the same again
        facts = correct_labels(index, path, CATEGORIES)
        assert facts == {"corrected_labels": 1, "corrections_without_change": 1}
        after = read_catalog(index, index)
        assert after.label.tolist() == [0, 1, 0]
        assert read_given_labels(index).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(after.md5, before.md5)
    np.testing.assert_array_equal(after.image_count, before.image_count)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["11,7,x", "14,7,x"], "1 of its 2 products are not among the labelled ones, the first is"),
        (["11,6,x"], "line 2: 6 is no class of the catalog"),
        (["11,7,x", "11,8,x"], "line 3: 11 has two classes"),
        (["11,7,x", "12"], "export the table again"),
    ],
)
def test_what_the_catalog_does_not_know_is_refused_in_one_line(index, lines, message):
    with pytest.raises(UserError, match=message) as error:
        correct_labels(index, table(index, *lines), CATEGORIES)
    assert "corrections.csv" in str(error.value)
    assert "\n" not in str(error.value)
    assert read_catalog(index, index).label.tolist() == [0, 1, 2]


def test_products_are_found_by_the_names_of_the_source(index):
    catalog = read_catalog(index, index)
    assert find_products(catalog, ["13", "x", "11"]).tolist() == [2, -1, 0]
    assert find_products(catalog, []).tolist() == []
    path = table(index, "5,8,x")
    assert read_class_table(path, CATEGORIES) == {"5": 1}
