from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.model import Augment
from lib.data.image_reader import GRAY, ImageReader
from lib.training.loaders.augment import RandomAugment, augment_strength

ALL = Augment(
    min_area=0.5,
    max_stretch=0.3,
    max_rotation=20.0,
    rot90=True,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    grayscale_prob=0.3,
    erase_prob=0.5,
)
cv2.setNumThreads(0)  # as the reader does

RESIZE, CROP = (60, 50), (48, 40)
SQUARE = (48, 48)


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def position_image(size):
    """An image whose red is 4 times the column and whose green is 4 times the row."""
    image = np.full((*size, 3), 50, np.uint8)
    image[:, :, 0] = 4 * np.arange(size[1])
    image[:, :, 1] = 4 * np.arange(size[0])[:, None]
    return image


def augmented(image, augment, crop=CROP, flip=False, strength=1.0, count=40, seed=1):
    """Augmented images uint8 [count, *crop, 3] of one image, and their parameters as arrays."""
    augmenter = RandomAugment(augment, image.shape[:2], crop, flip, strength)
    params = augmenter.draw(count, np.random.default_rng(seed))
    out = np.full((count, *crop, 3), 77, np.uint8)
    for i in range(count):
        augmenter.apply(image, params, i, out[i])
    return out, as_arrays(params)


def as_arrays(params):
    places = {name: np.array(getattr(params, name)) for name in ("tops", "lefts", "flipped")}
    changes = {} if params.transforms is None else vars(params.transforms)
    return SimpleNamespace(**places, **changes)


def cut(image, crop, params, i):
    """The crop or its mirror image."""
    top, left = params.tops[i], params.lefts[i]
    window = image[top : top + crop[0], left : left + crop[1]]
    return window[:, ::-1] if params.flipped[i] else window


def cuts(image, crop, params):
    return np.stack([cut(image, crop, params, i) for i in range(len(params.tops))])


