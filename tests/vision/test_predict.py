from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.config import Predict, Run
from lib.errors import UserError
from lib.topk import read
from lib.vision.predict import load, predict
from tests.vision.conftest import ROTTEN, folder_of

ROWS = np.array([1, 2, 5, 7, 8, 20, 21, ROTTEN, 53, 59])
WHOLE, CROP = (24, 20), (20, 16)


def run(folder, model, checkpoints, reader, nets=None, rows=ROWS, plain=True, **settings):
    settings = Predict(**({"views": 10, "top_k": 3, "shard": 4} | settings))
    return predict(
        folder, model, settings, checkpoints, nets, reader, rows, Run(predict_batch=3), plain
    )


def dense(checkpoint, model, reader, views, of=lambda logits: logits.softmax(1)):
    """Mean of the probabilities [n, 4] by the definition: one picture, one view at a time."""
    net = load(checkpoint, model, torch.device("cpu"))
    found = np.zeros((len(ROWS), 4))
    for i, row in enumerate(ROWS):
        picture = reader.decode(row)
        for top, left, mirrored in views:
            view = picture[top : top + CROP[0], left : left + CROP[1]]
            view = view[:, ::-1] if mirrored else view
            pixels = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))[None]
            with torch.inference_mode():
                found[i] += of(net(net.normalise(pixels)))[0].numpy() / len(views)
    return found


CENTRE = [(2, 2, False)]
TEN = [
    (top, left, mirrored)
    for mirrored in (False, True)
    for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))
]


def assert_top(topk, probs):
    order = np.argsort(-probs, axis=1)[:, :3]
    np.testing.assert_array_equal(topk.classes, order)
    np.testing.assert_allclose(topk.probs, np.take_along_axis(probs, order, 1), atol=1e-3)
    np.testing.assert_allclose(topk.rest, 1 - topk.probs.sum(1), atol=2e-3)
    assert (topk.rest >= 0).all()


def test_views_and_networks_are_averaged_before_the_first_k(tmp_path, model, checkpoints, reader):
    facts = run(tmp_path, model, checkpoints, reader)
    top = read(tmp_path)
    assert_top(top, sum(dense(c, model, reader, TEN) for c in checkpoints) / 2)
    assert_top(
        read(tmp_path, "plain"), sum(dense(c, model, reader, CENTRE) for c in checkpoints) / 2
    )
    assert top.image.tolist() == ROWS.tolist()
    assert facts == {"images": len(ROWS), "rotten": 1, "views": 10}


def test_a_geometric_mean_is_one_of_logarithms(tmp_path, model, checkpoints, reader):
    run(tmp_path, model, checkpoints, reader, mean="geometric")
    for prefix, views in (("top", TEN), ("plain", CENTRE)):
        logs = [dense(c, model, reader, views, lambda x: x.log_softmax(1)) for c in checkpoints]
        product = np.exp(sum(logs) / 2)
        assert_top(read(tmp_path, prefix), product / product.sum(1, keepdims=True))


def test_out_of_fold_rows_are_scored_by_their_own_network(tmp_path, model, checkpoints, reader):
    nets = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 0], np.int8)
    run(tmp_path, model, checkpoints, reader, nets)
    each = [dense(c, model, reader, TEN) for c in checkpoints]
    assert_top(read(tmp_path), np.where(nets[:, None] == 0, *each))


def test_a_row_without_a_network_is_refused(tmp_path, model, checkpoints, reader):
    nets = np.full(len(ROWS), -1, np.int8)
    with pytest.raises(ValueError, match="not there"):
        run(tmp_path, model, checkpoints, reader, nets)


@pytest.mark.parametrize("shard", [1, 3, 10, 100])
def test_the_size_of_a_shard_changes_nothing(tmp_path, model, checkpoints, reader, shard):
    one, other = folder_of(tmp_path, "one"), folder_of(tmp_path, "other")
    run(one, model, checkpoints, reader)
    run(other, model, checkpoints, reader, shard=shard)
    np.testing.assert_array_equal(read(one).classes, read(other).classes)
    np.testing.assert_allclose(read(one).probs, read(other).probs, atol=1e-3)
    wanted = ["image.npy"] + [
        f"{p}_{a}.npy" for p in ("plain", "top") for a in ("class", "prob", "rest")
    ]
    assert sorted(p.name for p in other.iterdir()) == wanted


def test_a_stopped_run_goes_on_from_its_last_shard(
    tmp_path, model, checkpoints, reader, monkeypatch
):
    whole, stopped = folder_of(tmp_path, "whole"), folder_of(tmp_path, "stopped")
    run(whole, model, checkpoints, reader)
    decode = reader._sized

    def failing(row, *more):
        if row == ROWS[-1]:
            raise KeyboardInterrupt
        return decode(row, *more)

    monkeypatch.setattr(reader, "_sized", failing)
    with pytest.raises(KeyboardInterrupt):
        run(stopped, model, checkpoints, reader)
    assert (stopped / "shard-00001.npz").exists()
    decoded = []
    monkeypatch.setattr(
        reader, "_sized", lambda row, *more: (decoded.append(row), decode(row, *more))[1]
    )
    reader.rotten[:] = False
    facts = run(stopped, model, checkpoints, reader)
    assert sorted(decoded) == [53, 59]  # the third shard alone
    assert facts["rotten"] == 1  # of the second, which was not read again
    for path in whole.iterdir():
        assert path.read_bytes() == (stopped / path.name).read_bytes(), path.name


def test_without_plain_only_the_mean_is_written(tmp_path, model, checkpoints, reader):
    folder = folder_of(tmp_path, "out")
    run(folder, model, checkpoints, reader, plain=False)
    assert not list(folder.glob("plain*"))


def test_fewer_classes_than_k(tmp_path, model, checkpoints, reader):
    run(tmp_path, model, checkpoints, reader, top_k=20)
    top = read(tmp_path)
    assert top.classes.shape == (len(ROWS), 4)
    assert (np.sort(top.classes, 1) == np.arange(4)).all()
    np.testing.assert_allclose(top.rest, 0, atol=1e-3)


def test_no_rows_give_empty_arrays(tmp_path, model, checkpoints, reader):
    facts = run(tmp_path, model, checkpoints, reader, rows=np.arange(0))
    assert facts["images"] == 0
    assert read(tmp_path).classes.shape == (0, 3)


def test_bad_checkpoints_are_named(tmp_path, model, checkpoints):
    cpu = torch.device("cpu")
    with pytest.raises(UserError, match="no such checkpoint"):
        load(tmp_path / "absent.pt", model, cpu)
    with pytest.raises(UserError, match="holds small, the config says resnet18"):
        load(checkpoints[0], replace(model, network="resnet18"), cpu)
    checkpoints[0].write_bytes(checkpoints[0].read_bytes()[:1000])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load(checkpoints[0], model, cpu)
