from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config.model import Augment
from lib.data.image_reader import GRAY, ImageReader
from lib.training.augment import RandomAugment, augment_strength

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


def places(size):
    """A picture whose red says the column and whose green the row, 4 levels a pixel."""
    picture = np.full((*size, 3), 50, np.uint8)
    picture[:, :, 0] = 4 * np.arange(size[1])
    picture[:, :, 1] = 4 * np.arange(size[0])[:, None]
    return picture


def altered(picture, augment, crop=CROP, flip=False, much=1.0, count=40, seed=1):
    """Pictures uint8 [count, *crop, 3] of one picture, and what was params for them, as arrays."""
    augmenter = RandomAugment(augment, picture.shape[:2], crop, flip, much)
    params = augmenter.draw(count, np.random.default_rng(seed))
    out = np.full((count, *crop, 3), 77, np.uint8)
    for i in range(count):
        augmenter.apply(picture, params, i, out[i])
    return out, arrays(params)


def arrays(params):
    places = {name: np.array(getattr(params, name)) for name in ("tops", "lefts", "flipped")}
    changes = {} if params.transforms is None else vars(params.transforms)
    return SimpleNamespace(**places, **changes)


def cut(picture, crop, params, i):
    """The plain crop and mirror image."""
    top, left = params.tops[i], params.lefts[i]
    window = picture[top : top + crop[0], left : left + crop[1]]
    return window[:, ::-1] if params.flipped[i] else window


def cuts(picture, crop, params):
    return np.stack([cut(picture, crop, params, i) for i in range(len(params.tops))])


def corners(augmenter_crop, params):
    """Where the crop's outer corners fall in the picture, float64 [b, 4, (x, y)]."""
    height, width = augmenter_crop
    xy = [[-0.5, -0.5, 1], [width - 0.5, -0.5, 1], [width - 0.5, height - 0.5, 1]]
    return np.array([*xy, [-0.5, height - 0.5, 1]]) @ params.matrices.transpose(0, 2, 1)


def areas(quadrangles):
    """Of [b, 4, (x, y)], by the diagonals."""
    one, other = quadrangles[:, 2] - quadrangles[:, 0], quadrangles[:, 3] - quadrangles[:, 1]
    return np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2


def sampled(picture, matrix, crop):
    """Bilinear samples at the places of an affine map, reflected at the edges: float64."""
    height, width = picture.shape[:2]
    out = np.zeros((*crop, 3))
    for y in range(crop[0]):
        for x in range(crop[1]):
            at_x, at_y = matrix @ (x, y, 1)
            for row in (int(np.floor(at_y)), int(np.floor(at_y)) + 1):
                for column in (int(np.floor(at_x)), int(np.floor(at_x)) + 1):
                    share = (1 - abs(at_y - row)) * (1 - abs(at_x - column))
                    out[y, x] += share * picture[reflected(row, height), reflected(column, width)]
    return out


def reflected(place, size):
    while not 0 <= place < size:
        place = -place if place < 0 else 2 * size - 2 - place
    return place


