"""How many products a rehearsal draws: by the passes of its networks, and their speed here."""

from dataclasses import replace

import pytest

from lib.config.model import Backbone, Model
from lib.config.schema import Config, Predict
from lib.errors import UserError
from lib.pipeline.experiment import Experiment
from lib.stages.rehearsal import size
from lib.stages.rehearsal.size import (
    IMAGES,
    MAX_PRODUCTS,
    MIN_PRODUCTS,
    forward_passes,
    product_seconds,
    products_in,
)

SMALL = Model(arch="small", crop=(32, 32), n_folds=1, head_only_epochs=1, epochs=2)
CONFIG = Config(models={"a": SMALL}, predict=Predict(tta_views=2))


def test_passes_are_those_of_training_and_of_prediction():
    folds = replace(SMALL, n_folds=4)
    config = replace(
        CONFIG,
        models={"a": SMALL, "b": folds, "text": Model(input="text")},
        backbones={"frozen": Backbone()},
        predict=Predict(tta_views=2, embed_models=("b",)),
    )
    assert forward_passes(config) == pytest.approx(
        {
            "frozen": 1.5,  # each labelled image, and half as many to classify
            "a": 7 + 2 * 1.5,  # 1 + 3 * 2 epochs of all images; two views of all images
            "b": 3 * 7 + 2 * (1 + 4 / 2) + 4 * 1.5,
        }
    )


@pytest.fixture
def stated_speed(monkeypatch):
    """A forward pass takes 10 ms on this machine, and reading an image nothing."""
    monkeypatch.setattr(size, "READING", 0.0)
    monkeypatch.setattr(
        size, "_forward_seconds", lambda config, models: dict.fromkeys(models, 0.01)
    )


@pytest.mark.usefixtures("stated_speed")
def test_products_are_as_many_as_the_networks_can_see_in_the_time():
    experiment = Experiment(CONFIG)
    assert product_seconds(CONFIG) == pytest.approx(10 * IMAGES * 0.01)
    assert products_in(experiment, 100) == pytest.approx(100 / (10 * IMAGES * 0.01), abs=1)
    assert products_in(experiment, 1) == MIN_PRODUCTS
    assert products_in(experiment, 1e9) == MAX_PRODUCTS


@pytest.mark.usefixtures("stated_speed")
def test_a_first_round_costs_as_much_again():
    first = Experiment(CONFIG)
    with_first = replace(first, teacher=first)
    assert products_in(with_first, 100) == pytest.approx(products_in(first, 100) / 2, abs=1)


def test_every_network_is_timed():
    assert product_seconds(CONFIG) > 0


def test_an_unknown_network_is_a_user_error():
    with pytest.raises(UserError, match="resnet1o1"):
        products_in(Experiment(replace(CONFIG, models={"a": replace(SMALL, arch="resnet1o1")})))
