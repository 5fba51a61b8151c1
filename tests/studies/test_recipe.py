"""The study of training settings: every setting loads; a small study runs and resumes."""

import pytest

from lib.config.load import load
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from studies import recipe
from studies.tables import compare_accuracy

CONFIG = "configs/fashion.toml"


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


def test_seeds_of_all_runs_differ():
    """Of the baseline and the rows that change nothing but the seed, for several runs of each."""
    base = Experiment(load(CONFIG))
    names = (recipe.BASELINE, "second seed", "third seed")
    variants = [
        recipe.make_variant(base, CONFIG, (), "lite0", name, seed)
        for name in names
        for seed in range(3)
    ]
    assert len({variant.config.models["lite0"].seed for variant in variants}) == 9


def test_a_finished_study_builds_nothing_again(small_study, capfd):
    _, study, answers, rows = small_study
    capfd.readouterr()
    assert [row.name for row in rows] == [recipe.BASELINE, "one view"]
    assert rows[0].score.n == 127
    again = recipe.study(*study)
    assert again.keys() == answers.keys()
    assert compare_accuracy(again) == rows
    assert "building" not in capfd.readouterr().err


def test_settings_of_predictions_share_the_networks_of_the_baseline(small_study):
    work, *_ = small_study
    networks = {path.resolve() for path in work.glob("*_recipe/*/cnn/small/fold0")}
    assert len(networks) == 1


def test_the_baseline_comes_first():
    assert recipe.select_settings(["mixup"]) == [recipe.BASELINE, "mixup"]
    assert recipe.select_settings([]) == list(recipe.SETTINGS)


def test_an_unknown_setting_is_an_error_that_lists_the_known_ones():
    with pytest.raises(UserError, match=r"no setting 'mixing'; choose from: .*mixup"):
        recipe.select_settings(["mixing"])
