"""What real networks say, against the definition: one row, one view, one network at a time."""

import numpy as np
import pytest
import torch

from lib.config.model import Fusion, Model
from lib.config.schema import Predict, Run
from lib.data.catalog import build_categories, read_catalog, read_categories
from lib.data.mosaic import MosaicReader
from lib.data.sources.bson_file import index_bson
from lib.inference import dumps
from lib.inference.predictor import FusionPredictor, ImagePredictor
from lib.inference.topk import read
from lib.models.fusion import FusionModel
from lib.training import trained
from lib.training.embedding_loader import EmbeddingLoader
from tests.conftest import jpeg, product
from tests.image_catalog import ROTTEN, SIZE

CPU = torch.device("cpu")
ROWS = np.array([1, 2, 5, 7, 8, 20, 21, ROTTEN, 53, 59])
CROP = (20, 16)
CENTRE = [(2, 2, False)]
TEN = [
    (top, left, mirrored)
    for mirrored in (False, True)
    for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))
]
FUSED = Model(input="embedding", fusion=Fusion(inputs=("a",), hidden_sizes=(7,)))


def run(folder, scorer_of, rows, nets=None, **settings):
    settings = Predict(**({"tta_views": 10, "top_k": 3, "shard_size": 4} | settings))
    scorer = scorer_of(settings, Run(predict_batch_size=3))
    rotten = dumps.write(folder, scorer, settings, rows, nets, True)
    return scorer, rotten


def by_pictures(model, checkpoints, reader, whose=None):
    def scorer_of(settings, run):
        return ImagePredictor(model, settings, checkpoints, reader, run, whose)

    return scorer_of


def of_views(checkpoint, model, reader, rows, views, of=lambda logits: logits.softmax(1)):
    """Mean over the views [n, classes] of what `of` makes of the logits."""
    net = trained.network(checkpoint, model, CPU)
    found = []
    for row in rows:
        picture = reader.decode(row)
        said = 0.0
        for top, left, mirrored in views:
            view = picture[top : top + CROP[0], left : left + CROP[1]]
            view = view[:, ::-1] if mirrored else view
            pixels = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))[None]
            with torch.inference_mode():
                said = said + of(net(net.normalise(pixels)))[0].numpy() / len(views)
        found.append(said)
    return np.array(found)


def assert_top(topk, rows, probs):
    order = np.argsort(-probs, axis=1)[:, :3]
    np.testing.assert_array_equal(topk.image, rows)
    np.testing.assert_array_equal(topk.classes, order)
    np.testing.assert_allclose(topk.probs, np.take_along_axis(probs, order, 1), atol=1e-3)
    np.testing.assert_allclose(topk.rest, 1 - topk.probs.sum(1), atol=2e-3)


def normal(logs):
    probs = np.exp(logs)
    return probs / probs.sum(1, keepdims=True)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_views_and_networks_are_averaged_before_the_first_k(
    tmp_path, model, checkpoints, reader, mean
):
    scorer_of = by_pictures(model, checkpoints, reader)
    scorer, rotten = run(tmp_path, scorer_of, ROWS, tta_mean=mean)
    assert (len(scorer.views), rotten) == (10, 1)
    for prefix, views in (("top", TEN), ("plain", CENTRE)):
        if mean == "arithmetic":
            each = [of_views(c, model, reader, ROWS, views) for c in checkpoints]
            expected = sum(each) / 2
        else:
            logs = lambda logits: logits.log_softmax(1)  # noqa: E731
            each = [of_views(c, model, reader, ROWS, views, logs) for c in checkpoints]
            expected = normal(sum(each) / 2)
        assert_top(read(tmp_path, prefix), ROWS, expected)


def test_out_of_fold_pictures_are_scored_by_their_own_network(tmp_path, model, checkpoints, reader):
    nets = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 0], np.int8)
    run(tmp_path, by_pictures(model, checkpoints, reader), ROWS, nets)
    each = [of_views(c, model, reader, ROWS, TEN) for c in checkpoints]
    assert_top(read(tmp_path), ROWS, np.where(nets[:, None] == 0, *each))


