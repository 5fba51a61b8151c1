"""Embeddings against the network and a PCA by singular values."""

from functools import partial

import numpy as np
import pytest
import torch

from lib.config.schema import Predict, Run
from lib.errors import UserError
from lib.inference.embeddings import _principal_axes, write_embeddings
from lib.training.checkpoint import load_classifier
from tests.image_catalog import CORRUPT, PRODUCTS, SHAPES, clustered_reader, folder_of


def run(
    folder,
    model,
    checkpoint,
    reader,
    projection=None,
    keep_features=False,
    keep_mirrored=False,
    **settings,
):
    settings = Predict(**({"embedding_dim": 8, "shard_size": 7} | settings))
    net, batch = partial(load_classifier, checkpoint, model), Run(predict_batch_size=3)
    facts = write_embeddings(
        folder, model, settings, net, projection, keep_features, reader, batch, keep_mirrored
    )
    return facts, np.load(folder / "embeddings.npy")


def pooled_features(model, checkpoint, reader):
    """Input of the head for the center view, float32 [n, width], one image at a time."""
    net = load_classifier(checkpoint, model, torch.device("cpu"))
    rows = []
    for row in range(PRODUCTS):
        view = reader.decode(row)[2:22, 2:18]
        pixels = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            rows.append(net.embed(net.normalise(pixels))[0].numpy())
    return np.stack(rows)


def test_embeddings_are_projections_on_the_first_principal_axes(
    tmp_path, model, checkpoints, reader
):
    facts, embeddings = run(tmp_path, model, checkpoints[0], reader)
    whole = pooled_features(model, checkpoints[0], reader).astype(np.float64)
    decoded = np.arange(PRODUCTS) != CORRUPT
    whole -= whole[decoded].mean(axis=0)
    whole[CORRUPT] = 0
    left, values, _ = np.linalg.svd(whole, full_matrices=False)
    expected = (left * values)[:, :8]
    assert facts == {"images": PRODUCTS, "dims": 8, "width": 256}
    assert not (tmp_path / "features.npy").exists()
    assert embeddings.dtype == np.float16
    scale = np.abs(expected).max()
    embeddings[CORRUPT] = 0
    np.testing.assert_allclose(
        embeddings @ embeddings.T, expected @ expected.T, atol=0.01 * scale**2
    )
    assert (np.load(tmp_path / "decoded.npy") == decoded).all()


@pytest.mark.parametrize("count", [9, 30, 200])
def test_the_axes_are_the_same_from_either_side(count):
    rng = np.random.default_rng(count)
    features = rng.normal(size=(count, 40)) * 0.8 ** np.arange(40)
    centered = features - features.mean(axis=0)
    values, axes = np.linalg.eigh(centered.T @ centered)
    expected = axes[:, ::-1][:, :6]
    found = _principal_axes(centered, 6)
    assert values[-6] > 1.01 * values[-7]  # no axis is a matter of rounding
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), 1)
    assert (found[np.abs(found).argmax(axis=0), np.arange(6)] > 0).all()


def test_another_catalog_is_embedded_into_the_same_space(tmp_path, model, checkpoints, reader):
    _, train = run(folder_of(tmp_path, "train"), model, checkpoints[0], reader)
    projection = tmp_path / "train" / "projection.npy"
    facts, test = run(folder_of(tmp_path, "test"), model, checkpoints[0], reader, projection)
    np.testing.assert_array_equal(train, test)
    assert facts["dims"] == 8
    assert not (tmp_path / "test" / "projection.npy").exists()


@pytest.mark.parametrize("shard_size", [7, 100])
def test_embeddings_of_mirrored_images(tmp_path, model, checkpoints, reader, shard_size):
    plain, both = folder_of(tmp_path, "plain"), folder_of(tmp_path, "both")
    run(plain, model, checkpoints[0], reader, keep_features=True, shard_size=shard_size)
    run(both, model, checkpoints[0], reader, None, True, True, shard_size=shard_size)
    np.testing.assert_array_equal(*(np.load(f / "features.npy") for f in (plain, both)))
    net = load_classifier(checkpoints[0], model, torch.device("cpu"))
    pixels = np.stack([reader.decode(row)[2:22, 2:18][:, ::-1] for row in range(PRODUCTS)])
    with torch.inference_mode():
        images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        expected = net.embed(net.normalise(images)).numpy()
    np.testing.assert_allclose(np.load(both / "mirrored.npy"), expected, atol=0.02, rtol=0.01)
    assert not (plain / "mirrored.npy").exists()


