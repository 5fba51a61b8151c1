"""Masks move with their images."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.config.inputs.segmentation import Segmentation
from lib.config.model import Augment, Model
from lib.data.openimages.masks.targets import channel_boxes
from lib.runtime.distributed import ProcessGroup
from lib.training.loaders.augment import RandomAugment
from lib.training.loaders.image_loader import shard_loader
from lib.training.loaders.mask_loader import MaskLoader, crop_matrices, move_boxes

STRIDE = 4
MODEL = Model(
    kind="segmentation",
    resize=(48, 64),
    crop=(40, 48),
    segmentation=Segmentation(stride=STRIDE, unannotated_weight=0.5, core=0),
)
AUGMENT = Augment(min_area=0.5, max_stretch=0.2, brightness=0.1)


def random_boxes(count, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 0.6, (count, 2))
    high = low + rng.uniform(0.2, 0.4, (count, 2))
    return np.stack([low, high], 2).reshape(count, 4)


class DrawnReader:
    """Stands for an ImageReader: the box of each image is white on black, in its channel."""

    def __init__(self, box):
        self.box = box

    def image(self, row):
        height, width = MODEL.resize
        image = np.zeros((height, width, 3), np.uint8)
        x_min, x_max, y_min, y_max = np.rint(self.box[row] * [width, width, height, height])
        image[int(y_min) : int(y_max), int(x_min) : int(x_max)] = 255
        return image

    def batches(self, rows, batch_size, augmenter=None, seeds=None):
        starts = range(0, len(rows), batch_size)
        children = [None] * len(starts) if seeds is None else seeds.spawn(len(starts))
        for start, seed in zip(starts, children, strict=True):
            part = rows[start : start + batch_size]
            if augmenter is None:
                images = np.stack([self.image(row) for row in part])
            else:
                images = np.empty((len(part), *augmenter.crop, 3), np.uint8)
                params = augmenter.draw(len(part), np.random.default_rng(seed))
                for i, row in enumerate(part):
                    augmenter.apply(self.image(row), params, i, images[i])
            yield part, images.transpose(0, 3, 1, 2)


def loader_of(model, count=11):
    box = np.rint(random_boxes(count) * 64) / 64  # whole pixels across
    box[:, 2:] = np.rint(box[:, 2:] * 48) / 48
    boxes = channel_boxes(
        count,
        np.arange(count),
        np.arange(count) % 2,
        box,
        np.ones(count),
        [0, 1],
        np.zeros((2, 2), bool),
    )
    return MaskLoader(DrawnReader(box), model, boxes)


def white_share(images):
    """Fraction of white in each cell: [b, h, w]."""
    count, _, height, width = images.shape
    cells = images[:, 0].reshape(count, height // STRIDE, STRIDE, width // STRIDE, STRIDE)
    return cells.mean((2, 4)) / 255


@pytest.mark.parametrize("augment", [Augment(), AUGMENT])
def test_masks_are_where_the_objects_are_after_augmentation(augment):
    model = replace(MODEL, augment=augment, head_only_epochs=0)
    loader = loader_of(model)
    rows = np.arange(11)
    batches = list(loader.train_batches(rows, 4, np.random.SeedSequence(3), 0, 5))
    assert [len(batch_rows) for batch_rows, _ in batches] == [4, 4, 3]
    tolerance = 0.01 if augment == Augment() else 0.35
    for batch_rows, masked in batches:
        assert masked.images.shape[-2:] == model.crop
        drawn = masked.target[np.arange(len(batch_rows)), batch_rows % 2]
        error = np.abs(drawn - white_share(masked.images))
        assert error.max() < tolerance
        assert error.mean() < 0.03
        other = masked.target[np.arange(len(batch_rows)), 1 - batch_rows % 2]
        assert other.sum() == 0
    assert sum(masked.target.sum() for _, masked in batches) > 50


def test_evaluation_shows_whole_images():
    batches = list(loader_of(MODEL).eval_batches(np.array([5, 2]), 8))
    rows, masked = batches[0]
    assert rows.tolist() == [5, 2]
    assert masked.images.shape[-2:] == MODEL.resize
    drawn = masked.target[np.arange(2), rows % 2]
    assert drawn == pytest.approx(white_share(masked.images), abs=0.01)
    assert set(np.unique(masked.weight)) == {0.5, 1}


@given(st.integers(0, 2**32 - 1))
def test_boxes_move_as_pixels_do(seed):
    rng = np.random.default_rng(seed)
    augment = RandomAugment(AUGMENT, MODEL.resize, MODEL.crop, flip=True)
    params = augment.draw(3, rng)
    box = random_boxes(3, seed)
    moved = move_boxes(box, crop_matrices(params, MODEL.crop), MODEL.resize, MODEL.crop)
    height, width = MODEL.resize
    for i in range(3):
        ends = box[i] * [width, width, height, height] - 0.5
        corners = np.array([[x, y] for x in ends[:2] for y in ends[2:]])
        back = cv2.invertAffineTransform(params.transforms.matrices[i])
        points = (corners @ back[:, :2].T + back[:, 2] + 0.5) / MODEL.crop[::-1]
        expected = [
            *(points[:, 0].min(), points[:, 0].max()),
            *(points[:, 1].min(), points[:, 1].max()),
        ]
        assert moved[i] == pytest.approx(expected)


def test_each_rank_has_its_shard_of_images_and_masks():
    model = replace(MODEL, head_only_epochs=0, augment=AUGMENT)
    rows, loader = np.arange(11), loader_of(model)
    batches = list(loader.train_batches(rows, 4, np.random.SeedSequence(3), 0, 5))
    for group in (ProcessGroup(rank, 2) for rank in range(2)):
        sharded = shard_loader(loader, group).train_batches(
            rows, 4, np.random.SeedSequence(3), 0, 5
        )
        for (batch_rows, whole), (shard_rows, part) in zip(batches, sharded, strict=True):
            shard = group.shard(len(batch_rows))
            np.testing.assert_array_equal(shard_rows, batch_rows[shard])
            for array, expected in zip(part, whole, strict=True):
                np.testing.assert_array_equal(array, expected[shard])
