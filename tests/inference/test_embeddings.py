"""Embeddings against the network and a PCA by singular values."""

from functools import partial

import numpy as np
import pytest
import torch

from lib.config.schema import Predict, Run
from lib.inference import embeddings as module
from lib.inference.embeddings import embed
from lib.training.trained import network
from tests.image_catalog import PRODUCTS, folder_of


def run(folder, model, checkpoint, reader, projection=None, whole=False, **settings):
    settings = Predict(**({"embedding_dim": 8, "shard_size": 7} | settings))
    net, batch = partial(network, checkpoint, model), Run(predict_batch_size=3)
    facts = embed(folder, model, settings, net, projection, whole, reader, batch)
    return facts, np.load(folder / "embeddings.npy")


def seen(model, checkpoint, reader):
    """What the head sees of the centre view, float32 [n, width], one picture at a time."""
    net = network(checkpoint, model, torch.device("cpu"))
    rows = []
    for row in range(PRODUCTS):
        view = reader.decode(row)[2:22, 2:18]
        pixels = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            rows.append(net.embed(net.normalise(pixels))[0].numpy())
    return np.stack(rows)


def test_distances_are_those_on_the_first_principal_axes(tmp_path, model, checkpoints, reader):
    facts, found = run(tmp_path, model, checkpoints[0], reader)
    whole = seen(model, checkpoints[0], reader).astype(np.float64)
    whole -= whole.mean(axis=0)
    left, values, _ = np.linalg.svd(whole, full_matrices=False)
    expected = (left * values)[:, :8]
    assert facts == {"images": PRODUCTS, "dims": 8, "width": 256}
    assert not (tmp_path / "whole.npy").exists()
    assert found.dtype == np.float16
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=0.01 * scale**2)


def test_another_catalogue_is_brought_into_the_same_space(tmp_path, model, checkpoints, reader):
    _, known = run(folder_of(tmp_path, "train"), model, checkpoints[0], reader)
    projection = tmp_path / "train" / "projection.npy"
    facts, other = run(folder_of(tmp_path, "test"), model, checkpoints[0], reader, projection)
    np.testing.assert_array_equal(known, other)
    assert facts["dims"] == 8
    assert not (tmp_path / "test" / "projection.npy").exists()


def test_no_more_dims_than_the_network_has(tmp_path, model, checkpoints, reader):
    facts, found = run(tmp_path, model, checkpoints[0], reader, embedding_dim=10_000)
    assert found.shape == (PRODUCTS, facts["dims"])
    whole = seen(model, checkpoints[0], reader)
    np.testing.assert_allclose(
        np.linalg.norm(found[0] - found[1:].astype(np.float32), axis=1),
        np.linalg.norm(whole[0] - whole[1:], axis=1),
        rtol=0.02,
    )


def test_all_that_the_head_sees_is_kept_if_asked_for(tmp_path, model, checkpoints, reader):
    run(tmp_path, model, checkpoints[0], reader, whole=True)
    found = np.load(tmp_path / "whole.npy")
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, seen(model, checkpoints[0], reader), rtol=2e-3, atol=1e-4)


def test_an_interrupted_call_goes_on_with_the_same_result(
    tmp_path, model, checkpoints, reader, monkeypatch
):
    first = folder_of(tmp_path, "whole")
    _, whole = run(first, model, checkpoints[0], reader, whole=True)
    folder = folder_of(tmp_path, "broken")
    real = module._Embedder.seen
    pieces = []

    def dying(self, rows):
        pieces.append(rows)
        if len(pieces) == 4:  # the projection's sample, then two pieces that are kept
            raise KeyboardInterrupt
        return real(self, rows)

    monkeypatch.setattr(module._Embedder, "seen", dying)
    with pytest.raises(KeyboardInterrupt):
        run(folder, model, checkpoints[0], reader, whole=True)
    assert (folder / "progress").read_text() == "14"
    pieces[:] = [None] * 10
    _, resumed = run(folder, model, checkpoints[0], reader, whole=True)
    assert pieces[10][0] == 14
    np.testing.assert_array_equal(resumed, whole)
    assert (folder / "whole.npy").read_bytes() == (first / "whole.npy").read_bytes()
    assert not (folder / "progress").exists()
