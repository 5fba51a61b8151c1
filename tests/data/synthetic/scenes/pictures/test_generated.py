"""Generated pictures: related classes look alike, and the numbers decide the rest."""

import numpy as np

from lib.data.synthetic.scenes.class_tree import generate_tree
from lib.data.synthetic.scenes.pictures.generated import (
    GeneratedPictures,
    draw_background,
    draw_room,
    tree_appearances,
)

TREE = generate_tree(80, 1)


def test_siblings_share_more_than_strangers():
    appearances = tree_appearances(TREE, 1)
    parent = {label: TREE.parents(label) for label in TREE.labels}
    pairs = [(a, b) for a in TREE.labels for b in TREE.labels if a < b]

    def same_texture(found: list) -> float:
        return float(np.mean([appearances[a].texture == appearances[b].texture for a, b in found]))

    siblings = [(a, b) for a, b in pairs if parent[a] and parent[a] == parent[b]]
    strangers = [(a, b) for a, b in pairs if TREE.top[a] != TREE.top[b]]
    assert same_texture(siblings) == 1
    assert same_texture(strangers) < 0.5


def test_a_picture_depends_on_seed_class_and_number():
    pictures = GeneratedPictures(TREE, 0.3, 1)
    first, other = TREE.labels[:2]
    image = pictures.cutout(first, 5).image
    assert np.array_equal(image, GeneratedPictures(TREE, 0.3, 1).cutout(first, 5).image)
    changes = (
        pictures.cutout(first, 6),
        pictures.cutout(other, 5),
        GeneratedPictures(TREE, 0.3, 2).cutout(first, 5),
    )
    assert not any(np.array_equal(image, change.image) for change in changes)


def test_backgrounds_fill_any_size():
    for width, height in ((8, 16), (60, 30), (16, 8)):
        rng = np.random.default_rng(1)
        for image in (draw_background(width, height, rng, 1.0), draw_room(width, height, rng)):
            assert (image.shape, image.dtype) == ((height, width, 3), np.uint8)
            assert image.std() > 1
