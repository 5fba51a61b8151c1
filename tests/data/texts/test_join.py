import gzip
from pathlib import Path

import numpy as np
import pytest

from lib.data.catalog import Catalog
from lib.data.sources.text_table import TableFormat
from lib.data.texts import join as module
from lib.errors import UserError

NAMES = ["title", "brand"]


def catalog(*ids: int) -> Catalog:
    """Products without images."""
    none = np.empty(0, np.int64)
    counts = np.zeros(len(ids), np.int16)
    products = (np.array(ids, np.int64), counts, counts, counts)
    return Catalog(Path("catalog.bson"), *products, none, none, none, none, none)


def join(folder: Path, products: Catalog, *paths: Path, **options) -> tuple[dict, dict]:
    """Facts, and the texts of each column."""
    arguments = {
        "columns": NAMES,
        "id_column": "id",
        "form": TableFormat(),
        "max_bad_fraction": 0.3,
        **options,
    }
    facts = module.join_texts(folder, products, paths, **arguments)
    return facts, module.read_texts(folder, arguments["columns"]).to_pydict()


def write(path: Path, *lines: str) -> Path:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("name", ["texts.csv", "texts.csv.gz"])
def test_rows_are_those_of_the_catalog_whatever_their_order_in_the_table(tmp_path, name):
    path = write(
        tmp_path / name,
        "_id,brand,title",
        "7,, Кеды 红色 ",
        "99,Acme,of no product",
        "3,Acme,",
        "3,Other,the second row has what the first lacks",
    )
    facts, texts = join(tmp_path, catalog(3, 5, 7), path)
    assert texts == {
        "title": ["the second row has what the first lacks", None, "Кеды 红色"],
        "brand": ["Acme", None, None],
    }
    assert (facts["products"], facts["without_row"], facts["without_text"]) == (3, 1, 1)
    assert facts["texts"] == {"title": 2, "brand": 1}
    assert facts["cautions"] == [f"{path}: 1 rows are of no product of the catalog"]


def test_a_column_comes_from_the_first_table_that_has_it(tmp_path):
    first = write(tmp_path / "a.csv", "id,title", "3,from the catalog")
    second = write(tmp_path / "b.csv", "id,title,brand", "3,from beside,Acme")
    _, texts = join(tmp_path, catalog(3), first, second)
    assert texts == {"title": ["from the catalog"], "brand": ["Acme"]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["id,title", "3,x"], "no column brand; it has: id, title"),
        (["sku,title,brand", "3,x,y"], "no column id; it has: sku, title, brand"),
        (["id,title,brand", "8,x,y"], "none of its 1 ids, such as '8', is a product of catalog"),
        (["id,title,brand"], "none of its 0 ids is a product"),
        (["id,title,brand", "3,x,y", "4,x"], "1 rows cannot be read, line 3: 2 fields"),
        ([""], "no column title"),
    ],
)
def test_a_table_of_no_use_is_one_line(tmp_path, lines, message):
    path = write(tmp_path / "texts.csv", *lines)
    with pytest.raises(UserError) as error:
        join(tmp_path, catalog(3), path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"id,title,brand\n3,x,y\n"]
)
def test_a_damaged_archive_is_one_line(tmp_path, damage):
    path = write(tmp_path / "texts.csv.gz", "id,title,brand", *(f"{i},x,y" for i in range(999)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="a damaged gzip archive"):
        join(tmp_path, catalog(3), path)


def test_new_products_may_come_without_texts(tmp_path):
    path = write(tmp_path / "new.csv", "id,brand", "8,Acme")
    facts, texts = join(tmp_path, catalog(3), path, must_match=False)
    assert texts == {"title": [None], "brand": [None]}
    assert facts["cautions"][0] == "title: in no table; these values are missing"
    facts, texts = join(tmp_path, catalog(3), must_match=False)
    assert texts == {"title": [None], "brand": [None]}


def test_a_few_damaged_rows_are_said_and_passed_over(tmp_path):
    rows = [f"{number},title {number},y" for number in range(4)]
    path = write(tmp_path / "texts.csv", "id,title,brand", *rows, "4,no brand")
    facts, texts = join(tmp_path, catalog(2, 4), path)
    assert texts["title"] == ["title 2", None]
    assert "1 rows cannot be read, line 6" in facts["cautions"][0]
