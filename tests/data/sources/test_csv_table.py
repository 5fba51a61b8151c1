import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.data import Data
from lib.data.sources.base import Listing, id_from_name
from lib.data.sources.csv_table import list_csv
from lib.errors import UserError
from tests.conftest import jpeg
from tests.data.source_index import image_bytes, index_source

DATA = Data(source="csv")


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """Write a table, and a file in `images` for each image whose name does not begin with "no"."""

    def write(rows: Sequence[str], header: str = "product,category,images", **kwargs) -> Path:
        path = tmp_path / "products.csv"
        path.write_bytes("\n".join([header, *rows, ""]).encode(**kwargs))
        (tmp_path / "images").mkdir(exist_ok=True)
        names = {name.strip() for row in rows for name in row.split(",")[-1].split("|")}
        for name in sorted(names):
            if name and not name.startswith("no"):
                (tmp_path / "images" / name).write_bytes(jpeg(id_from_name(name) % 2**31))
        return path

    return write


def list_table(path: Path, data: Data = DATA, labelled: bool = True) -> Listing:
    return list_csv(path, labelled, path.parent / "images", data)


def test_the_users_own_split_stands_in_the_index(write_csv, tmp_path):
    rows = ["1,train,A,a.jpg", "2,test,B,b.jpg", "3,,B,c.jpg", "4,train,A,d.jpg", "4,test,A,e.jpg"]
    source = write_csv(rows, "product,part,category,images")
    data = replace(DATA, split_column="part")
    listing = list_table(source, data)
    assert listing.splits == [
        "train",
        "test",
        "",
        "train",
        "test",
    ]  # nothing continues another part
    assert list_table(source).splits is None
    assert list_table(source, data, labelled=False).splits is None
    same = write_csv(["4,train,A,d.jpg", "4,,A,e.jpg"], "product,part,category,images")
    assert list_table(same, data).splits == ["train"]
    listing = list_table(write_csv(rows[:4], "product,part,category,images"), data)
    _, catalog, _ = index_source(tmp_path / "index", source, source.parent / "images", listing)
    assert catalog.split.to_pylist() == ["train", "test", "", "train"]


def test_a_real_table_is_indexed(shared_data, tmp_path):
    source, root = shared_data / "luma" / "products.csv", shared_data / "luma" / "images"
    listing = list_csv(source, True, root, replace(DATA, group_by="style"))
    facts, catalog, categories = index_source(tmp_path, source, root, listing)
    assert facts == {"products": 449, "images": 706, "distinct_images": 704, "bad_records": 0}
    assert len(categories) == 15
    assert catalog.keys is not None
    assert catalog.keys.to_pylist()[:2] == ["MH01-Black", "MH01-Gray"]
    assert categories.names[catalog.label[0]] == ("Men", "Tops", "Hoodies & Sweatshirts")
    assert categories.key(catalog.label[0]) == "Men/Tops/Hoodies & Sweatshirts"
    assert catalog.group is not None
    assert catalog.group.dtype == np.int32
    styles = [key.split("-")[0] for key in catalog.keys.to_pylist()]
    pairs = {*zip(styles, catalog.group.tolist(), strict=True)}
    assert len(pairs) == len({*catalog.group.tolist()})
    for image in (0, 100, 705):
        digest = hashlib.md5(image_bytes(catalog, image)).digest()
        assert digest == catalog.md5[image].tobytes()


def test_rows_become_products_with_classes_and_images(tmp_path, write_csv, caplog):
    path = write_csv(
        [
            'b 2,"Men/Tops, warm/Hoodies/Red",b1.jpg| b2.jpg',
            "",
            "a-1,Bags,a.jpg",
            '"x\ny",Men/Tops,no-such.jpg|b1.jpg',
            "c,Bags,",
        ],
        encoding="utf-8-sig",
    )
    listing = list_table(path)
    facts, catalog, categories = index_source(tmp_path / "i", path, tmp_path / "images", listing)
    assert facts == {"products": 4, "images": 4, "distinct_images": 3, "bad_records": 0}
    assert [catalog.key(row) for row in range(4)] == ["b 2", "a-1", "x\ny", "c"]
    assert categories.keys == ["Bags", "Men/Tops", "Men/Tops, warm/Hoodies/Red"]
    assert categories.names == [
        ("Bags", "", ""),
        ("Men", "Tops", ""),
        ("Men", "Tops, warm", "Hoodies/Red"),
    ]
    assert categories.category_id.tolist() == [0, 1, 2]
    assert catalog.label.tolist() == [2, 0, 1, 0]
    assert catalog.image_count.tolist() == [2, 1, 1, 0]
    assert catalog.group is None
    assert image_bytes(catalog, 3) == (tmp_path / "images" / "b1.jpg").read_bytes()
    report = json.loads((tmp_path / "i" / "scan_report.json").read_text())
    assert report["records"] == [
        {"line": 5, "reason": "image file missing or empty no-such.jpg"},
        {"line": 7, "reason": "product without images"},
    ]
    warning = "1 x image file missing or empty, the first at line 5 (no-such.jpg)"
    assert warning in caplog.text


