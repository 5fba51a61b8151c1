"""The comparison of trained models, of one config or of several."""

import pytest

from lib.config.load import load
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from studies import models, recipe


@pytest.fixture
def configs(small_study):
    """The configs of the two variants of a small study, trained."""
    path, overrides, model, names, _ = small_study.arguments
    base = Experiment(load(path, overrides))
    return [recipe.make_variant(base, path, overrides, model, name, 0).config for name in names]


def test_models_of_several_configs_are_compared(small_study, configs):
    table = models.compare(configs, "small").splitlines()
    names = [f"| {config.name}, small" for config in configs]
    assert [line.split(" | ")[0] for line in table[-2:]] == names
    assert f" {small_study.rows[1].score.value:.4f} " in table[-1]


def test_an_unknown_first_model_is_an_error(configs):
    with pytest.raises(UserError, match="no model 'large'"):
        models.compare(configs, "large")


def test_a_model_without_predictions_is_an_error_that_names_the_script(small_study):
    path, overrides, *_ = small_study.arguments
    with pytest.raises(UserError, match=r"run 03_predict_tta\.py"):
        models.compare([load(path, overrides)], "")