def corners(augmenter_crop, params):
    """Where the crop's outer corners fall in the image, float64 [b, 4, (x, y)]."""
    height, width = augmenter_crop
    xy = [[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [width - 0.5, height - 0.5, 1]]
    return np.array([*xy, [-0.5, height - 0.5, 1]]) @ params.matrices.transpose(0, 2, 1)


def areas(quadrangles):
    """Of [b, 4, (x, y)], by the diagonals."""
    one, other = quadrangles[:, 2] - quadrangles[:, 0], quadrangles[:, 3] - quadrangles[:, 1]
    return np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2


def sampled(image, matrix, crop):
    """Bilinear samples at the places of an affine map, reflected at the edges: float64."""
    height, width = image.shape[:2]
    out = np.zeros((*crop, 3))
    for y in range(crop[0]):
        for x in range(crop[1]):
            at_x, at_y = matrix @ (x, y, 1)
            for row in (int(np.floor(at_y)), int(np.floor(at_y)) + 1):
                for column in (int(np.floor(at_x)), int(np.floor(at_x)) + 1):
                    share = (1 - abs(at_y - row)) * (1 - abs(at_x - column))
                    out[y, x] += share * image[reflected(row, height), reflected(column, width)]
    return out


def reflected(place, size):
    while not 0 <= place < size:
        place = -place if place < 0 else 2 * size - 2 - place
    return place


@settings(deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_by_default_images_are_random_crops_and_flips(seed, flip):
    out, _ = augmented(noise(RESIZE), Augment(), flip=flip, seed=seed, count=5)
    rng = np.random.default_rng(seed)
    tops = rng.integers(0, 13, 5)
    lefts = rng.integers(0, 11, 5)
    flipped = (rng.random(5) < 0.5) & flip
    plain = SimpleNamespace(tops=tops, lefts=lefts, flipped=flipped)
    assert (out == cuts(noise(RESIZE), CROP, plain)).all()


def test_images_without_a_change_equal_the_default():
    """In a batch in which other images are changed."""
    image = noise(RESIZE)
    out, params = augmented(image, Augment(erase_prob=0.5, rot90=True), flip=True)
    alone = ~params.warped & (params.erase_boxes[:, 2] == 0)
    assert 2 < alone.sum() < 20
    assert (out[alone] == augmented(image, Augment(), flip=True)[0][alone]).all()


def test_strength_0_is_the_default():
    image = noise(RESIZE)
    off, _ = augmented(image, ALL, flip=True, strength=0.0)
    assert (off == augmented(image, Augment(), flip=True)[0]).all()
    assert (off != augmented(image, ALL, flip=True, strength=1.0)[0]).any()


def test_a_setting_does_not_change_the_random_numbers_of_another():
    _, alone = augmented(noise(RESIZE), replace(Augment(), max_rotation=20.0), flip=True)
    _, other = augmented(
        noise(RESIZE),
        replace(Augment(), max_rotation=20.0, grayscale_prob=1.0, erase_prob=0.5),
        flip=True,
    )
    assert (alone.matrices == other.matrices).all()
    assert (alone.flipped == other.flipped).all()


@pytest.mark.parametrize("flip", [False, True])
def test_rot90_turns_a_square_crop_exactly(flip):
    image = noise((51, 52))
    out, params = augmented(image, Augment(rot90=True), SQUARE, flip, count=60)
    turns = []
    for i, got in enumerate(out):
        top, left = params.tops[i], params.lefts[i]
        plain = image[top : top + 48, left : left + 48]
        ways = [np.rot90(plain, k) for k in range(4)]
        ways = [way[:, ::-1] if params.flipped[i] else way for way in ways]
        (turn,) = [k for k in range(4) if (ways[k] == got).all()]
        turns.append(turn)
    assert (np.bincount(turns) > 5).all()
    assert params.flipped.any() == flip


def test_strength_is_the_share_of_images_that_rot90_may_turn():
    _, params = augmented(noise(SQUARE), Augment(rot90=True), SQUARE, strength=0.4, count=2000)
    assert 0.26 < params.warped.mean() < 0.34  # a quarter of the turns is by 0 degrees


def test_a_turned_crop_that_is_not_square_keeps_its_proportions():
    out, params = augmented(position_image((60, 40)), Augment(rot90=True), (30, 20), count=60)
    assert (np.abs(params.matrices[:, :, :2]).sum(2) == 1).all()  # no pixel is scaled
    quarter = np.flatnonzero(np.abs(params.matrices[:, 0, 0]) < 0.5)
    assert len(quarter) > 10
    red = out[quarter, 15, 10, 0].astype(float)  # near the center in every turn
    np.testing.assert_allclose(red, 4 * (params.lefts[quarter] + 9.5), atol=4)


def test_a_rotation_is_around_the_center_and_within_its_range():
    out, params = augmented(position_image(RESIZE), Augment(max_rotation=30.0), count=200)
    angles = np.rad2deg(np.arctan2(params.matrices[:, 1, 0], params.matrices[:, 0, 0]))
    assert np.abs(angles).max() <= 30
    assert angles.min() < -20
    assert angles.max() > 20
    middle = np.array([CROP[1] / 2 - 0.5, CROP[0] / 2 - 0.5, 1])
    at = params.matrices @ middle
    np.testing.assert_allclose(at[:, 0], params.lefts + CROP[1] / 2 - 0.5)
    np.testing.assert_allclose(at[:, 1], params.tops + CROP[0] / 2 - 0.5)
    np.testing.assert_allclose(areas(corners(CROP, params)), CROP[0] * CROP[1])
    # For angles > 0 the pixels right of the center come from lower in the image.
    seen = out[:, 24, 28, 1].astype(float) - out[:, 24, 12, 1]
    np.testing.assert_allclose(seen, 4 * 16 * np.sin(np.deg2rad(angles)), atol=3)


def test_min_area_is_the_smallest_share_of_the_crop_that_is_shown():
    out, params = augmented(position_image(RESIZE), Augment(min_area=0.4), count=300)
    shares = areas(corners(CROP, params)) / (CROP[0] * CROP[1])
    assert 0.4 <= shares.min() < 0.45
    assert 0.95 < shares.max() <= 1
    at = corners(CROP, params)
    assert (at[:, 0, 0] >= params.lefts - 0.5 - 1e-9).all()
    assert (at[:, 0, 1] >= params.tops - 0.5 - 1e-9).all()
    assert (at[:, 2, 0] <= params.lefts + CROP[1] - 0.5 + 1e-9).all()
    assert (at[:, 2, 1] <= params.tops + CROP[0] - 0.5 + 1e-9).all()
    across = (out[:, 24, 39, 0].astype(float) - out[:, 24, 0, 0]) / (4 * 39)
    np.testing.assert_allclose(across, np.sqrt(shares), atol=0.02)


def test_the_box_is_stretched_within_its_range_and_the_image():
    _, whole = augmented(noise(RESIZE), Augment(max_stretch=0.5), RESIZE, count=300)
    _, params = augmented(noise(RESIZE), Augment(max_stretch=0.5), count=300)
    height, width = params.matrices[:, 1, 1] * CROP[0], params.matrices[:, 0, 0] * CROP[1]
    ratios = height / width / (CROP[0] / CROP[1])
    assert 1 / 1.5 <= ratios.min() < 0.75
    assert 1.4 < ratios.max() <= 1.5
    for at in corners(CROP, params), corners(RESIZE, whole):
        assert (at >= -0.5 - 1e-9).all()
        assert (at <= np.array(RESIZE[::-1]) - 0.5 + 1e-9).all()


@settings(deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_a_warped_image_is_sampled_bilinearly(seed, flip):
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (15, 17))
    augment = Augment(min_area=0.3, max_stretch=0.5, max_rotation=90.0, rot90=True)
    out, params = augmented(image, augment, (13, 9), flip, count=1, seed=seed)
    expected = sampled(image, params.matrices[0], (13, 9))
    np.testing.assert_allclose(out[0], expected, atol=4)  # OpenCV rounds positions to 1/32 pixel


def test_a_warped_image_can_be_flipped():
    image = noise(RESIZE)
    augment = Augment(min_area=0.5, max_stretch=0.2)
    out, params = augmented(image, augment, flip=True)
    plain, _ = augmented(image, augment, flip=False)
    assert 5 < params.flipped.sum() < 35
    for got, whole, flipped in zip(out, plain, params.flipped, strict=True):
        same = whole[:, ::-1] if flipped else whole
        np.testing.assert_allclose(
            got.astype(int), same, atol=10
        )  # positions are rounded differently


def test_brightness_is_a_factor_of_every_value():
    image = noise(RESIZE) // 2
    out, params = augmented(image, Augment(brightness=0.5))
    plain, factors = cuts(image, CROP, params).astype(float), params.color_factors[:, 0]
    assert 0.5 <= factors.min() < 0.6
    assert 1.4 < factors.max() <= 1.5
    np.testing.assert_allclose(out, plain * factors[:, None, None, None], atol=1)


def test_contrast_is_a_factor_of_the_distance_from_the_mean_gray():
    image = noise(RESIZE) // 3 + 40
    out, params = augmented(image, Augment(contrast=0.5))
    plain, factors = cuts(image, CROP, params).astype(float), params.color_factors[:, 1]
    mean = (plain @ (0.299, 0.587, 0.114)).mean((1, 2))[:, None, None, None]
    assert factors.std() > 0.1
    expected = mean + factors[:, None, None, None] * (plain - mean)
    np.testing.assert_allclose(out, expected, atol=1)


def test_saturation_is_a_factor_of_the_distance_from_the_gray_of_the_pixel():
    image = noise(RESIZE)
    out, params = augmented(image, Augment(saturation=0.6))
    plain, factors = cuts(image, CROP, params).astype(float), params.color_factors[:, 2]
    gray = (plain @ (0.299, 0.587, 0.114))[..., None]
    assert factors.std() > 0.1
    expected = (gray + factors[:, None, None, None] * (plain - gray)).clip(0, 255)
    np.testing.assert_allclose(out, expected, atol=1.5)


def test_gray_images_have_equal_channels():
    image = noise(RESIZE)
    out, params = augmented(image, Augment(grayscale_prob=0.4), count=300)
    gray = (out == out[..., :1]).all((1, 2, 3))
    assert 0.3 < gray.mean() < 0.5
    plain = cuts(image, CROP, params)
    assert (out[~gray] == plain[~gray]).all()
    np.testing.assert_allclose(out[gray, :, :, 0], plain[gray] @ (0.299, 0.587, 0.114), atol=1)


def test_an_erased_box_is_one_gray_rectangle():
    image = noise(RESIZE)
    image[image == GRAY] = 0
    out, params = augmented(image, Augment(erase_prob=0.6), count=300)
    erased = (out == GRAY).all(3)
    touched = erased.any((1, 2))
    assert 0.5 < touched.mean() < 0.7
    same = (out == cuts(image, CROP, params)).all(3)
    assert (same == ~erased).all()
    for box in erased[touched]:
        rows, columns = np.flatnonzero(box.any(1)), np.flatnonzero(box.any(0))
        assert box.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 0.01 < box.mean() < 0.23
    hit = np.argwhere(erased.any(0))
    assert hit.min(0).tolist() == [0, 0]
    assert hit.max(0).tolist() == [CROP[0] - 1, CROP[1] - 1]


def size():
    return st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(deadline=None)
@given(size(), size(), st.integers(0, 2**31), st.booleans(), st.floats(0, 1), st.booleans())
def test_any_size_writes_only_into_its_own_memory(crop, margin, seed, flip, strength, turns):
    resize = crop[0] + margin[0] - 1, crop[1] + margin[1] - 1
    augment = replace(ALL, rot90=turns, erase_prob=1.0)
    augmenter = RandomAugment(augment, resize, crop, flip, strength)
    params = augmenter.draw(3, np.random.default_rng(seed))
    memory = np.full((5, *crop, 3), 9, np.uint8)
    image = np.full((*resize, 3), 200, np.uint8)
    for i in range(3):
        augmenter.apply(image, params, i, memory[i + 1])
    assert (memory[[0, 4]] == 9).all()
    assert (memory[1:4] >= 70).all()  # every value is written, from the image or the gray box
    assert (image == 200).all()
    drawn = as_arrays(params)
    assert (drawn.tops + crop[0] <= resize[0]).all()
    assert (drawn.lefts + crop[1] <= resize[1]).all()
    if strength > 0:
        assert (drawn.erase_boxes[:, :2] + drawn.erase_boxes[:, 2:] <= crop).all()


def test_batches_do_not_depend_on_the_number_of_threads(catalog):
    def run(threads, seed):
        augmenter = RandomAugment(ALL, (24, 20), (20, 16), True)
        with ImageReader(catalog, (24, 20), threads) as reader:
            rows = np.arange(60)[::-1]
            batches = reader.batches(rows, 7, augmenter, np.random.SeedSequence(seed))
            return np.concatenate([images for _, images in batches])

    first = run(1, 5)
    assert first.shape == (60, 3, 20, 16)
    assert (first == run(4, 5)).all()
    assert (first != run(4, 6)).any()


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_a_fraction_of_the_images_is_changed_and_the_others_are_plain_crops(fraction):
    sizes = ((24, 20), (20, 16), True)
    settings = replace(ALL, erase_prob=1.0)
    light = RandomAugment(replace(settings, image_fraction=fraction), *sizes)
    augmenters = light, RandomAugment(settings, *sizes), RandomAugment(Augment(), *sizes)
    image = np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)
    results = []
    for augmenter in augmenters:
        params = augmenter.draw(2000, np.random.default_rng(3))
        out = np.empty((2000, 20, 16, 3), np.uint8)
        for i in range(2000):
            augmenter.apply(image.copy(), params, i, out[i])
        results.append(out)
    like_all, like_plain = (
        (results[0] == other).all(axis=(1, 2, 3)) for other in (results[1], results[2])
    )
    assert (like_all ^ like_plain).all()
    assert like_all.mean() == pytest.approx(fraction, abs=0.03)
    params = as_arrays(light.draw(2000, np.random.default_rng(3)))
    corner = params.matrices[~like_all] @ (0, 0, 1)  # boxes of masks move by these matrices
    first = np.where(params.flipped, params.lefts + 15, params.lefts)[~like_all]
    np.testing.assert_allclose(corner, np.stack([first, params.tops[~like_all]], 1), atol=1e-9)


def test_strength_is_1_by_default():
    assert [augment_strength(Augment(), epoch, 3) for epoch in range(-1, 3)] == [1.0] * 4


def test_strength_ramps_up_and_ends_at_0():
    augment = Augment(ramp_epochs=4, ramp_start=0.2, no_aug_epochs=2)
    drawn = [augment_strength(augment, epoch, 8) for epoch in range(-2, 8)]
    np.testing.assert_allclose(drawn, [0.2, 0.2, 0.2, 0.4, 0.6, 0.8, 1, 1, 0, 0])


def test_no_aug_epochs_win_over_ramp_epochs():
    augment = Augment(ramp_epochs=9, no_aug_epochs=1)
    assert augment_strength(augment, 2, 3) == 0
    assert augment_strength(augment, 1, 3) == pytest.approx(1 / 9)
