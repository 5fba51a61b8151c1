from dataclasses import replace

import pytest

from lib.config.load import load
from lib.planning.costs import Speed, stage_seconds
from lib.planning.rates import Rates
from lib.stages.order import STAGES
from tests.planning.conftest import speed_of


def minutes(config, facts, speed):
    return {stage: s / 60 for stage, s in stage_seconds(config, facts, speed).items()}


def test_the_hour_of_fashion(fashion):
    """docs/fashion.md: training 45 minutes, predictions 28, boosters 3.5, 78 in all."""
    expected = minutes(load("configs/fashion.toml"), fashion, speed_of(10_800))
    assert list(expected) == [stage.NAME for stage in STAGES]
    assert expected["train"] == pytest.approx(45, rel=0.25)
    assert expected["predict"] == pytest.approx(28, rel=0.25)
    assert sum(expected.values()) == pytest.approx(78, rel=0.25)


def test_a_machine_of_half_the_speed_takes_twice_as_long(fashion):
    config, usual = load("configs/fashion.toml"), speed_of(10_800)
    slow = replace(usual, rates=Rates(usual.rates.head / 2, usual.rates.body / 2))
    before, after = (sum(stage_seconds(config, fashion, s).values()) for s in (usual, slow))
    assert after == pytest.approx(2 * before, rel=0.05)


def test_networks_that_do_not_fit_side_by_side_train_in_turns(luma):
    config = load("configs/luma.toml")
    one, two, four = (
        stage_seconds(config, luma, Speed(Rates(300, 100), 12_544, shares))["train"]
        for shares in (1, 2, 4)
    )
    assert one > 1.8 * two > 3.2 * four


def test_a_frozen_network_takes_no_training(fashion):
    expected = stage_seconds(load("configs/fashion_frozen.toml"), fashion, speed_of(10_800))
    assert expected["train"] < 10
    assert 60 < expected["predict"] < 900
