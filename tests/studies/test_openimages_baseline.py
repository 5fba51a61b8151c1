"""Logistic regression on a frozen network against the trained one, on pictures of three shades."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lib.config.load import load
from lib.data.catalog import read_splits
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stages.read import catalog_of_part
from studies import openimages_baseline as study


@pytest.fixture(scope="module")
def experiment(openimages_run) -> Experiment:
    return Experiment(load(openimages_run))


def test_the_table_has_both_parts_and_a_paired_gain(openimages_run, monkeypatch, capsys, tmp_path):
    page = tmp_path / "page.md"
    command = ["x", "--config", str(openimages_run), "--classes", "Car", "Bus", "--page", str(page)]
    monkeypatch.setattr(sys, "argv", command)
    assert study.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Classes: Car, Bus."
    first, second, third = lines[4:]
    assert first.startswith("| logistic regression on small as it came, C = ")
    assert second.startswith("| a, trained | ")
    assert third.startswith("| gain, points | ")
    assert all(line.count("..") == 2 for line in lines[4:])  # an interval for each part
    assert "openimages_baseline" in page.read_text()


def test_a_fold_is_predicted_by_a_regression_that_has_not_seen_it(experiment, monkeypatch):
    catalog = catalog_of_part(experiment, "train")
    splits = read_splits(experiment.path("extract/splits"))
    seen: list[int] = []
    fit = LogisticRegression.fit

    def spy(self, x, y, sample_weight=None):
        seen.append(len(x))
        return fit(self, x, y, sample_weight)

    monkeypatch.setattr(LogisticRegression, "fit", spy)
    products = splits.products("fit")
    products = products[catalog.label[products] > 0]
    # Noise tells no class, so that only products that were seen would all be right.
    features = np.random.default_rng(0).normal(size=(len(catalog.label), 200)).astype(np.float32)
    fold = splits.fold_of_product(2)
    _, right = study.best_regression(features, catalog.label, fold, products)
    assert right.mean() < 0.85
    assert set(seen) == {int((fold[products] != k).sum()) for k in (0, 1)}


def test_features_are_computed_once(experiment):
    first = study.frozen_features(experiment, "a")
    (folder,) = (experiment.folder / "trials").glob("frozen-*")
    before = (folder / "features.npy").stat().st_mtime_ns
    np.testing.assert_array_equal(study.frozen_features(experiment, "a"), first)
    assert (folder / "features.npy").stat().st_mtime_ns == before
    assert len(first) == len(catalog_of_part(experiment, "train").length)


def test_an_unknown_class_is_one_line(experiment):
    with pytest.raises(UserError, match="no class 'Boat'; there are Dog, Bus, Car"):
        study.class_ids(experiment, ["Boat"])