COUNTS = np.array([1, 4, 2, 0, 6, 1, 3, 1])
FIRST = np.cumsum(COUNTS) - COUNTS
OWNER = np.repeat(np.arange(len(COUNTS)), COUNTS).astype(np.int32)
SOME = np.array([0, 1, 2, 4, 5, 7, 9, 12, 13, 15, 17])  # not all pictures of each product
OWN = np.array([1, 0, 1, 0, 0, 0, 1, 1], np.int8)[OWNER[SOME]]  # who left out which product


@pytest.fixture
def several(tmp_path, write_bson, write_categories):
    """Products of 0 to 6 pictures; the last picture of the second is rotten."""
    pictures = iter(b"rotten" if i == 4 else jpeg(i) for i in range(COUNTS.sum()))
    records = [product(i, [next(pictures) for _ in range(n)], 10) for i, n in enumerate(COUNTS)]
    build_categories(tmp_path, write_categories([10]))
    index_bson(tmp_path, write_bson(records), read_categories(tmp_path), True, 0.0)
    return read_catalog(tmp_path, tmp_path / "train.bson")


@pytest.mark.parametrize("by_fold", [False, True])
def test_each_picture_has_what_is_said_of_its_products_mosaic(
    tmp_path, model, checkpoints, several, by_fold
):
    with MosaicReader(several, SIZE, 1) as reader:
        scorer_of = by_pictures(model, checkpoints, reader, several.image_product)
        _, rotten = run(tmp_path, scorer_of, SOME, OWN if by_fold else None)
        each = [of_views(c, model, reader, OWNER[SOME], TEN) for c in checkpoints]
    assert rotten == 1
    expected = np.where(OWN[:, None] == 0, *each) if by_fold else sum(each) / 2
    assert_top(read(tmp_path), SOME, expected)
    with MosaicReader(several, SIZE, 1) as reader:
        alone = of_views(checkpoints[0], model, reader, OWNER[SOME], CENTRE)
        assert np.abs(alone[1] - alone[4]).max() > 0.01  # other products, other answers


@pytest.fixture
def fused(tmp_path):
    """Two networks and what each reads."""
    paths, rng = [], np.random.default_rng(0)
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = FusionModel(FUSED.fusion, 6, 5)
        with torch.no_grad():
            net.head.weight.mul_(9)
        paths.append(tmp_path / f"fused{seed}.pt")
        torch.save({"network": "-", "classes": 5, "model": net.state_dict()}, paths[-1])
    sources = [rng.normal(size=(len(OWNER), 6)).astype(np.float16) for _ in range(2)]
    return paths, [EmbeddingLoader([source], FIRST, COUNTS) for source in sources]


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("by_fold", [False, True])
def test_each_picture_has_what_is_said_of_its_products_embeddings(tmp_path, fused, mean, by_fold):
    paths, feeds = fused
    each = []
    for path, feed in zip(paths, feeds, strict=True):
        net = trained.fused(path, FUSED, 6, CPU)
        logits = []
        for row in SOME:
            _, seen = next(feed.plain(OWNER[row : row + 1], 1))
            with torch.inference_mode():
                logits.append(net(net.normalise(torch.from_numpy(seen)))[0].numpy())
        each.append(normal(np.array(logits)))
    assert np.abs(each[0] - each[1]).max() > 0.1

    def scorer_of(settings, run):
        return FusionPredictor(FUSED, settings, paths, feeds, run, OWNER)

    run(tmp_path, scorer_of, SOME, OWN if by_fold else None, tta_mean=mean)
    expected = sum(each) / 2 if mean == "arithmetic" else normal(np.log(each).mean(0))
    if by_fold:
        expected = np.where(OWN[:, None] == 0, *each)
    for prefix in ("top", "plain"):
        assert_top(read(tmp_path, prefix), SOME, expected)
