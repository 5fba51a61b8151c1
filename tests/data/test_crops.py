import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.data.crops import center_crop, crop, tta_crops

sides = st.tuples(st.integers(1, 9), st.integers(0, 5))


def test_the_views_are_center_corners_and_mirror_images():
    assert tta_crops((10, 8), (6, 6), 1, True) == [(2, 1, False)]
    assert tta_crops((10, 8), (6, 6), 2, True) == [(2, 1, False), (2, 1, True)]
    five = [(2, 1, False), (0, 0, False), (0, 2, False), (4, 0, False), (4, 2, False)]
    assert tta_crops((10, 8), (6, 6), 5, True) == five
    mirrored = [(top, left, True) for top, left, _ in five]
    assert tta_crops((10, 8), (6, 6), 10, True) == five + mirrored


def test_identical_views_occur_once():
    assert tta_crops((6, 6), (6, 6), 10, True) == [(0, 0, False), (0, 0, True)]


def test_without_flip_there_are_no_mirrored_views():
    assert tta_crops((10, 8), (6, 6), 2, False) == [(2, 1, False)]
    assert len(tta_crops((10, 8), (6, 6), 10, False)) == 5


@given(sides, sides, st.sampled_from([1, 2, 5, 10]), st.booleans())
def test_every_view_is_a_window_of_the_image(vertical, horizontal, num_views, flip):
    crop_size = (vertical[0], horizontal[0])
    image_size = (sum(vertical), sum(horizontal))
    image = np.arange(image_size[0] * image_size[1]).reshape(1, 1, *image_size)
    boxes = tta_crops(image_size, crop_size, num_views, flip)
    assert boxes[0] == center_crop(image_size, crop_size)
    assert len(set(boxes)) == len(boxes) <= num_views
    for box in boxes:
        view = crop(torch.from_numpy(image), box, crop_size).numpy()
        assert view.shape == (1, 1, *crop_size)
        top, left, mirrored = box
        for row in range(crop_size[0]):
            for column in range(crop_size[1]):
                source = left + (crop_size[1] - 1 - column if mirrored else column)
                assert view[0, 0, row, column] == image[0, 0, top + row, source]
