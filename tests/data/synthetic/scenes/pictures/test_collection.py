"""Several sources of pictures as one."""

import numpy as np
import pytest

from lib.data.synthetic.scenes.class_tree import generate_tree
from lib.data.synthetic.scenes.pictures.collection import Pictures, open_pictures
from lib.data.synthetic.scenes.pictures.cutout import Cutout
from lib.errors import UserError


class Numbered:
    """Pictures whose source says which they are."""

    def __init__(self, name: str, **counts: int) -> None:
        self.name, self.counts = name, counts

    def cutout(self, label: str, number: int) -> Cutout:
        pixel = np.zeros((1, 1, 3), np.uint8)
        return Cutout(pixel, pixel[:, :, 0], f"{self.name} {label} {number}")


def test_numbers_go_on_from_source_to_source():
    pictures = Pictures([Numbered("x", a=2), Numbered("y", a=1, b=3)], None, 1, 0.5)
    assert pictures.counts == {"a": 3, "b": 3}
    sources = [pictures.cutout("a", number).source for number in range(3)]
    assert sources == ["x a 0", "x a 1", "y a 0"]
    assert pictures.cutout("b", 2).source == "y b 2"
    assert pictures.subject("a", 0) is None
    with pytest.raises(IndexError, match="a has 3 pictures"):
        pictures.cutout("a", 3)


def test_generated_pictures_are_those_of_every_class():
    tree = generate_tree(10, 1)
    pictures = open_pictures("", (), tree, 0.3, 1)
    assert set(pictures.counts) == set(tree.labels)
    image, source = pictures.background(20, 10, np.random.default_rng(0))
    assert (image.shape, source) == ((10, 20, 3), "generated")


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(UserError, match="has pictures of 0 classes"):
        open_pictures(str(tmp_path), ("photographs",), generate_tree(10, 1), 0.3, 1)
