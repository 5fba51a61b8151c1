"""Attributes of a CSV catalog: what their features are made of, and what they may not see."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from lib.data.catalog import read_splits
from lib.features.query import Query, make_query
from lib.pipeline.experiment import Experiment, load_experiment
from lib.stages import extract
from lib.stages.attributes.features import attribute_classes, read_tables
from lib.stages.attributes.tables import attributes_of_side
from lib.stages.order import build_stage, declare_all
from lib.stages.read import catalog_of_part
from tests.conftest import ROOT

CONFIG = """
name = "attributes"
[data]
root = "FOLDER"
source = "csv"
train = "train.csv"
test = "new.csv"
group_by = ""
categorical_columns = ["brand"]
numeric_columns = ["price"]
[split]
locked = 0.2
n_folds = 2
[train]
arch = "small"
weights = "none"
n_folds = 2
[models.a]
[run]
threads = 1
"""
CLASSES = ("Bags", "Shoes", "Watches")
BRANDS = ("Acme", "Other", "")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Experiment:
    """Stage 01 of 60 labelled and 6 other products; read only. The last one has a new brand."""
    folder = tmp_path_factory.mktemp("attributes")
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(66):
        name = f"{number}.png"
        cv2.imwrite(str(folder / "images" / name), rng.integers(0, 255, (24, 24, 3), np.uint8))
        brand = BRANDS[rng.integers(3)] if number < 65 else "Unseen"
        price = f"{1 + number % 3}.{rng.integers(100, 999)}" if number % 7 else ""
        rows.append([str(number), CLASSES[number % 3], name, brand, price])
    rows[3][-1] = "12,50"
    header = ["product", "category", "images", "brand", "price"]
    write(folder / "train.csv", [header, *rows[:60]])
    write(folder / "new.csv", [[*header[:1], *header[2:]], *([r[0], *r[2:]] for r in rows[60:])])
    (folder / "a.toml").write_text(CONFIG.replace("FOLDER", str(folder)))
    experiment = load_experiment(folder / "a.toml", [f"work={folder}"])
    build_stage(extract, experiment, False)
    return experiment


def write(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def query_of(experiment: Experiment, part: str) -> Query:
    catalog = catalog_of_part(experiment, part)
    if part == "test":
        return make_query(catalog, np.arange(len(catalog.product_id)))
    splits = read_splits(experiment.path("extract/splits"))
    return make_query(catalog, splits.products(part))


def columns(experiment: Experiment, part: str) -> np.ndarray:
    """The columns of all classes of all products of a part, and what is proposed for them."""
    query = query_of(experiment, part)
    rows = np.repeat(np.arange(len(query.products)), 3)
    table = read_tables(experiment, part, query).columns(
        rows, np.tile(np.arange(3), len(rows) // 3)
    )
    proposed = attribute_classes(experiment, part, query.products)
    return np.column_stack([*table.values(), proposed[rows]])


def with_labels(experiment: Experiment, folder: Path, products: np.ndarray) -> Experiment:
    """A copy of an experiment in which some products have other labels."""
    copy = replace(experiment, config=replace(experiment.config, work=str(folder)))
    shutil.copytree(experiment.folder, copy.folder)
    path = copy.path("extract/train") / "products.arrow"
    table = pa.ipc.open_file(path).read_all()
    label = table["class_id"].to_numpy().copy()
    label[products] = (label[products] + 1) % 3
    table = table.set_column(table.column_names.index("class_id"), "class_id", pa.array(label))
    path.unlink()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return copy


def test_prices_of_both_sides_are_read_as_the_labelled_ones_show(experiment):
    train, test = (attributes_of_side(experiment, side) for side in ("train", "test"))
    assert train["price"][3].as_py() == 12.5
    assert train["price"][0].as_py() is None
    assert 1000 <= test["price"][0].as_py() < 4000
    assert test["brand"][5].as_py() == "unseen"
    assert set(train["brand"].to_pylist()) == {"acme", "other", None}


def test_an_unseen_brand_has_the_prior_and_a_missing_one_nothing(experiment):
    found = columns(experiment, "test").reshape(6, 3, -1)
    label = catalog_of_part(experiment, "train").label
    prior = np.bincount(label, minlength=3) / 60
    np.testing.assert_allclose(found[5, :, 0], prior, rtol=1e-6)
    assert (found[5, :, 1] == 0).all()
    assert (found[5, :, -2:] == -1).all()
    missing = attributes_of_side(experiment, "test")["brand"].is_null().to_numpy()
    np.testing.assert_array_equal(np.isnan(found[:, 0, 0]), missing)


def test_labels_of_a_fold_never_reach_the_rows_of_that_fold(experiment, tmp_path):
    splits = read_splits(experiment.path("extract/splits"))
    fit = splits.products("fit")
    is_hidden = splits.fold[fit] == 0
    copy = with_labels(experiment, tmp_path, fit[is_hidden])
    before, after = (columns(one, "fit").reshape(len(fit), -1) for one in (experiment, copy))
    np.testing.assert_array_equal(before[is_hidden], after[is_hidden])
    assert not np.array_equal(before[~is_hidden], after[~is_hidden], equal_nan=True)


def test_labels_of_locked_products_reach_test_rows_alone(experiment, tmp_path):
    splits = read_splits(experiment.path("extract/splits"))
    copy = with_labels(experiment, tmp_path, splits.products("locked"))
    for part in ("fit", "locked"):
        np.testing.assert_array_equal(columns(experiment, part), columns(copy, part))
    before, after = columns(experiment, "test"), columns(copy, "test")
    assert not np.array_equal(before, after, equal_nan=True)


def test_artifacts_without_attributes_do_not_change():
    """Nothing depends on the settings of attributes unless columns are named."""
    path = ROOT / "configs" / "fashion.toml"
    tables = ["data.train_texts=a.csv", "data.test_texts=b.csv"]
    named = [*tables, 'data.categorical_columns=["brand"]', 'data.numeric_columns=["price"]']
    plain, other, full = (
        {a.path: a for stage in declare_all(load_experiment(path, extra)).values() for a in stage}
        for extra in ((), ["features.attribute_k=1", "data.decimal=comma"], named)
    )
    assert plain.keys() == other.keys()
    for name, artifact in plain.items():
        assert artifact.config == other[name].config
        assert "attribute" not in str(artifact.config)
        if name.parent.name not in ("candidates", "submit", "report"):
            assert artifact.config == full[name].config
    added = {path.parent.name for path in full.keys() - plain.keys()}
    assert added == {"attributes"}
