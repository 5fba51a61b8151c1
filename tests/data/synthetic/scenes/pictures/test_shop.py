"""Shop photographs: what is not their white background is cut out."""

import bson
import cv2
import numpy as np

from lib.data.synthetic.scenes.pictures.shop import ShopPictures, cut_out


def shirt(color: tuple[int, int, int] = (40, 60, 200)) -> np.ndarray:
    """A dark rectangle with a white one in it, before white; and a speck of dust."""
    image = np.full((80, 60, 3), 255, np.uint8)
    image[10:70, 15:45] = color
    image[30:40, 25:35] = 255
    image[2:4, 2:4] = 0
    return image


def test_white_inside_of_an_object_belongs_to_it_and_dust_does_not():
    alpha = cut_out(shirt())
    expected = np.zeros((80, 60), np.uint8)
    expected[10:70, 15:45] = 255
    assert np.array_equal(alpha, expected)


def test_a_white_picture_has_no_object():
    assert not cut_out(np.full((80, 60, 3), 250, np.uint8)).any()


def write_catalog(folder, pictures: list[tuple[int, np.ndarray]]) -> None:
    (folder / "category_names.csv").write_text(
        "category_id,category_level1,category_level2,category_level3\n"
        "7,APPAREL,TOPWEAR,SHIRTS\n8,APPAREL,TOPWEAR,KURTAS\n"
    )
    with (folder / "train.bson").open("wb") as file:
        for number, (category, image) in enumerate(pictures):
            jpeg = cv2.imencode(".png", image)[1].tobytes()
            record = {"_id": number, "category_id": category, "imgs": [{"picture": jpeg}]}
            file.write(bson.encode(record))


def test_classes_are_found_by_the_names_of_categories(tmp_path):
    write_catalog(tmp_path, [(7, shirt()), (8, shirt()), (7, shirt((1, 2, 3)))])
    pictures = ShopPictures(tmp_path, {"shirt": "/m/shirt"})
    assert pictures.counts == {"/m/shirt": 2}
    assert pictures.cutout("/m/shirt", 1).source == "fashion/2"
    assert pictures.cutout("/m/shirt", 1).image[0, 0].tolist() == [1, 2, 3]
    assert pictures.cutout("/m/shirt", 0).alpha.shape == (60, 30)


def test_pictures_that_cannot_be_cut_out_are_not_counted(tmp_path):
    blank = np.full((80, 60, 3), 255, np.uint8)
    full = np.full((80, 60, 3), 90, np.uint8)
    write_catalog(tmp_path, [(7, blank), (7, full), (7, shirt())])
    pictures = ShopPictures(tmp_path, {"shirt": "a"})
    assert pictures.counts == {"a": 1}
    assert pictures.cutout("a", 0).source == "fashion/2"
