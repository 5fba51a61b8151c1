"""What attributes earn beside pictures, on a small catalog whose brands tell the class."""

import numpy as np
import pyarrow as pa
import pytest

from lib.config.load import load
from lib.data.catalog import Categories
from lib.pipeline.experiment import Experiment
from studies import attributes as module
from studies.compare import Run
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk, splits, with_labels


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Random pictures of 300 products, out-of-fold."""
    rng = np.random.default_rng(0)
    catalog, parts = random_catalog(rng, 300, 90), splits(rng, 300, 4)
    few = ["stack.n_estimators=5", "features.top_k=2", "features.attribute_k=2"]
    overrides = [f"work={tmp_path_factory.mktemp('attributes')}", *few]
    experiment = Experiment(load("configs/sample.toml", overrides))
    images = catalog.images_of(parts.products("fit"))
    for name in experiment.config.classifiers:
        folder = experiment.path(f"predictions/{name}/fit")
        folder.mkdir(parents=True)
        random_topk(rng, images)[0].save(folder)
    names = Categories(np.arange(CLASSES), [("Men", "Shoes", f"Kind {n}") for n in range(CLASSES)])
    return Run("toy", experiment, catalog, names, parts)


def test_a_brand_and_a_title_that_tell_the_class_are_gains(run, monkeypatch):
    monkeypatch.setattr(module, "SHARES", (0.5,))
    rng = np.random.default_rng(1)
    brand = np.where(rng.random(300) < 0.7, run.catalog.label, rng.integers(0, CLASSES, 300))
    beside = module.Beside(
        {"brand": pa.chunked_array([pa.array([f"b{b}" for b in brand]).dictionary_encode()])},
        {},
        pa.table({"title": [f"kind{c} nice" if c else "nice" for c in run.catalog.label]}),
    )
    rows = list(
        module.study(run, beside, module.read_pictures(run.experiment, module.PART), epochs=1)
    )
    texts = ("title", "title of 50% of the products")
    assert [row[0] for row in rows] == [
        "pictures",
        "pictures, all attributes",
        *(f"pictures, {what}{more}" for what in texts for more in ("", ", all attributes")),
    ]
    assert module.alone(run, module.look_up(run, beside, ["brand"])) > 0.6
    assert rows[1][3].startswith("+")
    assert "none" not in rows[1][3]
    assert rows[1][3] == rows[1][4]
    assert rows[2][4].startswith("+")
    assert float(rows[2][1].rstrip("%")) > 80 > float(rows[4][1].rstrip("%"))
    assert rows[0][5] == rows[1][5] == ""
    assert rows[4][5].startswith("+")  # half of the titles tell less than these with pictures


def test_a_probe_predicts_each_image_without_its_fold(run):
    """Labels of a fold never reach the predictions of its images."""
    folder = run.experiment.path("extract/embeddings/train")
    folder.mkdir(parents=True)
    label = run.catalog.label[run.catalog.image_product]
    rng = np.random.default_rng(0)
    embeddings = np.eye(CLASSES)[label] + rng.normal(0, 0.3, (len(label), CLASSES))
    np.save(folder / "embeddings.npy", embeddings.astype(np.float16))
    topk = module.probe_pictures(run)
    product = run.catalog.image_product[topk.image]
    assert (topk.classes[:, 0] == run.catalog.label[product]).mean() > 0.8
    is_first = run.splits.fold_of_product(module.FOLDS)[product] == 0
    changed = run.catalog.label.copy()
    changed[product[is_first]] = (changed[product[is_first]] + 1) % CLASSES
    other = module.probe_pictures(run._replace(catalog=with_labels(run.catalog, changed)))
    np.testing.assert_array_equal(topk.probs[is_first], other.probs[is_first])
    assert not np.array_equal(topk.probs[~is_first], other.probs[~is_first])
