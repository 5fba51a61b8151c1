"""Small training runs on the catalog of colored images, and what they leave on disk."""

import json

import numpy as np
import torch

from lib.config.schema import Run
from lib.data.openimages.masks.targets import channel_boxes
from lib.data.products.reader import ProductReader
from lib.models import factory
from lib.training.dataset import TrainingSet
from lib.training.loaders.mask_loader import MaskLoader
from lib.training.loaders.product_loader import create_loader
from lib.training.trainer import train_model
from tests.image_catalog import clustered_reader

TRAIN, VALID = np.arange(0, 42), np.arange(42, 60)


class Stop(Exception):
    """Stands for a kill in the middle of an epoch."""


def stop_after(num_steps):
    """An `on_step` that raises Stop after the given number of steps."""
    steps = iter(range(1, num_steps))

    def on_step(state, step):
        if next(steps, None) is None:
            raise Stop

    return on_step


def training_set(reader, model, labels, train=TRAIN, valid=VALID, classes=3, levels=()):
    """Rows are the images of the catalog, each of its own product."""
    if model.aspect.num_clusters:
        reader = clustered_reader(reader)
    if model.input == "product":
        reader = ProductReader(reader.catalog, reader.resize, reader.threads)
    loader = create_loader(reader, model)
    outputs = classes
    if model.kind == "segmentation":
        outputs = classes * model.segmentation.num_planes
        loader = MaskLoader(reader, model, boxes_of(labels, classes))
    return TrainingSet(
        loader,
        lambda weights: factory.create_from_config(model, outputs, weights),
        labels,
        np.arange(len(labels)),
        train,
        valid,
        classes,
        levels,
        cluster=reader.cluster,
    )


def boxes_of(labels, classes):
    """A box of its class in every image."""
    rng = np.random.default_rng(0)
    box = np.sort(rng.random((len(labels), 2, 2)), 2).reshape(-1, 4)
    above = np.zeros((classes, classes), bool)
    rows, ones = np.arange(len(labels)), np.ones(len(labels))
    return channel_boxes(len(labels), rows, labels, box, ones, range(classes), above)


def train(folder, model, reader, labels, valid=VALID, seed=1, on_step=None, run=None):
    data = training_set(reader, model, labels, valid=valid)
    return train_model(folder, model, data, seed, run or Run(), on_step)


def load(folder, name="last.pt"):
    return torch.load(folder / name, weights_only=True)


def history(folder):
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def assert_same_run(a, b):
    """Two folders hold the same weights and the same history, to the last bit."""
    names = sorted(path.name for path in a.glob("*.pt"))
    assert names == sorted(path.name for path in b.glob("*.pt"))
    for name in names:
        assert_same_weights(load(a, name)["model"], load(b, name)["model"])
    assert history(a) == history(b)


def assert_finite(folder):
    """All checkpoints of the folder hold finite weights."""
    for path in folder.glob("*.pt"):
        saved = torch.load(path, weights_only=True)
        assert all(torch.isfinite(value).all() for value in saved["model"].values())
