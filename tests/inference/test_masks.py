"""Masks on disk are those that the networks draw."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.config.inputs.segmentation import Segmentation
from lib.config.schema import Run
from lib.inference import masks
from lib.models import factory
from lib.training.checkpoint import load_classifier

CHANNELS = np.array([3, 8])
ROWS = np.array([2, 5, 6, 30, 41])


@pytest.fixture
def model(model):
    return replace(
        model, kind="segmentation", segmentation=Segmentation(core=0.5, stride=4, width=8)
    )


@pytest.fixture
def checkpoints(tmp_path, model):
    paths = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = factory.create_from_config(model, 4, "none")
        paths.append(tmp_path / f"net{seed}.pt")
        torch.save({"network": "small", "classes": 4, "model": net.state_dict()}, paths[-1])
    return paths


def write(folder, model, checkpoints, reader, shard_size=2, batch=3):
    folder.mkdir(exist_ok=True)
    run = Run(predict_batch_size=batch)
    return masks.write_masks(folder, model, checkpoints, CHANNELS, reader, ROWS, run, shard_size)


def test_masks_are_the_mean_of_the_networks(tmp_path, model, checkpoints, reader):
    facts = write(tmp_path / "a", model, checkpoints, reader)
    assert facts == {"images": 5, "channels": 2}
    written = masks.read_masks(tmp_path / "a")
    np.testing.assert_array_equal(written.image, ROWS)
    np.testing.assert_array_equal(written.channels, CHANNELS)
    assert written.masks.shape == (5, 2, 6, 5)
    drawn_planes = np.concatenate([written.masks, written.cores], 1).astype(float)
    nets = [load_classifier(path, model, torch.device("cpu")) for path in checkpoints]
    images = np.stack([reader.decode(row) for row in ROWS]).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        drawn = [net(net.normalise(torch.from_numpy(images))).sigmoid() for net in nets]
    expected = 255 * (drawn[0] + drawn[1]).numpy() / 2
    assert drawn_planes == pytest.approx(expected, abs=0.51)


def test_an_interrupted_call_keeps_its_shards(tmp_path, model, checkpoints, reader, monkeypatch):
    write(tmp_path / "whole", model, checkpoints, reader)
    draw, calls = masks._draw, []

    def stop(*arguments):
        calls.append(len(arguments[-1]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(masks, "_draw", stop)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "stopped", model, checkpoints, reader)
    with monkeypatch.context() as patch:
        patch.setattr(masks, "_draw", lambda *a: calls.append(len(a[-1])) or draw(*a))
        write(tmp_path / "stopped", model, checkpoints, reader)
    assert calls == [2, 2, 1, 1]
    for name in ("image.npy", "channels.npy", "masks.npy"):
        files = [tmp_path / folder / name for folder in ("whole", "stopped")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert not list((tmp_path / "stopped").glob("shard-*"))


def test_no_image_leaves_empty_arrays(tmp_path, model, checkpoints, reader, monkeypatch):
    monkeypatch.setattr("tests.inference.test_masks.ROWS", np.zeros(0, np.int64))
    write(tmp_path / "a", model, checkpoints, reader)
    assert masks.read_masks(tmp_path / "a").masks.shape == (0, 2, 6, 5)
