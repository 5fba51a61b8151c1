"""Rates on real pictures, by real trainings of fractions of a second."""

from dataclasses import replace

import pytest

from lib.config.model import Model
from lib.pipeline.experiment import Experiment
from lib.planning import rates
from lib.planning.catalog import index, look
from lib.planning.request import make_request

SMALL = Model(arch="small", weights="none", resize=(32, 32), crop=(28, 28), batch_size=8)


@pytest.fixture
def experiment(tmp_path, folder_of_classes) -> Experiment:
    sets = [f"work={tmp_path}/work", "run.device=cpu", "run.threads=1"]
    request = make_request(str(folder_of_classes), None, None, None, sets)
    assert request is not None
    config = replace(request.base, data=look(request))
    index(config, rebuild=False)
    return Experiment(config)


def test_steps_that_warm_up_do_not_count():
    assert rates.steps_per_second([0.0, 5.0, 10.0, 10.5, 11.0]) == pytest.approx(2.0)


def test_a_training_ends_when_its_time_is_up(experiment):
    body = replace(SMALL, head_only_epochs=0, epochs=rates.MANY_EPOCHS)
    assert rates.train_for(experiment, body, 0.2) > 0


def test_rates_are_measured_side_by_side_and_kept(experiment, monkeypatch):
    monkeypatch.setattr(rates, "SECONDS", 0.2)
    (measured,) = rates.measure(experiment, [SMALL], 2)
    assert min(measured.head, measured.body) > 0
    assert (experiment.folder / rates.FILE).exists()
    assert rates.measure(experiment, [SMALL, SMALL], 2) == [measured, measured]


def test_networks_share_the_threads(experiment):
    four = replace(experiment.config, run=replace(experiment.config.run, threads=4))
    assert [rates.shares_of(Experiment(four), count) for count in (1, 2, 8)] == [1, 2, 4]
