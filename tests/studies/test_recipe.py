"""The study of training settings: every setting loads; a small study runs and resumes."""

import pytest

from lib.cli import run_stage
from lib.config.load import load
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stages import extract
from studies import models, recipe

CONFIG = "configs/fashion.toml"
SAMPLE = "configs/sample.toml"
TINY = (
    "sample.train_products=150",
    "sample.test_products=10",
    "models.small.epochs=1",
)


@pytest.mark.parametrize("name", recipe.SETTINGS)
def test_every_setting_changes_the_model_or_its_predictions(name, tmp_path):
    overrides = [f"work={tmp_path}"]
    base = Experiment(load(CONFIG, overrides))
    variant = recipe.make_variant(base, CONFIG, overrides, "lite0", name, 0)
    assert list(variant.config.models) == ["lite0"]

    def settings(experiment):
        config = experiment.config
        return config.models["lite0"], config.predict.tta_views, config.predict.tta_mean

    assert (settings(variant) == settings(base)) == (name == recipe.BASELINE)


@pytest.fixture(scope="module")
def small_study(tmp_path_factory):
    """Arguments and rows of a study of one setting on the sample catalog."""
    work = tmp_path_factory.mktemp("recipe")
    overrides = [f"work={work}", *TINY]
    arguments = [part for override in overrides for part in ("--set", override)]
    assert run_stage(extract, ["--config", SAMPLE, *arguments]) == 0
    study = (SAMPLE, overrides, "small", [recipe.BASELINE, "one view"], 1)
    return work, study, recipe.study(*study)


def test_a_finished_study_builds_nothing_again(small_study, capfd):
    _, study, rows = small_study
    capfd.readouterr()
    assert [row.name for row in rows] == [recipe.BASELINE, "one view"]
    assert rows[0].oof.n == 127
    assert recipe.study(*study) == rows
    assert "building" not in capfd.readouterr().err


def test_settings_of_predictions_share_the_networks_of_the_baseline(small_study):
    work, *_ = small_study
    networks = {path.resolve() for path in work.glob("*_recipe/*/cnn/small/fold0")}
    assert len(networks) == 1


def test_models_of_several_configs_are_compared(small_study):
    _, study, rows = small_study
    base = Experiment(load(study[0], study[1]))
    configs = [recipe.make_variant(base, *study[:3], name, 0).config for name in study[3]]
    table = models.compare(configs, "small").splitlines()
    names = [f"| {config.name}, small" for config in configs]
    assert [line.split(" | ")[0] for line in table[-2:]] == names
    assert f" {rows[1].locked.value:.4f} " in table[-1]
    with pytest.raises(UserError, match="no model 'large'"):
        models.compare(configs, "large")
    with pytest.raises(UserError, match=r"run 03_predict_tta\.py"):
        models.compare([base.config], "")


def test_the_baseline_comes_first():
    assert recipe.select_settings(["mixup"]) == [recipe.BASELINE, "mixup"]
    assert recipe.select_settings([]) == list(recipe.SETTINGS)


def test_an_unknown_setting_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError, match=r"no setting 'mixing'; choose from: .*mixup"):
        recipe.select_settings(["mixing"])
