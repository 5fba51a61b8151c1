"""Real networks against the definition: one row, one view, one network at a time."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.config.inputs.fusion import Fusion
from lib.config.model import Model
from lib.config.schema import Predict, Run
from lib.data.catalog import build_categories, read_catalog, read_categories
from lib.data.crops import tta_crops
from lib.data.products.mosaic import MosaicReader
from lib.data.sources.bson_file import index_bson
from lib.inference.predictor import FusionPredictor, ImagePredictor
from lib.inference.topk import TopK, dense_probs
from lib.inference.topk_writer import write_topk
from lib.models.classifier import ImageClassifier
from lib.models.fusion import FusionModel
from lib.training.checkpoint import load_classifier, load_fusion_model
from lib.training.loaders.embedding_loader import EmbeddingLoader
from tests.conftest import jpeg, product
from tests.image_catalog import CORRUPT, SHAPES, SIZE, clustered_reader, folder_of

CPU = torch.device("cpu")
IMAGES = np.array([1, 2, 5, 7, 8, 20, 21, CORRUPT, 53, 59])
CROP = (20, 16)
CENTRE = [(2, 2, False)]
TEN = [
    (top, left, mirrored)
    for mirrored in (False, True)
    for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))
]
FUSED = Model(input="embedding", fusion=Fusion(inputs=("a",), hidden_sizes=(7,)))


def run(folder, create_predictor, images, models=None, **settings):
    settings = Predict(**({"tta_views": 10, "top_k": 3, "shard_size": 4} | settings))
    predictor = create_predictor(settings, Run(predict_batch_size=3))
    num_corrupt = write_topk(folder, predictor, settings, images, models, True)
    return predictor, num_corrupt


def image_predictor(model, checkpoints, reader, row_of_image=None, multi_label=False):
    def create(settings, run):
        return ImagePredictor(model, settings, checkpoints, reader, run, row_of_image, multi_label)

    return create


def mean_over_views(
    checkpoint, model, reader, rows, views, score=lambda logits: logits.softmax(1), crop=CROP
):
    """Mean over the views of `score` of the logits, [n, classes]."""
    net = load_classifier(checkpoint, model, CPU)
    means = []
    for row in rows:
        image = reader.decode(row)
        mean = 0.0
        for top, left, mirrored in views:
            view = image[top : top + crop[0], left : left + crop[1]]
            view = view[:, ::-1] if mirrored else view
            pixels = torch.from_numpy(np.ascontiguousarray(view.transpose(2, 0, 1)))[None]
            with torch.inference_mode():
                mean = mean + score(net(net.normalise(pixels)))[0].numpy() / len(views)
        means.append(mean)
    return np.array(means)


def assert_topk(topk, images, probs):
    order = np.argsort(-probs, axis=1)[:, :3]
    np.testing.assert_array_equal(topk.image, images)
    np.testing.assert_array_equal(topk.classes, order)
    np.testing.assert_allclose(topk.probs, np.take_along_axis(probs, order, 1), atol=1e-3)
    np.testing.assert_allclose(topk.rest, 1 - topk.probs.sum(1), atol=2e-3)


def normalised(logs):
    probs = np.exp(logs)
    return probs / probs.sum(1, keepdims=True)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_views_and_models_are_averaged_before_the_top_k(tmp_path, model, checkpoints, reader, mean):
    create = image_predictor(model, checkpoints, reader)
    predictor, num_corrupt = run(tmp_path, create, IMAGES, tta_mean=mean)
    assert (len(predictor.views), num_corrupt) == (10, 1)
    for prefix, views in (("tta", TEN), ("center", CENTRE)):
        if mean == "arithmetic":
            each = [mean_over_views(c, model, reader, IMAGES, views) for c in checkpoints]
            expected = sum(each) / 2
        else:
            logs = lambda logits: logits.log_softmax(1)  # noqa: E731
            each = [mean_over_views(c, model, reader, IMAGES, views, logs) for c in checkpoints]
            expected = normalised(sum(each) / 2)
        assert_topk(TopK.load(tmp_path, prefix), IMAGES, expected)


def with_equal_prefix(checkpoints, num_units):
    """The second network gets the first units of the first one, as frozen ones have them."""
    first, second = (torch.load(path) for path in checkpoints)
    prefixes = tuple(f"body.{unit}." for unit in range(num_units))
    equal = {key: value for key, value in first["model"].items() if key.startswith(prefixes)}
    second["model"] |= equal
    torch.save(second, checkpoints[1])


@pytest.mark.parametrize("num_equal", [0, 1, 2])
def test_frozen_units_run_once_for_all_fold_models(
    tmp_path, model, checkpoints, reader, monkeypatch, num_equal
):
    """Only if they are all equal."""
    model = replace(model, freeze_until=2)
    with_equal_prefix(checkpoints, num_equal)
    runs, prefix = [], ImageClassifier.prefix

    def count(net, images):
        runs.append(len(images))
        return prefix(net, images)

    monkeypatch.setattr(ImageClassifier, "prefix", count)
    run(tmp_path, image_predictor(model, checkpoints, reader), IMAGES)
    assert sum(runs) == len(IMAGES) * 10 * (1 if num_equal == 2 else 2)
    each = [mean_over_views(c, model, reader, IMAGES, TEN) for c in checkpoints]
    assert_topk(TopK.load(tmp_path), IMAGES, sum(each) / 2)


class Doubling(torch.nn.Module):
    def forward(self, maps):
        return maps.mul_(2)


def test_a_fold_model_does_not_change_what_the_next_one_reads(model, checkpoints, reader):
    """A network may begin with a layer that writes into its input."""
    model = replace(model, freeze_until=2)
    with_equal_prefix(checkpoints, 2)
    predictor = ImagePredictor(model, Predict(), checkpoints, reader, Run())
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (4, 3, *CROP), np.uint8))
    with torch.inference_mode():
        for net in predictor._nets:
            net.freeze_body(False)
            net.eval()
            net.units[2].insert(0, Doubling())
        expected = [net(net.normalise(images)) for net in predictor._nets]
        for logits, alone in zip(predictor._logits(images, (0, 1)), expected, strict=True):
            torch.testing.assert_close(logits, alone)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_classes_of_a_set_are_probable_each_by_itself(tmp_path, model, checkpoints, reader, mean):
    create = image_predictor(model, checkpoints, reader, multi_label=True)
    run(tmp_path, create, IMAGES, tta_mean=mean)
    score = torch.sigmoid if mean == "arithmetic" else lambda logits: logits
    each = [mean_over_views(c, model, reader, IMAGES, TEN, score) for c in checkpoints]
    expected = sum(each) / 2
    if mean == "geometric":
        expected = 1 / (1 + np.exp(-expected))
    topk = TopK.load(tmp_path)
    np.testing.assert_array_equal(topk.classes, np.argsort(-expected, axis=1)[:, :3])
    np.testing.assert_allclose(dense_probs(topk, 4), expected, atol=2e-3)
    np.testing.assert_allclose(topk.rest, expected.min(1), atol=2e-3)


def test_out_of_fold_images_are_predicted_by_their_own_model(tmp_path, model, checkpoints, reader):
    models = np.array([0, 1, 1, 0, 1, 0, 0, 1, 1, 0], np.int8)
    run(tmp_path, image_predictor(model, checkpoints, reader), IMAGES, models)
    each = [mean_over_views(c, model, reader, IMAGES, TEN) for c in checkpoints]
    assert_topk(TopK.load(tmp_path), IMAGES, np.where(models[:, None] == 0, *each))


@pytest.mark.parametrize("by_fold", [False, True])
def test_with_aspect_clusters_each_image_has_the_views_of_its_own_shape(
    tmp_path, model, checkpoints, reader, by_fold
):
    clustered = clustered_reader(reader)
    models = np.arange(len(IMAGES)) % 2
    create = image_predictor(model, checkpoints, clustered)
    run(tmp_path, create, IMAGES, models.astype(np.int8) if by_fold else None)
    each = np.zeros((2, len(IMAGES), 4))
    for number, row in enumerate(IMAGES.tolist()):
        resize, crop = SHAPES[clustered.cluster[row]]
        views = tta_crops(resize, crop, 10, True)
        for k, checkpoint in enumerate(checkpoints):
            each[k, number] = mean_over_views(
                checkpoint, model, clustered, [row], views, crop=crop
            )[0]
    assert len(np.unique(clustered.cluster[IMAGES])) > 1
    expected = each[models, np.arange(len(IMAGES))] if by_fold else each.mean(0)
    assert_topk(TopK.load(tmp_path), IMAGES, expected)


COUNTS = np.array([1, 4, 2, 0, 6, 1, 3, 1])
FIRST = np.cumsum(COUNTS) - COUNTS
PRODUCT = np.repeat(np.arange(len(COUNTS)), COUNTS).astype(np.int32)
SOME_IMAGES = np.array([0, 1, 2, 4, 5, 7, 9, 12, 13, 15, 17])  # not all images of each product
MODEL_OF_IMAGE = np.array([1, 0, 1, 0, 0, 0, 1, 1], np.int8)[
    PRODUCT[SOME_IMAGES]
]  # the fold model that left out each product


@pytest.fixture
def several(tmp_path, write_bson, write_categories):
    """Products of 0 to 6 images; the last image of the second is corrupt."""
    images = iter(b"corrupt" if i == 4 else jpeg(i) for i in range(COUNTS.sum()))
    records = [product(i, [next(images) for _ in range(n)], 10) for i, n in enumerate(COUNTS)]
    build_categories(tmp_path, write_categories([10]))
    index_bson(tmp_path, write_bson(records), read_categories(tmp_path), True, 0.0)
    return read_catalog(tmp_path, tmp_path / "train.bson")


@pytest.mark.parametrize("by_fold", [False, True])
def test_each_image_has_the_prediction_of_its_product_s_mosaic(
    tmp_path, model, checkpoints, several, by_fold
):
    with MosaicReader(several, SIZE, 1) as reader:
        create = image_predictor(model, checkpoints, reader, several.image_product)
        _, num_corrupt = run(tmp_path, create, SOME_IMAGES, MODEL_OF_IMAGE if by_fold else None)
        each = [mean_over_views(c, model, reader, PRODUCT[SOME_IMAGES], TEN) for c in checkpoints]
    assert num_corrupt == 1
    expected = np.where(MODEL_OF_IMAGE[:, None] == 0, *each) if by_fold else sum(each) / 2
    assert_topk(TopK.load(tmp_path), SOME_IMAGES, expected)
    with MosaicReader(several, SIZE, 1) as reader:
        center = mean_over_views(checkpoints[0], model, reader, PRODUCT[SOME_IMAGES], CENTRE)
        assert np.abs(center[1] - center[4]).max() > 0.01  # products differ


def test_embeddings_of_mirrored_images_are_a_second_view(tmp_path, fused):
    paths, loaders = fused
    source = loaders[0].sources[0]
    both = EmbeddingLoader([source], FIRST, COUNTS, mirrored=[-source])
    probs = []
    for loader in (loaders[0], EmbeddingLoader([-source], FIRST, COUNTS)):
        _, embeddings = next(loader.eval_batches(PRODUCT[SOME_IMAGES], len(SOME_IMAGES)))
        net = load_fusion_model(paths[0], FUSED, 6, CPU)
        with torch.inference_mode():
            probs.append(net(net.normalise(torch.from_numpy(embeddings))).softmax(1).numpy())
    assert np.abs(probs[0] - probs[1]).max() > 0.1
    for views, expected in ((1, probs[0]), (2, sum(probs) / 2)):
        folder = folder_of(tmp_path, str(views))

        def create(settings, run):
            return FusionPredictor(FUSED, settings, paths[:1], [both], run, PRODUCT)

        run(folder, create, SOME_IMAGES, None, tta_views=views)
        assert_topk(TopK.load(folder), SOME_IMAGES, expected)
        assert_topk(TopK.load(folder, "center"), SOME_IMAGES, probs[0])


@pytest.fixture
def fused(tmp_path):
    """Two networks, and the loader of each."""
    paths, rng = [], np.random.default_rng(0)
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = FusionModel(FUSED.fusion, 6, 5)
        with torch.no_grad():
            net.head.weight.mul_(9)
        paths.append(tmp_path / f"fused{seed}.pt")
        torch.save({"network": "-", "classes": 5, "model": net.state_dict()}, paths[-1])
    sources = [rng.normal(size=(len(PRODUCT), 6)).astype(np.float16) for _ in range(2)]
    return paths, [EmbeddingLoader([source], FIRST, COUNTS) for source in sources]


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("by_fold", [False, True])
def test_each_image_has_the_prediction_of_its_product_s_embeddings(tmp_path, fused, mean, by_fold):
    paths, loaders = fused
    each = []
    for path, loader in zip(paths, loaders, strict=True):
        net = load_fusion_model(path, FUSED, 6, CPU)
        logits = []
        for row in SOME_IMAGES:
            _, embeddings = next(loader.eval_batches(PRODUCT[row : row + 1], 1))
            with torch.inference_mode():
                logits.append(net(net.normalise(torch.from_numpy(embeddings)))[0].numpy())
        each.append(normalised(np.array(logits)))
    assert np.abs(each[0] - each[1]).max() > 0.1

    def create(settings, run):
        return FusionPredictor(FUSED, settings, paths, loaders, run, PRODUCT)

    run(tmp_path, create, SOME_IMAGES, MODEL_OF_IMAGE if by_fold else None, tta_mean=mean)
    expected = sum(each) / 2 if mean == "arithmetic" else normalised(np.log(each).mean(0))
    if by_fold:
        expected = np.where(MODEL_OF_IMAGE[:, None] == 0, *each)
    for prefix in ("tta", "center"):
        assert_topk(TopK.load(tmp_path, prefix), SOME_IMAGES, expected)