def test_integer_ids_are_kept(tmp_path, write_csv):
    listing = list_table(write_csv(["30,A,a.jpg", "-4,B,b.jpg"]))
    _, catalog, _ = index_source(tmp_path / "n", tmp_path, tmp_path / "images", listing)
    assert catalog.product_id.tolist() == [30, -4]
    assert catalog.keys is None
    assert catalog.key(0) == "30"


@pytest.mark.parametrize("key", ["007", "1.0", "4611686018427387904", "x"])
def test_other_ids_are_hashed_and_kept_as_keys(tmp_path, write_csv, key):
    listing = list_table(write_csv(["30,A,a.jpg", f"{key},B,b.jpg"]))
    _, catalog, _ = index_source(tmp_path / "i", tmp_path, tmp_path / "images", listing)
    assert catalog.product_id.tolist() == [30, id_from_name(key)]
    assert catalog.key(1) == key
    assert catalog.id_is_number().tolist() == [True, False]


def test_names_among_numbers_are_named_in_a_caution(tmp_path, write_csv, caplog):
    path = write_csv(["30,A,a.jpg", "007,A,b.jpg", "31,B,b.jpg"])
    index_source(tmp_path / "i", path, tmp_path / "images", list_table(path))
    assert "1 of 3 ids are not plain numbers: '007' (line 3); they are names" in caplog.text


def test_names_alone_need_no_caution(tmp_path, write_csv, caplog):
    path = write_csv(["x,A,a.jpg", "y,B,b.jpg"])
    _, catalog, _ = index_source(tmp_path / "i", path, tmp_path / "images", list_table(path))
    assert not catalog.id_is_number().any()
    assert "plain numbers" not in caplog.text


