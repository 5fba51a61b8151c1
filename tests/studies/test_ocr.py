"""What words in pictures earn, on a small catalog where half of the products have telling ones."""

import numpy as np
import pytest

from lib.config.load import load
from lib.data.catalog import Categories
from lib.errors import UserError
from lib.inference.topk import TopK
from lib.pipeline.experiment import Experiment
from studies import ocr as module
from studies.compare import Run
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk, splits

CATEGORIES = Categories(np.arange(CLASSES), [("a", "b", str(n)) for n in range(CLASSES)])


@pytest.fixture
def run(tmp_path) -> Run:
    """Random pictures of 300 products, and a reader that is right for the odd products."""
    rng = np.random.default_rng(0)
    catalog, parts = random_catalog(rng, 300, 90), splits(rng, 300, module.FOLDS)
    experiment = Experiment(load("configs/sample_ocr.toml", [f"work={tmp_path}"]))
    images = catalog.images_of(parts.products("fit"))
    pictures = random_topk(rng, images)[0]
    product = catalog.image_product[images]
    probs = np.full((len(images), CLASSES), 1 / CLASSES, np.float32)
    odd = np.flatnonzero(product % 2)
    probs[odd] = 0.01
    probs[odd, catalog.label[product[odd]]] = 1 - 0.01 * (CLASSES - 1)
    order = np.argsort(-probs, axis=1, kind="stable")
    words = TopK(
        images,
        order.astype(np.int16),
        np.take_along_axis(probs, order, 1).astype(pictures.probs.dtype),
        np.zeros(len(images), np.float32),
    )
    for name, topk in (("probe", pictures), ("ocr", words)):
        folder = experiment.path(f"predictions/{name}/fit")
        folder.mkdir(parents=True)
        topk.save(folder)
    return Run("toy", experiment, catalog, CATEGORIES, parts)


def test_words_earn_where_there_are_some(run):
    has_words = np.arange(300) % 2 == 1
    every, some, none = module.study(run, has_words)
    assert [row[0] for row in (every, some, none)] == ["all", "with words", "without words"]
    has_image = run.catalog.image_count[run.splits.products("fit")] > 0
    odd = run.splits.products("fit") % 2 == 1
    assert some[3].startswith(f"{has_image[odd].mean():.4f}")
    assert some[5].startswith("+")
    assert "none" not in some[5]
    assert none[5].startswith("+0.00"), none
    assert int(every[1]) == int(some[1]) + int(none[1])


def test_a_run_without_a_reader_is_one_line(run):
    with pytest.raises(UserError, match=r"sample: one model with text.columns"):
        module.split_models(load("configs/sample.toml"))


def test_large_words_are_read_and_tiny_ones_are_not():
    pytest.importorskip("rapidocr", reason="requirements-ocr.txt")
    tiny, large = module.read_sizes(sizes=((24, 2), (200, 20)), min_sides=(96,), pictures=2)
    assert tiny[:2] == ["24x24", "2"]
    assert tiny[2].startswith("0%")
    assert large[2].startswith("100%")
