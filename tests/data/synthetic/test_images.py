import cv2
import numpy as np
import pytest

from lib.data.synthetic.images import (
    class_appearances,
    draw_image,
    draw_placeholder,
    draw_words,
    encode_jpeg,
)

FAMILY = np.arange(8) // 4
APPEARANCES = class_appearances(FAMILY // 4, FAMILY, seed=1)


def drawn(class_id: int, product: int, view: int, position: int = 0, difficulty: float = 0.5):
    generators = (np.random.default_rng([0, product]), np.random.default_rng([1, view]))
    return draw_image(APPEARANCES[class_id], *generators, position, 32, difficulty)


def test_images_are_determined_by_their_generators():
    image = drawn(0, 0, 0)
    assert image.shape == (32, 32, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, drawn(0, 0, 0))
    assert (image != drawn(0, 0, 1)).any()
    assert (image != drawn(0, 1, 0)).any()


def test_clean_images_of_a_class_are_more_alike_than_those_of_two_classes():
    images = np.array(
        [[drawn(c, p, p, difficulty=0.0) for p in range(6)] for c in (0, 5)], np.float64
    )
    within = np.abs(images[:, :3] - images[:, 3:]).mean()
    between = np.abs(images[0] - images[1]).mean()
    assert within < between


def test_an_appearance_does_not_depend_on_the_number_of_classes():
    few = class_appearances(FAMILY[:3] // 4, FAMILY[:3], seed=1)
    for a, b in zip(few, APPEARANCES, strict=False):
        assert (a.hue, a.texture, a.knobs) == (b.hue, b.texture, b.knobs)
        np.testing.assert_array_equal(a.outline, b.outline)


def test_leaves_of_a_family_have_one_texture():
    for family in (0, 1):
        textures = {a.texture for a, f in zip(APPEARANCES, FAMILY, strict=True) if f == family}
        assert len(textures) == 1


@pytest.mark.parametrize("number", range(4))
def test_a_placeholder_is_a_gray_image_of_its_own(number):
    image = draw_placeholder(number, 48)
    assert (image[:, :, 0] == image[:, :, 1]).all()
    for other in range(number):
        assert (image != draw_placeholder(other, 48)).any()


def test_a_jpeg_decodes_to_nearly_the_same_image():
    image = drawn(1, 2, 3, difficulty=0.0)
    decoded = cv2.imdecode(np.frombuffer(encode_jpeg(image), np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded.astype(int) - image).mean() < 12


def test_words_are_drawn_on_a_banner_within_the_picture():
    for number in range(8):
        plain = np.full((96, 96, 3), 128, np.uint8)
        image = plain.copy()
        draw_words(image, "STAROOKING"[: 3 + number], np.random.default_rng(number))
        rows = np.flatnonzero((image != plain).any(axis=(1, 2)))
        assert 10 <= len(rows) <= 20
        assert rows[0] == 0 or rows[-1] == 95
        banner = image[rows].mean(axis=2)
        letters = np.flatnonzero((np.abs(banner - np.median(banner)) > 100).any(axis=0))
        assert 0 < letters[0] < letters[-1] < 95