def test_bad_rows_are_counted_and_too_many_are_an_error(tmp_path, write_csv):
    rows = [f"p{i},{'AB'[i % 2]},a.jpg" for i in range(20)] + ["p3,B,a.jpg", "q,,a.jpg", ",A,a.jpg"]
    path = write_csv(rows)
    facts, _, _ = index_source(tmp_path / "i", path, tmp_path / "images", list_table(path), 0.2)
    assert (facts["products"], facts["bad_records"]) == (20, 3)
    report = json.loads((tmp_path / "i" / "scan_report.json").read_text())
    assert [(r["line"], r["reason"]) for r in report["records"]] == [
        (22, "duplicate _id p3"),
        (23, "no category_id q"),
        (24, "no product"),
    ]
    with pytest.raises(UserError, match="3 of 23 records cannot be used, the first at line 22"):
        index_source(tmp_path / "j", path, tmp_path / "images", list_table(path), 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "the file is empty"),
        (b"product,category,images\n", "no products after the header"),
        (b"id,category,images\n", "line 1: no column product; it has: id, category, images"),
        (b"product,category,images\nd,E\n", "no products; line 2: 2 fields, but the header has 3"),
        (
            b'product,category,images\n"a,B,c\nd,E,f\n',
            "no products; line 2: unexpected end of data",
        ),
        (b"product,category,images\na,B,http://x.y/c.jpg\n", "download them"),
        (b"product,category,images\na,B,c.jpg\n", "none of its 1 images exists, not even"),
    ],
)
def test_the_message_for_a_bad_table_names_the_line(tmp_path, text, message):
    path = tmp_path / "products.csv"
    path.write_bytes(text)
    with pytest.raises(UserError) as error:
        list_table(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_columns_are_named_in_the_config(write_csv):
    data = replace(DATA, id_column="sku", label_column="kind", images_column="files", group_by="g")
    path = write_csv(["a,x,K,a.jpg", "b,,K,b.jpg", "c,x,L,c.jpg", "d,,L,d.jpg"], "sku,g,kind,files")
    listing = list_table(path, data)
    assert listing.labels == ["K", "K", "L", "L"]
    assert listing.groups is not None
    assert len(set(listing.groups.tolist())) == 3  # each product without a group is its own group
    assert listing.groups[0] == listing.groups[2]


def test_an_unlabelled_table_needs_no_columns_of_classes_and_groups(write_csv):
    listing = list_table(write_csv(["a,a.jpg"], "product,images"), labelled=False)
    assert (listing.labels, listing.groups) == ([""], None)


def test_rows_of_one_id_that_follow_each_other_are_one_product(tmp_path, write_csv, caplog):
    path = write_csv(
        ["s,Red,a.jpg", "s,,b.jpg", "s,Red,a.jpg", "t,,c.jpg", "t,Blue,", "s,Red,a.jpg"]
    )
    listing = list_table(path)
    _, catalog, categories = index_source(
        tmp_path / "i", path, tmp_path / "images", listing, max_bad_fraction=0.5
    )
    assert listing.files == ["a.jpg", "b.jpg", "c.jpg", "a.jpg"]
    assert [catalog.key(row) for row in range(2)] == ["s", "t"]  # the last row is a duplicate
    assert [categories.key(label) for label in catalog.label] == ["Red", "Blue"]
    assert catalog.image_count.tolist() == [2, 1]
    assert "3 rows continue the product of the row above" in caplog.text


def test_rows_of_one_id_and_two_classes_are_no_product(write_csv):
    listing = list_table(write_csv(["s,Red,a.jpg", "s,Blue,b.jpg"]))
    assert list(listing.keys) == ["s", "s"]


@pytest.mark.parametrize("separator", [",", ";", "|", ", "])
def test_what_separates_images_is_recognized_by_the_files(tmp_path, write_csv, separator):
    path = write_csv(["p,A,a.jpg|b.jpg"])
    (tmp_path / "images" / "c, d.jpg").touch()
    images = separator.join(["a.jpg", "b.jpg"])
    path.write_text(f'product,category,images\np,A,"{images}"\nq,A,"c, d.jpg"\nr,A,b.jpg\n')
    listing = list_table(path)
    assert listing.files == ["a.jpg", "b.jpg", "c, d.jpg", "b.jpg"]
    assert listing.image_count.tolist() == [2, 1, 1]


def test_what_separates_images_can_be_set(write_csv):
    path = write_csv(["p,A,a.jpg"])
    path.write_text("product,category,images\np,A,a.jpg;no.jpg\n")
    assert list_table(path, replace(DATA, image_separator="semicolon")).files == ["a.jpg", "no.jpg"]
    with pytest.raises(UserError, match="none of its 1 images exists"):
        list_table(path, replace(DATA, image_separator="pipe"))


def test_blanks_that_are_cut_are_said(tmp_path, write_csv, caplog):
    path = write_csv([" p,A,a.jpg", "q,A ,b.jpg"])
    listing = list_table(path)
    assert (listing.keys, listing.labels) == (["p", "q"], ["A", "A"])
    assert listing.cautions == [
        "1 values of product have blanks around them, which are cut",
        "1 values of category have blanks around them, which are cut",
    ]


def test_many_missing_images_stop_the_index(tmp_path, write_csv):
    path = write_csv([f"p{i},{'AB'[i % 2]},a{i}.jpg" for i in range(8)])
    rows = path.read_text().replace("a6.jpg", "A6.JPG").replace("a7.jpg", "A7.JPG")
    path.write_text(rows)
    index_source(tmp_path / "i", path, tmp_path / "images", list_table(path), 0, 0.25)
    message = "2 of 8 images are missing or empty, the first at line 8: 'A6.JPG', but 'a6.jpg' is"
    with pytest.raises(UserError, match=message):
        index_source(tmp_path / "j", path, tmp_path / "images", list_table(path), 0, 0.2)


OUTSIDE = [
    "../secret.jpg",
    "a/../../secret.jpg",
    "..",
    ".",
    "{root}/../secret.jpg",
    "/etc/hostname",
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_name_that_leads_out_of_the_folder_of_images_is_not_read(name, write_csv, tmp_path):
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(5))
    name = name.replace("{root}", str(tmp_path / "images"))
    path = write_csv(["1,A,a.jpg", "2,B,b.jpg"])
    path.write_text(path.read_text() + f"3,A,a.jpg|{name}\n4,B,{name}\n")
    listing = list_table(path)
    assert any("2 image names lead out of" in caution for caution in listing.cautions)
    facts, catalog, _ = index_source(tmp_path / "i", path, tmp_path / "images", listing, 0.0)
    assert facts["images"] == 3
    assert catalog.files is not None
    assert set(catalog.files.names.to_pylist()) == {"a.jpg", "b.jpg"}
    with pytest.raises(UserError, match="2 of 5 images are missing or empty"):
        index_source(tmp_path / "i", path, tmp_path / "images", list_table(path), 0.0, 0.3)


def test_a_table_of_names_outside_says_what_to_set(write_csv, tmp_path):
    (tmp_path / "secret.jpg").write_bytes(jpeg(5))
    path = write_csv(["1,A,no.jpg"])
    path.write_text("product,category,images\n1,A,../secret.jpg\n2,B,../secret.jpg\n")
    with pytest.raises(UserError, match=r"lead out of .*set data\.images_root"):
        list_table(path)
    inside = f"product,category,images\n1,A,{tmp_path}/secret.jpg\n2,B,images/../secret.jpg\n"
    path.write_text(inside)
    listing = list_csv(path, True, tmp_path, DATA)
    assert not listing.cautions
    assert all(length for _, length, _ in listing.hash_images(0, 2))
