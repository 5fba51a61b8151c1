from pathlib import Path

import numpy as np
import pytest

from lib.data.attributes import join as module
from lib.data.sources.text_table import TableFormat
from lib.data.texts.tables import csv_texts
from lib.errors import UserError
from tests.data.texts.test_join import catalog, write


def join(folder: Path, path: Path, *ids: int, **options) -> tuple[dict, dict, dict]:
    """Facts, the values of each column, and the decimal separators."""
    arguments = {
        "categorical": ["brand"],
        "numeric": ["price"],
        "max_bad_fraction": 0.3,
        **options,
    }
    facts = module.join_attributes(
        folder, catalog(*ids), [csv_texts(path, "id", TableFormat())], **arguments
    )
    columns = [*arguments["categorical"], *arguments["numeric"]]
    return (
        facts,
        module.read_attributes(folder, columns).to_pydict(),
        module.read_readings(folder, arguments["numeric"]),
    )


def test_values_are_typed_and_those_of_the_products(tmp_path):
    path = write(
        tmp_path / "a.csv",
        "id;brand;price",
        "7;NIKE ;12,50 €",
        "3;;1.299",
        "9;nike;n/a",
        "5;  Dr.  Martens;on request",
        "7;other;99,00",
    )
    facts, values, readings = join(tmp_path, path, 3, 5, 7, 9, 11)
    assert values == {
        "brand": [None, "dr. martens", "nike", "nike", None],
        "price": [1299.0, None, 12.5, None, None],
    }
    assert readings == {"price": "comma"}
    assert facts["present"] == {"brand": 3, "price": 2}
    assert facts["unreadable"] == {"price": 1}
    assert (facts["products"], facts["without_row"]) == (5, 1)
    assert facts["said"] == [
        "price: 1 of 2 numbers are like '1.299'; the decimal separator is a comma: 0 numbers show"
        " a point, 1 a comma"
    ]
    assert any(
        "1 values are no numbers and count as missing: 'on request' (1)" in c
        for c in facts["cautions"]
    )


def test_numbers_of_other_products_are_read_like_those_of_the_labelled(tmp_path):
    path = write(tmp_path / "a.csv", "id,brand,price", "3,a,1.299")
    facts, values, _ = join(tmp_path, path, 3, trained={"price": "comma"})
    assert values["price"] == [1299]
    assert "as in the labelled products" in facts["said"][0]
    path = write(tmp_path / "b.csv", "id,brand,price", "3,a,1.299", "4,b,2.5", "5,b,2.5")
    facts, values, _ = join(tmp_path, path, 3, 4, trained={"price": "comma"})
    assert values["price"] == [1299, 2.5]
    assert any("but these values show a point" in caution for caution in facts["cautions"])


def test_what_no_value_shows_is_a_caution_and_can_be_set(tmp_path):
    path = write(tmp_path / "a.csv", "id,brand,price", "3,a,1.299", "4,a,2.100")
    facts, values, _ = join(tmp_path, path, 3)
    assert values["price"] == [1.299]
    assert any("though no value shows it; set data.decimal" in c for c in facts["cautions"])
    facts, values, _ = join(tmp_path, path, 3, decimal="comma")
    assert values["price"] == [1299]
    assert facts["cautions"] == [f"{path}: 1 rows are of no product of the catalog"]


def test_a_column_of_words_is_no_numeric_column(tmp_path):
    path = write(tmp_path / "a.csv", "id,brand,price", "3,a,cheap", "4,b,dear", "5,b,5")
    with pytest.raises(UserError) as error:
        join(tmp_path, path, 3, 4, 5)
    assert "column price: 2 of 3 values are no numbers, such as 'cheap' (1)" in str(error.value)
    _, values, _ = join(tmp_path, path, 3, 4, 5, must_match=False)
    assert values["price"] == [None, None, 5]


def test_a_column_of_ids_is_a_caution(tmp_path):
    rows = [f"{i},brand {i},1" for i in range(9)]
    facts, _, _ = join(tmp_path, write(tmp_path / "a.csv", "id,brand,price", *rows), *range(9))
    assert facts["cautions"] == ["brand: 9 different values of 9 products: hardly a category"]


def test_an_empty_column_is_all_missing(tmp_path):
    path = write(tmp_path / "a.csv", "id,brand,price", "3,,", "4,,")
    _, values, _ = join(tmp_path, path, 3, 4)
    assert values == {"brand": [None, None], "price": [None, None]}


def test_codes_are_those_of_the_labelled_products(tmp_path):
    labelled, other = tmp_path / "labelled", tmp_path / "other"
    for folder in (labelled, other):
        folder.mkdir()
    join(labelled, write(tmp_path / "a.csv", "id,brand,price", "1,b,1", "2,a,1", "3,,1"), 1, 2, 3)
    join(other, write(tmp_path / "b.csv", "id,brand,price", "1,A,1", "2,new,1", "3,,1"), 1, 2, 3)
    columns = [module.read_attributes(f, ["brand"])["brand"] for f in (labelled, other)]
    codes = module.value_codes(columns[0])
    assert codes == {"b": 0, "a": 1}
    found = [module.category_codes(column, codes) for column in columns]
    np.testing.assert_array_equal(found, [[0, 1, -1], [1, 2, -1]])
