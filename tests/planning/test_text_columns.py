import csv
from pathlib import Path

import pytest

from lib.config.data import Data
from lib.planning.text_columns import find_texts

DATA = Data(source="csv", test="", id_column="id", label_column="class", images_column="image")
COLORS = ("red", "blue", "green", "white", "black")


def write(path: Path, **columns: list[str]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    return path


def table(path: Path, **more: list[str]) -> Path:
    """Twenty products."""
    rows = range(20)
    return write(
        path,
        id=[str(row) for row in rows],
        image=[f"{row}.jpg" for row in rows],
        **{"class": [f"c{row % 2}" for row in rows]},
        **more,
    )


@pytest.mark.parametrize(
    ("name", "values", "taken"),
    [
        ("Product Title", [f"nice bag {row}" for row in range(20)], True),
        ("brand", ["Acme", "Other"] * 10, True),
        ("brand", [""] * 19 + ["Acme"], False),
        ("name", [str(row) for row in range(20)], False),
        ("Titel", [f"{color} bag of leather {row}" for row in range(4) for color in COLORS], True),
        ("size", ["42", "XL"] * 10, False),
        ("color", list(COLORS) * 4, False),
        ("product_type", [f"a long type of kind {row}" for row in range(20)], False),
        ("link", [f"https://shop/a nice long bag {row}" for row in range(20)], False),
    ],
)
def test_titles_and_sentences_are_texts(tmp_path, name, values, taken):
    assert find_texts(table(tmp_path / "a.csv", **{name: values}), DATA) == ((name,) * taken)


def test_columns_of_another_use_and_those_that_new_products_lack_are_none(tmp_path):
    titles = {"title": [f"bag {row}" for row in range(20)], "name": ["a bag", "a shoe"] * 10}
    path = table(tmp_path / "a.csv", **titles)
    write(tmp_path / "new.csv", id=["1"], image=["1.jpg"], title=["bag"])
    assert find_texts(path, DATA) == ("title", "name")
    data = Data(**{**vars(DATA), "root": str(tmp_path), "test": "new.csv"})
    assert find_texts(path, data) == ("title",)
    data = Data(**{**vars(DATA), "label_column": "name"})
    assert find_texts(path, data) == ("title",)
