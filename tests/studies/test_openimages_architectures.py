"""Trunks and heads of the article: how variants differ, and one small run of the heads."""

from argparse import Namespace

import pytest

from lib.config.load import load
from lib.config.model import Model
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from studies import models
from studies import openimages_architectures as study
from studies.tables import Answers
from tests.studies.conftest import build_here


def arguments(config, **more) -> Namespace:
    values = {"config": str(config), "set": [], "model": "", "seeds": 1, "only": None}
    return Namespace(**(values | more))


def test_trunks_keep_the_frozen_part_and_those_without_weights_train_whole():
    model = Model(arch="efficientnet_lite0", freeze_until=8, head_only_epochs=2, epochs=3)
    settings = study.trunk_settings(model)
    assert list(settings)[:3] == [f"efficientnet_lite{number}" for number in range(3)]
    assert settings["efficientnet_lite0"][1] == "freeze_until=8"
    assert settings["efficientnet_lite1"][1] == "freeze_until=10"  # 8 of 17 is as 10 of 22
    floor = settings["resnet18, without weights"]
    assert {"freeze_until=0", "head_only_epochs=0", "epochs=5", 'weights="none"'} < set(floor)


def test_each_head_is_compared_with_pooling(openimages_run, monkeypatch):
    def train_and_predict(variant: Experiment, model: str) -> Answers:
        build_here(variant, "train", "predict")
        return models.read_answers(variant, model)

    monkeypatch.setattr(study.recipe, "train_and_predict", train_and_predict)
    tables = study.report(arguments(openimages_run, only="heads")).split("### ")[1:]
    for text, (title, variants) in zip(tables, study.HEADS.items(), strict=True):
        line, _, header, _, *rows = text.strip().splitlines()
        assert line == f"heads, {title}, seeds: 1"
        assert header == "|  | out-of-fold | gain |"
        for row, name in zip(rows, variants, strict=True):
            assert row.startswith(f"| {name}, ")
        assert rows[1].count("..") == 2
    folder = Experiment(load(openimages_run)).folder.with_name("tiny_architectures")
    assert len(list(folder.iterdir())) == 4
    assert (folder / "clusters-adaptive-pooling_0" / "extract").is_symlink()


def test_an_unknown_model_is_one_line(openimages_run):
    with pytest.raises(UserError, match="no model 'b'; choose one of: a"):
        study.report(arguments(openimages_run, model="b"))
