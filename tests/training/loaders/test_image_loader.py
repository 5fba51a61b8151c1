from dataclasses import replace

import numpy as np
import pytest

from lib.config.model import Augment
from lib.data.image_reader import ImageReader
from lib.data.shuffle import ClusterOrder
from lib.runtime.distributed import SINGLE, ProcessGroup
from lib.training.loaders.embedding_loader import EmbeddingLoader
from lib.training.loaders.image_loader import ImageLoader, micro_batches, shard_loader
from tests.image_catalog import SHAPES, clustered_reader
from tests.training.training_runs import TRAIN


@pytest.fixture
def model(model):
    return replace(model, augment=Augment(max_rotation=20.0, erase_prob=0.5, contrast=0.3))


def train_images(loader, rows, epoch=0, seed=3, num_epochs=2):
    batches = loader.train_batches(rows, 7, np.random.SeedSequence(seed), epoch, num_epochs)
    return np.concatenate([images for _, images in batches])


def test_evaluation_shows_the_center_of_every_image(model, reader):
    rows = np.array([9, 3, 41])
    batches = list(ImageLoader(reader, model).eval_batches(rows, 2))
    assert [batch_rows.tolist() for batch_rows, _ in batches] == [[9, 3], [41]]
    images = np.concatenate([images for _, images in batches])
    expected = np.stack([reader.decode(row) for row in rows])[:, 2:22, 2:18]
    np.testing.assert_array_equal(images, expected.transpose(0, 3, 1, 2))


def test_the_seeds_decide_how_training_images_are_changed(model, reader):
    loader = ImageLoader(reader, model)
    first = train_images(loader, TRAIN)
    assert first.shape == (len(TRAIN), 3, *model.crop)
    np.testing.assert_array_equal(first, train_images(loader, TRAIN))
    assert not np.array_equal(first, train_images(loader, TRAIN, seed=4))


def test_the_last_epochs_show_plain_crops(model, reader):
    clean = ImageLoader(reader, replace(model, augment=Augment()))
    ending = ImageLoader(reader, replace(model, augment=replace(model.augment, no_aug_epochs=1)))
    last = train_images(ending, TRAIN, epoch=2, num_epochs=3)
    np.testing.assert_array_equal(last, train_images(clean, TRAIN, epoch=2, num_epochs=3))
    before = train_images(ending, TRAIN, epoch=1, num_epochs=3)
    assert not np.array_equal(before, train_images(clean, TRAIN, epoch=1, num_epochs=3))


def assert_shards_equal_the_batches(loader, rows, size):
    """The micro-batches of 3 ranks are the shards of a single process's batches."""
    batches = list(loader.train_batches(rows, size, np.random.SeedSequence(3), 0, 2))
    for group in (ProcessGroup(rank, 3) for rank in range(3)):
        sharded = shard_loader(loader, group)
        seeds = np.random.SeedSequence(3)
        shards = list(micro_batches(sharded, group, rows, size, seeds, 0, 2))
        for (batch_rows, inputs), micro_batch in zip(batches, shards, strict=True):
            shard = group.shard(len(batch_rows))
            np.testing.assert_array_equal(micro_batch.rows, batch_rows[shard])
            np.testing.assert_array_equal(micro_batch.inputs, inputs[shard])
            np.testing.assert_array_equal(rows[micro_batch.position], micro_batch.rows)
            assert micro_batch.weight == group.shard_weight(len(batch_rows))


@pytest.mark.parametrize("size", [2, 5, 13, 50])
def test_shards_of_images_are_those_of_one_process(model, catalog, size):
    """42 images, so that the last micro-batch is a short one."""
    with ImageReader(catalog, model.resize, 2) as reader:
        rows = np.random.default_rng(0).permutation(TRAIN)
        assert_shards_equal_the_batches(ImageLoader(reader, model), rows, size)


@pytest.mark.parametrize("size", [2, 5, 7])
def test_shards_of_aspect_clusters_are_those_of_one_process(model, reader, size):
    clustered = clustered_reader(reader)
    order = ClusterOrder(TRAIN, clustered.cluster[TRAIN], size, 1, 0)
    loader, rows = ImageLoader(clustered, model), order.slice(0, len(order))
    assert_shards_equal_the_batches(loader, rows, size)
    crops = {tuple(images.shape[2:]) for _, images in loader.eval_batches(rows, 4)}
    assert crops == {shape.crop for shape in SHAPES}


def test_aspect_clusters_are_evaluated_one_after_the_other(model, reader):
    clustered = clustered_reader(reader)
    rows = np.random.default_rng(0).permutation(60)
    batches = list(ImageLoader(clustered, model).eval_batches(rows, 8))
    shown = np.concatenate([batch_rows for batch_rows, _ in batches])
    assert sorted(shown.tolist()) == list(range(60))
    assert (np.diff(clustered.cluster[shown]) >= 0).all()
    for batch_rows, images in batches:
        resize, crop = SHAPES[clustered.cluster[batch_rows[0]]]
        top, left = (resize[0] - crop[0]) // 2, (resize[1] - crop[1]) // 2
        expected = clustered.decode(int(batch_rows[0]))[top : top + crop[0], left : left + crop[1]]
        np.testing.assert_array_equal(images[0], expected.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [2, 5, 50])
def test_shards_of_embeddings_are_those_of_one_process(size):
    counts = np.arange(42) % 5
    source = np.random.default_rng(1).normal(size=(counts.sum(), 3)).astype(np.float16)
    loader = EmbeddingLoader([source], np.cumsum(counts) - counts, counts)
    assert_shards_equal_the_batches(loader, np.random.default_rng(0).permutation(42), size)


def test_ranks_evaluate_the_rows_that_they_ask_for(model, reader):
    sharded = shard_loader(ImageLoader(reader, model), ProcessGroup(1, 3))
    assert [rows.tolist() for rows, _ in sharded.eval_batches(TRAIN[:5], 3)] == [[0, 1, 2], [3, 4]]


def test_a_single_process_keeps_its_loader(model, reader):
    loader = ImageLoader(reader, model)
    assert shard_loader(loader, SINGLE) is loader
