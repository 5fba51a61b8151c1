"""Catalogues of picture files: a CSV, or a folder for each class."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.schema import Data
from lib.data.catalog import (
    Catalog,
    Categories,
    build_named_categories,
    read_catalog,
    read_categories,
)
from lib.data.sources import base
from lib.data.sources.base import Listing, id_from_name, index_listing
from lib.data.sources.csv_table import list_csv
from lib.data.sources.image_folder import list_folder
from lib.errors import UserError
from tests.conftest import jpeg

DATA = Data(source="csv")


def indexed(
    folder: Path, source: Path, root: Path, listed: Listing, most_damaged: float = 0.0
) -> tuple[dict, Catalog, Categories]:
    folder.mkdir(exist_ok=True)
    build_named_categories(folder, source, listed.labels)
    classes = read_categories(folder)
    facts = index_listing(folder, source, listed, classes, True, most_damaged, 2)
    return facts, read_catalog(folder, root), classes


def picture_bytes(known: Catalog, image: int) -> bytes:
    assert known.files is not None
    file = int(np.searchsorted(known.files.first_image, image, "right")) - 1
    data = known.files.path(known.path, file).read_bytes()
    start = int(known.offset[image])
    return data[start : start + int(known.length[image])]


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    """A table, and for every picture it names a file in `images`, but for those that say `no`."""

    def write(rows: Sequence[str], header: str = "product,category,images", **kind) -> Path:
        path = tmp_path / "products.csv"
        path.write_bytes("\n".join([header, *rows, ""]).encode(**kind))
        (tmp_path / "images").mkdir(exist_ok=True)
        names = {name.strip() for row in rows for name in row.split(",")[-1].split("|")}
        for name in sorted(names):
            if name and not name.startswith("no"):
                (tmp_path / "images" / name).write_bytes(jpeg(id_from_name(name) % 2**31))
        return path

    return write


def listed_csv(path: Path, data: Data = DATA, labelled: bool = True) -> Listing:
    return list_csv(path, labelled, path.parent / "images", data)


def test_a_real_table(shared_data, tmp_path):
    source, root = shared_data / "luma" / "products.csv", shared_data / "luma" / "images"
    listed = list_csv(source, True, root, replace(DATA, group_by="style"))
    facts, known, classes = indexed(tmp_path, source, root, listed)
    assert facts == {"products": 449, "images": 706, "distinct_images": 704, "passed_over": 0}
    assert len(classes) == 15
    assert known.keys is not None
    assert known.keys.to_pylist()[:2] == ["MH01-Black", "MH01-Gray"]
    assert classes.names[known.label[0]] == ("Men", "Tops", "Hoodies & Sweatshirts")
    assert classes.key(known.label[0]) == "Men/Tops/Hoodies & Sweatshirts"
    assert known.group is not None
    assert known.group.dtype == np.int32
    styles = [key.split("-")[0] for key in known.keys.to_pylist()]
    assert len({*zip(styles, known.group.tolist(), strict=True)}) == len({*known.group.tolist()})
    for image in (0, 100, 705):
        assert hashlib.md5(picture_bytes(known, image)).digest() == known.md5[image].tobytes()


def test_rows_of_a_table(tmp_path, write_csv, caplog):
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
    facts, known, classes = indexed(tmp_path / "i", path, tmp_path / "images", listed_csv(path))
    assert facts == {"products": 4, "images": 4, "distinct_images": 3, "passed_over": 0}
    assert [known.key(row) for row in range(4)] == ["b 2", "a-1", "x\ny", "c"]
    assert classes.keys == ["Bags", "Men/Tops", "Men/Tops, warm/Hoodies/Red"]
    assert classes.names == [
        ("Bags", "", ""),
        ("Men", "Tops", ""),
        ("Men", "Tops, warm", "Hoodies/Red"),
    ]
    assert classes.category_id.tolist() == [0, 1, 2]
    assert known.label.tolist() == [2, 0, 1, 0]
    assert known.image_count.tolist() == [2, 1, 1, 0]
    assert known.group is None
    assert picture_bytes(known, 3) == (tmp_path / "images" / "b1.jpg").read_bytes()
    report = json.loads((tmp_path / "i" / "damage.json").read_text())
    assert report["records"] == [
        {"line": 5, "reason": "image file missing or empty no-such.jpg"},
        {"line": 7, "reason": "product without images"},
    ]
    log = caplog.text
    assert "1 x image file missing or empty, the first at line 5 (no-such.jpg)" in log


def test_ids_are_the_whole_numbers_or_tell_nothing_of_the_row(tmp_path, write_csv):
    numbers = listed_csv(write_csv(["30,A,a.jpg", "-4,B,b.jpg"]))
    _, known, _ = indexed(tmp_path / "n", tmp_path, tmp_path / "images", numbers)
    assert known.product_id.tolist() == [30, -4]
    assert known.keys is None
    assert known.key(0) == "30"
    for odd in ("007", "1.0", "4611686018427387904", "x"):
        names = listed_csv(write_csv(["30,A,a.jpg", f"{odd},B,b.jpg"]))
        _, known, _ = indexed(tmp_path / odd, tmp_path, tmp_path / "images", names)
        assert known.product_id.tolist() == [id_from_name("30"), id_from_name(odd)]
        assert known.key(1) == odd
    sorted_names = [f"p{i:04d}" for i in range(500)]
    places = np.argsort([id_from_name(name) for name in sorted_names])
    assert abs(np.corrcoef(places, np.arange(500))[0, 1]) < 0.2


def test_bad_rows_are_counted_and_too_many_stop(tmp_path, write_csv):
    rows = [f"p{i},A,a.jpg" for i in range(20)] + ["p3,A,a.jpg", "q,,a.jpg", ",A,a.jpg"]
    path = write_csv(rows)
    facts, _, _ = indexed(tmp_path / "i", path, tmp_path / "images", listed_csv(path), 0.2)
    assert (facts["products"], facts["passed_over"]) == (20, 3)
    report = json.loads((tmp_path / "i" / "damage.json").read_text())
    assert [(r["line"], r["reason"]) for r in report["records"]] == [
        (22, "duplicate _id p3"),
        (23, "no category_id q"),
        (24, "no product"),
    ]
    with pytest.raises(UserError, match="3 of 23 records cannot be used, the first at line 22"):
        indexed(tmp_path / "j", path, tmp_path / "images", listed_csv(path), 0.1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the file is empty"),
        (b"product,category,images\n", "no products after the header"),
        (
            b"product;category;images\n",
            "line 1: no column product; it has: product;category;images",
        ),
        (b"id,category,images\n", "line 1: no column product; it has: id, category, images"),
        (b"product,category,images\na,B,c\nd,E\n", "line 3: 2 fields, but the header has 3"),
        (b"product,category,images\na,B,c,d\n", "line 2: 4 fields, but the header has 3"),
        (b'product,category,images\n"a\nb",B,c\nd\n', "line 4: 1 fields"),
        (b"product,category,images\na,B,c\nd,\xe9t\xe9,e\n", "line 3: not UTF-8"),
        (b'product,category,images\n"a,B,c\nd,E,f\n', "line 3: unexpected end of data; fix"),
        (b"product,category,images\na,B,c.jpg\n", "none of its 1 images exists, not even"),
    ],
)
def test_a_bad_table_is_one_line(tmp_path, text, words):
    path = tmp_path / "products.csv"
    path.write_bytes(text)
    with pytest.raises(UserError) as error:
        listed_csv(path)
    assert words in str(error.value)
    assert str(path) in str(error.value)


def test_columns_have_names_of_their_own_and_a_test_table_no_labels(tmp_path, write_csv):
    data = replace(DATA, id_column="sku", label_column="kind", images_column="files", group_by="g")
    path = write_csv(["a,x,K,a.jpg", "b,,K,b.jpg", "c,x,L,c.jpg", "d,,L,d.jpg"], "sku,g,kind,files")
    listed = listed_csv(path, data)
    assert listed.labels == ["K", "K", "L", "L"]
    assert listed.groups is not None
    assert len(set(listed.groups.tolist())) == 3  # a product without a group is one of its own
    assert listed.groups[0] == listed.groups[2]
    path = write_csv(["a,a.jpg"], "sku,files")
    unlabelled = listed_csv(path, data, labelled=False)
    assert (unlabelled.labels, unlabelled.groups) == ([""], None)


@pytest.fixture
def picture_folder(tmp_path: Path) -> Path:
    root = tmp_path / "train"
    names = ["Men/Tops/Tees/Red/a.jpg", "Men/Tops/b.PNG", "Bags/c.jpeg", "loose.jpg"]
    for number, name in enumerate([*names, ".hidden/d.jpg", "Bags/.e.jpg", "Bags/notes.txt"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(number))
    (root / "Bags" / "empty.jpg").touch()
    return root


def test_a_folder_for_each_class(tmp_path, picture_folder):
    listed = list_folder(picture_folder, True)
    facts, known, classes = indexed(tmp_path / "i", picture_folder, picture_folder, listed, 0.2)
    assert facts == {"products": 4, "images": 3, "distinct_images": 3, "passed_over": 1}
    assert classes.keys == ["Bags", "Men/Tops", "Men/Tops/Tees/Red"]
    assert classes.names[2] == ("Men", "Tops", "Tees/Red")
    keys = [known.key(row) for row in range(4)]
    assert keys == ["Bags/c.jpeg", "Bags/empty.jpg", "Men/Tops/Tees/Red/a.jpg", "Men/Tops/b.PNG"]
    assert known.label.tolist() == [0, 0, 2, 1]
    for image, product in enumerate([0, 2, 3]):
        assert picture_bytes(known, image) == (picture_folder / keys[product]).read_bytes()
    report = json.loads((tmp_path / "i" / "damage.json").read_text())
    assert report["counts"] == {
        "no category_id": 1,
        "image file missing or empty": 1,
        "product without images": 1,
    }


def test_an_unlabelled_folder_of_any_depth(tmp_path, picture_folder):
    listed = list_folder(picture_folder, False)
    (tmp_path / "i").mkdir()
    nothing = Categories(np.array([0]), [("A", "", "")], ["A"])
    facts = index_listing(tmp_path / "i", picture_folder, listed, nothing, False, 0.0, 1)
    assert (facts["products"], facts["images"]) == (5, 4)
    assert (read_catalog(tmp_path / "i", picture_folder).label == -1).all()


def test_a_folder_without_pictures_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no file of the kinds \.jpg"):
        list_folder(tmp_path, True)
    with pytest.raises(UserError, match="not a folder"):
        list_folder(tmp_path / "none", True)


def test_pieces_change_nothing_and_a_stopped_call_goes_on(tmp_path, write_csv, monkeypatch):
    rows = [f"p{i},C{i % 3},{'|'.join(f'{i}-{j}.jpg' for j in range(i % 4))}" for i in range(40)]
    path = write_csv(rows)
    listed = listed_csv(path)
    indexed(tmp_path / "whole", path, tmp_path / "images", listed)
    monkeypatch.setattr(base, "CHUNK_IMAGES", 7)
    monkeypatch.setattr(base, "BLOCK_IMAGES", 2)
    asked: list[int] = []

    def stops_at(last_picture: int) -> Listing:
        def hash_images(first: int, last: int) -> list[base.ImageHash]:
            if first > last_picture:
                raise KeyboardInterrupt
            asked.append(first)
            return listed.hash_images(first, last)

        return replace(listed, hash_images=hash_images)

    with pytest.raises(KeyboardInterrupt):
        indexed(tmp_path / "pieces", path, tmp_path / "images", stops_at(30))
    kept = len(list((tmp_path / "pieces" / "pieces").iterdir()))
    assert kept >= 3
    asked.clear()
    indexed(tmp_path / "pieces", path, tmp_path / "images", stops_at(10**9))
    assert min(asked) >= 7 * kept
    names = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "pieces").iterdir())
    for name in names:
        one, other = (tmp_path / side / name for side in ("whole", "pieces"))
        assert one.read_bytes() == other.read_bytes()
