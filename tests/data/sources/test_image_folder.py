import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.data.catalog import Categories, read_catalog
from lib.data.sources.base import index_listing
from lib.data.sources.image_folder import list_folder
from lib.errors import UserError
from tests.conftest import jpeg
from tests.data.source_index import image_bytes, index_source


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    root = tmp_path / "train"
    names = ["Men/Tops/Tees/Red/a.jpg", "Men/Tops/b.PNG", "Bags/c.jpeg", "loose.jpg"]
    for number, name in enumerate([*names, ".hidden/d.jpg", "Bags/.e.jpg", "Bags/notes.txt"]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(number))
    (root / "Bags" / "empty.jpg").touch()
    return root


def test_the_folder_of_an_image_is_its_class(tmp_path, image_folder):
    listing = list_folder(image_folder, True)
    facts, catalog, categories = index_source(
        tmp_path / "i", image_folder, image_folder, listing, 0.2
    )
    assert facts == {"products": 4, "images": 3, "distinct_images": 3, "bad_records": 1}
    assert categories.keys == ["Bags", "Men/Tops", "Men/Tops/Tees/Red"]
    assert categories.names[2] == ("Men", "Tops", "Tees/Red")
    keys = [catalog.key(row) for row in range(4)]
    assert keys == ["Bags/c.jpeg", "Bags/empty.jpg", "Men/Tops/Tees/Red/a.jpg", "Men/Tops/b.PNG"]
    assert catalog.label.tolist() == [0, 0, 2, 1]
    for image, product in enumerate([0, 2, 3]):
        assert image_bytes(catalog, image) == (image_folder / keys[product]).read_bytes()
    report = json.loads((tmp_path / "i" / "scan_report.json").read_text())
    assert report["counts"] == {
        "no category_id": 1,
        "image file missing or empty": 1,
        "product without images": 1,
    }


def test_an_unlabelled_folder_may_have_any_depth(tmp_path, image_folder):
    listing = list_folder(image_folder, False)
    (tmp_path / "i").mkdir()
    categories = Categories(np.array([0]), [("A", "", "")], ["A"])
    facts = index_listing(tmp_path / "i", image_folder, listing, categories, False, 0.0, 1)
    assert (facts["products"], facts["images"]) == (5, 4)
    assert (read_catalog(tmp_path / "i", image_folder).label == -1).all()


def test_a_single_image_is_a_product(tmp_path, image_folder):
    photo = image_folder / "loose.jpg"
    listing = list_folder(photo, False)
    (tmp_path / "i").mkdir()
    categories = Categories(np.array([0]), [("A", "", "")], ["A"])
    index_listing(tmp_path / "i", photo, listing, categories, False, 0.0, 1)
    catalog = read_catalog(tmp_path / "i", photo.parent)
    assert [catalog.key(product) for product in range(len(catalog.label))] == ["loose.jpg"]
    assert image_bytes(catalog, 0) == photo.read_bytes()


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"no file of the kinds \.jpg"):
        list_folder(tmp_path, True)
    with pytest.raises(UserError, match="not a folder"):
        list_folder(tmp_path / "none", True)


@pytest.mark.parametrize("suffix", [".gif", ".avif", ".jp2", ".ppm", ".jfif"])
def test_every_kind_that_opencv_reads_is_an_image(tmp_path, suffix):
    encoded = ".jpg" if suffix == ".jfif" else suffix
    picture = cv2.imencode(encoded, np.full((64, 64, 3), 99, np.uint8))[1].tobytes()
    (tmp_path / "Red").mkdir()
    (tmp_path / "Red" / f"a{suffix}").write_bytes(picture)
    listing = list_folder(tmp_path, True)
    assert (listing.keys, listing.cautions) == ([f"Red/a{suffix}"], [])
    assert cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) is not None


def test_other_files_are_listed_with_the_classes_they_leave_empty(tmp_path):
    for name in ("Red/a.jpg", "Red/b.txt", "Blue/c.heic", "Blue/d.heic"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "Red" / "pipe.jpg")
    (caution,) = list_folder(tmp_path, True).cautions
    assert caution.startswith(
        "4 files are not read as images: 2 x .heic, 1 x .txt, 1 x .jpg, the first is Blue/c.heic;"
        " no image is left in Blue;"
    )
