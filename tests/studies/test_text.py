"""What texts earn beside pictures, on a small catalog whose titles tell the class."""

import shutil
from argparse import Namespace

import numpy as np
import pyarrow as pa
import pytest

from lib.config.inputs.text import Text
from lib.config.load import load
from lib.data.catalog import Categories, write_table
from lib.errors import UserError
from lib.pipeline.experiment import Experiment, load_experiment
from studies import text as module
from studies.compare import Run
from tests.features.toy_catalog import CLASSES, random_catalog, random_topk, splits

CATEGORIES = Categories(
    np.arange(CLASSES), [("Men", "Shoes", f"Casual Shoes {n}") for n in range(CLASSES)]
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """Random pictures of 300 products, out-of-fold."""
    rng = np.random.default_rng(0)
    catalog, parts = random_catalog(rng, 300, 90), splits(rng, 300, module.FOLDS)
    overrides = [f"work={tmp_path_factory.mktemp('text')}"]
    experiment = Experiment(load("configs/sample.toml", overrides))
    images = catalog.images_of(parts.products("fit"))
    for name in experiment.config.classifiers:
        folder = experiment.path(f"predictions/{name}/fit")
        folder.mkdir(parents=True)
        random_topk(rng, images)[0].save(folder)
    return Run("toy", experiment, catalog, CATEGORIES, parts)


def titles(run: Run) -> pa.Table:
    """A word for each class, and one that says nothing."""
    return pa.table(
        {
            "title": [f"kind{c} nice shoe" for c in run.catalog.label],
            "brand": ["x"] * len(run.catalog.label),
        }
    )


def test_texts_that_tell_the_class_are_right_alone_and_with_pictures(run):
    first, *rows = module.study(run, titles(run), Text(num_features=4096, epochs=4))
    assert first[0] == "pictures alone"
    assert [row[0] for row in rows] == [
        "title alone",
        "all 2 columns",
        "title without words of class names",
        "title of 50% of the products",
        "title of 10% of the products",
    ]
    assert [row[1][:3] for row in rows[:3]] == ["100"] * 3
    assert 30 < float(rows[3][1].rstrip("%")) < 70
    for row in rows[:2]:
        assert row[3] > first[3]
        assert row[4].startswith("+")


def test_a_run_has_its_own_texts_and_its_text_models_are_no_pictures(run, tmp_path):
    experiment = load_experiment("configs/sample_text.toml", [f"work={tmp_path}", "name=own"])
    own = run._replace(experiment=experiment)
    texts, arguments = titles(run), Namespace(texts="", columns="")
    folder = experiment.path("extract/texts/train")
    folder.mkdir(parents=True)
    write_table(folder / "texts.arrow", {name: texts[name] for name in texts.column_names})
    assert module.read_run_texts(own, arguments).to_pydict() == {
        "title": texts["title"].to_pylist()
    }
    with pytest.raises(UserError, match="small/fit is missing; run 03_predict"):
        module.read_pictures(experiment, "fit")
    for name in ("small", "lite0"):
        shutil.copytree(
            run.experiment.path(f"predictions/{name}/fit"),
            experiment.path(f"predictions/{name}/fit"),
        )
    assert list(module.read_pictures(experiment, "fit")) == ["small", "lite0"]
    with pytest.raises(UserError, match="the run has no texts; name a table by --texts"):
        module.read_run_texts(run, arguments)


def test_words_of_class_names_are_masked_in_singular_and_plural():
    texts = pa.table({"title": ["Casual shoe for men, RED", "Shoes", None, "Watches 1"]})
    assert module.mask_class_words(texts, CATEGORIES)["title"].to_pylist() == [
        "for red",
        None,
        None,
        "watches 1",
    ]


def test_a_share_keeps_its_texts_and_the_others_have_none(run):
    kept = module.keep_share(titles(run), 0.5, 1)["title"].to_pylist()
    assert 100 < sum(text is not None for text in kept) < 200
    assert kept == module.keep_share(titles(run), 0.5, 1)["title"].to_pylist()
