import pytest

from lib.config.data import Data
from lib.planning.attribute_columns import attribute_lines, find_attributes
from tests.planning.test_text_columns import DATA, table, write


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("Brand", ["Acme", "Other"] * 10, "category"),
        ("base_colour", ["red", "blue", "", "green"] * 5, "category"),
        ("brand", [f"brand {row}" for row in range(20)], ""),
        ("brand", ["Acme"] * 20, ""),
        ("brand", ["n/a"] * 20, ""),
        ("Price (EUR)", [f"{row},99" for row in range(20)], "number"),
        ("price", ["on request"] * 10 + ["5", "6"] * 5, ""),
        ("amount", [f"{row} €" for row in range(20)], "number"),
        ("amount", [str(row) for row in range(20)], ""),
        ("year", ["2011", "2012"] * 10, "number"),
        ("product_type", ["shoe", "bag"] * 10, ""),
        ("size", ["42", "XL"] * 10, ""),
    ],
)
def test_brands_and_prices_are_found_by_name_and_value(tmp_path, name, values, kind):
    found = find_attributes(table(tmp_path / "a.csv", **{name: values}), DATA)
    assert found == ((name,) * (kind == "category"), (name,) * (kind == "number"))


def test_columns_of_another_use_and_those_that_new_products_lack_are_none(tmp_path):
    columns = {"brand": ["a", "b"] * 10, "price": [f"{row}.50" for row in range(20)]}
    path = table(tmp_path / "a.csv", **columns)
    write(tmp_path / "new.csv", id=["1"], image=["1.jpg"], price=["5"])
    assert find_attributes(path, DATA) == (("brand",), ("price",))
    data = Data(**{**vars(DATA), "root": str(tmp_path), "test": "new.csv"})
    assert find_attributes(path, data) == ((), ("price",))
    data = Data(**{**vars(DATA), "label_column": "brand"})
    assert find_attributes(path, data) == ((), ("price",))


def test_lines_name_the_columns_and_how_to_leave_them_out():
    data = Data(categorical_columns=("brand",), numeric_columns=("price",))
    lines = attribute_lines(data)
    assert "categories: 'brand' by name" in lines[0]
    assert "--set data.numeric_columns=[]" in lines[1]
    assert attribute_lines(Data()) == []