@pytest.mark.parametrize("shard_size", [7, 100])
def test_with_aspect_clusters_each_image_is_embedded_in_its_own_shape(
    tmp_path, model, checkpoints, reader, shard_size
):
    """Batches are of one cluster, rows in the order of the images."""
    clustered = clustered_reader(reader)
    run(tmp_path, model, checkpoints[0], clustered, keep_features=True, shard_size=shard_size)
    features = np.load(tmp_path / "features.npy")
    net = load_classifier(checkpoints[0], model, torch.device("cpu"))
    for row in range(PRODUCTS):
        resize, crop = SHAPES[clustered.cluster[row]]
        top, left = (resize[0] - crop[0]) // 2, (resize[1] - crop[1]) // 2
        view = clustered.decode(row)[top : top + crop[0], left : left + crop[1]]
        pixels = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))[None]
        with torch.inference_mode():
            expected = net.embed(net.normalise(pixels))[0].numpy()
        np.testing.assert_allclose(features[row], expected, rtol=2e-3, atol=1e-4)


def test_there_are_at_most_as_many_dims_as_features(tmp_path, model, checkpoints, reader):
    facts, embeddings = run(tmp_path, model, checkpoints[0], reader, embedding_dim=10_000)
    assert embeddings.shape == (PRODUCTS, facts["dims"])
    whole = pooled_features(model, checkpoints[0], reader)
    np.testing.assert_allclose(
        np.linalg.norm(embeddings[0] - embeddings[1:].astype(np.float32), axis=1),
        np.linalg.norm(whole[0] - whole[1:], axis=1),
        rtol=0.02,
    )


def test_the_whole_input_of_the_head_is_kept_on_request(tmp_path, model, checkpoints, reader):
    run(tmp_path, model, checkpoints[0], reader, keep_features=True)
    features = np.load(tmp_path / "features.npy")
    assert features.dtype == np.float16
    np.testing.assert_allclose(
        features, pooled_features(model, checkpoints[0], reader), rtol=2e-3, atol=1e-4
    )


class InterruptedReader:
    """A reader that is interrupted at its fourth call of `batches`."""

    def __init__(self, reader):
        self.catalog, self.corrupt = reader.catalog, reader.corrupt
        self.batch_order, self.shape_of = reader.batch_order, reader.shape_of
        self.calls, self._batches = [], reader.batches

    def batches(self, rows, batch_size):
        self.calls.append(rows)
        if len(self.calls) == 4:  # the sample for the projection, then two pieces that are kept
            raise KeyboardInterrupt
        return self._batches(rows, batch_size)


def test_an_interrupted_call_resumes_with_the_same_result(tmp_path, model, checkpoints, reader):
    whole, resumed = (folder_of(tmp_path, name) for name in ("whole", "resumed"))
    _, expected = run(whole, model, checkpoints[0], reader, keep_features=True)
    interrupted = InterruptedReader(reader)
    with pytest.raises(KeyboardInterrupt):
        run(resumed, model, checkpoints[0], interrupted, keep_features=True)
    assert (resumed / "progress").read_text() == "14"
    _, embeddings = run(resumed, model, checkpoints[0], interrupted, keep_features=True)
    assert interrupted.calls[4][0] == 14
    np.testing.assert_array_equal(embeddings, expected)
    for name in ("features.npy", "decoded.npy"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()
    assert not (resumed / "progress").exists()


def scaled(checkpoint, factor):
    """The same network with larger features."""
    saved = torch.load(checkpoint, weights_only=True)
    saved["model"]["body.4.1.weight"].mul_(factor)
    torch.save(saved, checkpoint)
    return checkpoint


def test_features_beyond_the_range_of_float16_are_its_largest_value(
    tmp_path, model, checkpoints, reader
):
    checkpoint = scaled(checkpoints[0], 1e8)
    _, embeddings = run(tmp_path, model, checkpoint, reader, keep_features=True)
    features = np.load(tmp_path / "features.npy")
    assert pooled_features(model, checkpoint, reader).max() > 65504
    assert np.isfinite(embeddings).all()
    assert features.max() == 65504


def test_features_that_are_no_numbers_are_refused(tmp_path, model, checkpoints, reader):
    with pytest.raises(UserError, match="small: its embeddings are not finite"):
        run(tmp_path, model, scaled(checkpoints[0], float("nan")), reader)