@settings(deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_by_default_pictures_are_crops_of_these_very_places(seed, flip):
    out, _ = altered(noise(RESIZE), Augment(), flip=flip, seed=seed, count=5)
    rng = np.random.default_rng(seed)
    tops = rng.integers(0, 13, 5)
    lefts = rng.integers(0, 11, 5)
    flipped = (rng.random(5) < 0.5) & flip
    plain = SimpleNamespace(tops=tops, lefts=lefts, flipped=flipped)
    assert (out == cuts(noise(RESIZE), CROP, plain)).all()


def test_pictures_that_are_left_alone_are_the_default():
    """Of a batch in which others are altered."""
    picture = noise(RESIZE)
    out, params = altered(picture, Augment(erase_prob=0.5, rot90=True), flip=True)
    alone = ~params.warped & (params.erase_boxes[:, 2] == 0)
    assert 2 < alone.sum() < 20
    assert (out[alone] == altered(picture, Augment(), flip=True)[0][alone]).all()


def test_strength_0_is_the_default():
    picture = noise(RESIZE)
    off, _ = altered(picture, ALL, flip=True, much=0.0)
    assert (off == altered(picture, Augment(), flip=True)[0]).all()
    assert (off != altered(picture, ALL, flip=True, much=1.0)[0]).any()


def test_one_setting_does_not_change_the_numbers_of_another():
    _, alone = altered(noise(RESIZE), replace(Augment(), max_rotation=20.0), flip=True)
    _, other = altered(
        noise(RESIZE),
        replace(Augment(), max_rotation=20.0, grayscale_prob=1.0, erase_prob=0.5),
        flip=True,
    )
    assert (alone.matrices == other.matrices).all()
    assert (alone.flipped == other.flipped).all()


@pytest.mark.parametrize("flip", [False, True])
def test_a_turn_is_that_of_a_square_crop(flip):
    picture = noise((51, 52))
    out, params = altered(picture, Augment(rot90=True), SQUARE, flip, count=60)
    turns = []
    for i, got in enumerate(out):
        top, left = params.tops[i], params.lefts[i]
        plain = picture[top : top + 48, left : left + 48]
        ways = [np.rot90(plain, k) for k in range(4)]
        ways = [way[:, ::-1] if params.flipped[i] else way for way in ways]
        (turn,) = [k for k in range(4) if (ways[k] == got).all()]
        turns.append(turn)
    assert (np.bincount(turns) > 5).all()
    assert params.flipped.any() == flip


def test_strength_is_the_share_of_pictures_that_are_turned():
    _, params = altered(noise(SQUARE), Augment(rot90=True), SQUARE, much=0.4, count=2000)
    assert 0.26 < params.warped.mean() < 0.34  # a quarter of the turns are by nothing


def test_a_turned_crop_that_is_not_square_keeps_its_proportions():
    out, params = altered(places((60, 40)), Augment(rot90=True), (30, 20), count=60)
    assert (np.abs(params.matrices[:, :, :2]).sum(2) == 1).all()  # a pixel is a pixel
    quarter = np.flatnonzero(np.abs(params.matrices[:, 0, 0]) < 0.5)
    assert len(quarter) > 10
    red = out[quarter, 15, 10, 0].astype(float)  # about the middle, wherever it is turned
    np.testing.assert_allclose(red, 4 * (params.lefts[quarter] + 9.5), atol=4)


def test_a_rotation_is_about_the_middle_and_within_its_range():
    out, params = altered(places(RESIZE), Augment(max_rotation=30.0), count=200)
    angles = np.rad2deg(np.arctan2(params.matrices[:, 1, 0], params.matrices[:, 0, 0]))
    assert np.abs(angles).max() <= 30
    assert angles.min() < -20
    assert angles.max() > 20
    middle = np.array([CROP[1] / 2 - 0.5, CROP[0] / 2 - 0.5, 1])
    at = params.matrices @ middle
    np.testing.assert_allclose(at[:, 0], params.lefts + CROP[1] / 2 - 0.5)
    np.testing.assert_allclose(at[:, 1], params.tops + CROP[0] / 2 - 0.5)
    np.testing.assert_allclose(areas(corners(CROP, params)), CROP[0] * CROP[1])
    # What is seen a few pixels to the right of the middle is lower in the picture for angles > 0.
    seen = out[:, 24, 28, 1].astype(float) - out[:, 24, 12, 1]
    np.testing.assert_allclose(seen, 4 * 16 * np.sin(np.deg2rad(angles)), atol=3)


def test_the_least_area_is_the_least_share_of_the_crop_that_is_shown():
    out, params = altered(places(RESIZE), Augment(min_area=0.4), count=300)
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


def test_the_window_is_stretched_within_its_range_and_the_picture():
    _, whole = altered(noise(RESIZE), Augment(max_stretch=0.5), RESIZE, count=300)
    _, params = altered(noise(RESIZE), Augment(max_stretch=0.5), count=300)
    height, width = params.matrices[:, 1, 1] * CROP[0], params.matrices[:, 0, 0] * CROP[1]
    ratios = height / width / (CROP[0] / CROP[1])
    assert 1 / 1.5 <= ratios.min() < 0.75
    assert 1.4 < ratios.max() <= 1.5
    for at in corners(CROP, params), corners(RESIZE, whole):
        assert (at >= -0.5 - 1e-9).all()
        assert (at <= np.array(RESIZE[::-1]) - 0.5 + 1e-9).all()


@settings(deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_a_mapped_picture_is_sampled_bilinearly(seed, flip):
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(0, 256, (4, 4, 3), np.uint8), (15, 17))
    augment = Augment(min_area=0.3, max_stretch=0.5, max_rotation=90.0, rot90=True)
    out, params = altered(picture, augment, (13, 9), flip, count=1, seed=seed)
    wanted = sampled(picture, params.matrices[0], (13, 9))
    np.testing.assert_allclose(out[0], wanted, atol=4)  # OpenCV rounds places to 1/32 pixel


def test_the_mirror_image_of_a_mapped_picture():
    picture = noise(RESIZE)
    augment = Augment(min_area=0.5, max_stretch=0.2)
    out, params = altered(picture, augment, flip=True)
    plain, _ = altered(picture, augment, flip=False)
    assert 5 < params.flipped.sum() < 35
    for got, whole, flipped in zip(out, plain, params.flipped, strict=True):
        same = whole[:, ::-1] if flipped else whole
        np.testing.assert_allclose(got.astype(int), same, atol=10)  # places are rounded apart


def test_brightness_multiplies():
    picture = noise(RESIZE) // 2
    out, params = altered(picture, Augment(brightness=0.5))
    plain, factors = cuts(picture, CROP, params).astype(float), params.color_factors[:, 0]
    assert 0.5 <= factors.min() < 0.6
    assert 1.4 < factors.max() <= 1.5
    np.testing.assert_allclose(out, plain * factors[:, None, None, None], atol=1)


def test_contrast_is_a_distance_from_the_mean_grey():
    picture = noise(RESIZE) // 3 + 40
    out, params = altered(picture, Augment(contrast=0.5))
    plain, factors = cuts(picture, CROP, params).astype(float), params.color_factors[:, 1]
    mean = (plain @ (0.299, 0.587, 0.114)).mean((1, 2))[:, None, None, None]
    assert factors.std() > 0.1
    wanted = mean + factors[:, None, None, None] * (plain - mean)
    np.testing.assert_allclose(out, wanted, atol=1)


def test_saturation_is_a_distance_from_the_grey_of_the_pixel():
    picture = noise(RESIZE)
    out, params = altered(picture, Augment(saturation=0.6))
    plain, factors = cuts(picture, CROP, params).astype(float), params.color_factors[:, 2]
    grey = (plain @ (0.299, 0.587, 0.114))[..., None]
    assert factors.std() > 0.1
    wanted = (grey + factors[:, None, None, None] * (plain - grey)).clip(0, 255)
    np.testing.assert_allclose(out, wanted, atol=1.5)


def test_grey_pictures_have_equal_channels():
    picture = noise(RESIZE)
    out, params = altered(picture, Augment(grayscale_prob=0.4), count=300)
    grey = (out == out[..., :1]).all((1, 2, 3))
    assert 0.3 < grey.mean() < 0.5
    plain = cuts(picture, CROP, params)
    assert (out[~grey] == plain[~grey]).all()
    np.testing.assert_allclose(out[grey, :, :, 0], plain[grey] @ (0.299, 0.587, 0.114), atol=1)


def test_a_blot_is_one_grey_rectangle():
    picture = noise(RESIZE)
    picture[picture == GRAY] = 0
    out, params = altered(picture, Augment(erase_prob=0.6), count=300)
    blotted = (out == GRAY).all(3)
    touched = blotted.any((1, 2))
    assert 0.5 < touched.mean() < 0.7
    same = (out == cuts(picture, CROP, params)).all(3)
    assert (same == ~blotted).all()
    for blot in blotted[touched]:
        rows, columns = np.flatnonzero(blot.any(1)), np.flatnonzero(blot.any(0))
        assert blot.sum() == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        assert 0.01 < blot.mean() < 0.23
    hit = np.argwhere(blotted.any(0))
    assert hit.min(0).tolist() == [0, 0]
    assert hit.max(0).tolist() == [CROP[0] - 1, CROP[1] - 1]


def size():
    return st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(deadline=None)
@given(size(), size(), st.integers(0, 2**31), st.booleans(), st.floats(0, 1), st.booleans())
def test_any_size_keeps_within_its_memory(crop, margin, seed, flip, much, turns):
    resize = crop[0] + margin[0] - 1, crop[1] + margin[1] - 1
    augment = replace(ALL, rot90=turns, erase_prob=1.0)
    augmenter = RandomAugment(augment, resize, crop, flip, much)
    params = augmenter.draw(3, np.random.default_rng(seed))
    memory = np.full((5, *crop, 3), 9, np.uint8)
    picture = np.full((*resize, 3), 200, np.uint8)
    for i in range(3):
        augmenter.apply(picture, params, i, memory[i + 1])
    assert (memory[[0, 4]] == 9).all()
    assert (memory[1:4] >= 70).all()  # written all over, by nothing but the picture and the blot
    assert (picture == 200).all()
    found = arrays(params)
    assert (found.tops + crop[0] <= resize[0]).all()
    assert (found.lefts + crop[1] <= resize[1]).all()
    if much > 0:
        assert (found.erase_boxes[:, :2] + found.erase_boxes[:, 2:] <= crop).all()


def test_batches_do_not_depend_on_the_number_of_threads(catalog):
    def run(threads, seed):
        augmenter = RandomAugment(ALL, (24, 20), (20, 16), True)
        with ImageReader(catalog, (24, 20), threads) as reader:
            rows = np.arange(60)[::-1]
            batches = reader.batches(rows, 7, augmenter, np.random.SeedSequence(seed))
            return np.concatenate([pictures for _, pictures in batches])

    first = run(1, 5)
    assert first.shape == (60, 3, 20, 16)
    assert (first == run(4, 5)).all()
    assert (first != run(4, 6)).any()


def test_strength_is_full_unless_told_otherwise():
    assert [augment_strength(Augment(), epoch, 3) for epoch in range(-1, 3)] == [1.0] * 4


def test_strength_grows_and_ends_clean():
    augment = Augment(ramp_epochs=4, ramp_start=0.2, no_aug_epochs=2)
    found = [augment_strength(augment, epoch, 8) for epoch in range(-2, 8)]
    np.testing.assert_allclose(found, [0.2, 0.2, 0.2, 0.4, 0.6, 0.8, 1, 1, 0, 0])


def test_clean_epochs_come_before_growing_ones():
    augment = Augment(ramp_epochs=9, no_aug_epochs=1)
    assert augment_strength(augment, 2, 3) == 0
    assert augment_strength(augment, 1, 3) == pytest.approx(1 / 9)
