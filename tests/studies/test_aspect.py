"""The study of aspect clusters: variants of equal pixels, and gains by cluster."""

from argparse import Namespace
from math import prod

import cv2
import numpy as np
import pytest

from lib.config.load import load
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stages import extract
from lib.stages.order import build_stage
from studies import aspect, recipe
from studies.tables import Answers

PER_CLASS = 10


@pytest.fixture(scope="module")
def ovals(tmp_path_factory):
    """The config of a catalog of ovals after stage 01; read only."""
    config = aspect.write_ovals(tmp_path_factory.mktemp("aspect") / "ovals", PER_CLASS)
    build_stage(extract, Experiment(load(config, ["run.threads=1"])), rebuild=False)
    return config


def arguments(config, **more):
    values = {"config": str(config), "set": ["run.threads=1"], "model": "", "clusters": 3}
    return Namespace(**(values | {"seeds": 2} | more))


def variant(config, name, *overrides):
    overrides = ("run.threads=1", *overrides)
    base = Experiment(load(config, overrides))
    return aspect.make_variant(base, str(config), overrides, "small", 3, name, 0)


def test_an_oval_has_the_ratio_of_its_class_on_pictures_of_all_ratios(ovals):
    folder, shapes = ovals.with_suffix(""), set()
    for name, ratio in aspect.RATIOS.items():
        measured = []
        for path in sorted((folder / name).iterdir()):
            image = cv2.imread(str(path)).astype(float)
            shapes.add(image.shape[:2])
            difference = np.abs(image - np.median(image, axis=(0, 1))).max(axis=2) > 60
            ys, xs = np.nonzero(difference)
            if len(xs) > 50:
                measured.append(np.ptp(xs) / max(1, np.ptp(ys)))
        assert np.median(measured) == pytest.approx(ratio, rel=0.15)
    assert shapes == {(91, 45), (64, 64), (45, 91)}


@pytest.mark.parametrize("crop", ["[32, 32]", "[40, 24]"])
def test_all_variants_see_as_many_pixels_and_differ_in_their_shapes(ovals, crop):
    sizes = (f"train.crop={crop}", "train.resize=[44, 44]")
    settings = [variant(ovals, name, *sizes).config.models["small"] for name in aspect.VARIANTS]
    assert len({repr(s.aspect) for s in settings}) == 4
    assert {s.crop[0] == s.crop[1] for s in settings} == {True}
    original = load(ovals, sizes).models["small"].crop
    assert prod(settings[0].crop) == pytest.approx(prod(original), rel=0.03)
    assert [s.aspect.num_clusters for s in settings] == [0, 1, 3, 3]


def test_a_finished_study_shows_the_gain_of_each_cluster(ovals, monkeypatch):
    """The squares miss the wide pictures; the clusters miss nothing."""
    calls = []

    def train_and_predict(experiment, model):
        calls.append(experiment.config.name)
        clusters, of_product = aspect.clusters_of_products(variant(ovals, aspect.CLUSTERS), model)
        assert len(clusters.aspects) == 3
        correct = (of_product != 2) | ("squares" not in experiment.config.name)
        return Answers(np.ones(len(correct), int), correct.astype(int))

    monkeypatch.setattr(recipe, "train_and_predict", train_and_predict)
    lines = aspect.report(arguments(ovals)).splitlines()
    assert len(calls) == len(set(calls)) == 8
    tall, square, wide = (line.split(" | ") for line in lines[-3:])
    names = [(cells[0].strip("| "), cells[1]) for cells in (tall, square, wide)]
    assert names == [("0.49:1", "24x48"), ("1.00:1", "32x32"), ("2.02:1", "48x24")]
    assert wide[3:5] == ["0.0000", "1.0000"]
    assert wide[5].startswith("+100.00 (+100.00..+100.00)")
    assert tall[5].startswith("+0.00 (+0.00..+0.00): none")
    (squares,) = (line for line in lines if line.startswith("| squares"))
    (clusters,) = (line for line in lines if line.startswith("| clusters, padded"))
    assert "1.0000" not in squares
    assert "| 1.0000 (1.0000..1.0000)" in clusters


def test_a_model_without_images_is_refused(ovals):
    with pytest.raises(UserError, match=r"no model 'large' with input = \"image\"; .* small"):
        aspect.report(arguments(ovals, model="large"))


def test_stage_01_has_to_have_run(tmp_path):
    config = aspect.write_ovals(tmp_path / "none", 2)
    with pytest.raises(UserError, match=r"is missing; run 01_extract\.py first"):
        aspect.report(arguments(config))
