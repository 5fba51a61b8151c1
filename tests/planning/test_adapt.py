"""A plan that a slow machine makes late: what is reduced, and what is left alone."""

from dataclasses import asdict

import pytest

from lib.config.load import load
from lib.config.write import to_toml
from lib.pipeline.experiment import Experiment
from lib.planning.adapt import NAMES, options, slowdown
from lib.planning.costs import stage_seconds
from lib.planning.launch import adapt_config
from lib.planning.request import CONFIG, make_request, write_plan
from tests.planning.conftest import speed_of
from tests.planning.test_plan import choice_of

LIMIT = 60


@pytest.fixture
def planned(tmp_path, fashion):
    """A plan for an hour, written as `lib.planning` writes it, and its expected seconds."""
    choice = choice_of(tmp_path, fashion, f"{LIMIT}m", f"work={tmp_path}")
    data = str(tmp_path / "products.csv")
    request = make_request(data, None, None, f"{LIMIT}m", [f"work={tmp_path}"])
    request.folder.mkdir()
    (request.folder / CONFIG).write_text("# Written by a test\n" + to_toml(choice.config))
    height, width = choice.config.models["network"].crop
    expected = {"plan": 30.0, **choice.seconds}
    write_plan(request, fashion.to_dict(), asdict(speed_of(height * width)), expected)
    return Experiment(choice.config), expected


def adapt(planned, stage, slower=1.0):
    """Adapt at the start of a stage, after all before it took `slower` times as expected."""
    experiment, expected = planned
    before = {name: slower * expected[name] for name in NAMES[: NAMES.index(stage)]}
    path = experiment.folder / CONFIG
    late = adapt_config(experiment, str(path), stage, 30 + sum(before.values()), before)
    return late, load(path)


@pytest.mark.parametrize("stage", NAMES)
def test_a_run_that_is_in_time_keeps_its_plan(planned, stage):
    text = (planned[0].folder / CONFIG).read_text()
    assert adapt(planned, stage) == (False, planned[0].config)
    assert (planned[0].folder / CONFIG).read_text() == text


@pytest.mark.parametrize(
    ("slower", "views", "embedded"), [(1.5, 2, True), (1.64, 1, True), (1.7, 2, False)]
)
def test_a_late_run_gives_up_what_costs_least_points_and_ends_in_time(
    planned, fashion, caplog, slower, views, embedded
):
    experiment, expected = planned
    before = experiment.config
    late, after = adapt(planned, "predict", slower)
    assert late
    assert (before.predict.tta_views, before.predict.embed_models) == (2, ("network",))
    assert (after.predict.tta_views, bool(after.predict.embed_models)) == (views, embedded)
    assert after.models["network"] == before.models["network"]  # it is trained
    assert (len(before.backbones), len(after.backbones)) == (3, 1)
    assert after.models["probe"].fusion.inputs == tuple(after.backbones)
    height, width = before.models["network"].crop
    left = stage_seconds(after, fashion, speed_of(height * width))
    spent = 30 + slower * (expected["extract"] + expected["train"])
    end = spent + slower * sum(left[name] for name in NAMES[2:])
    assert end <= 60 * LIMIT
    (record,) = caplog.records
    assert "the run is late" in record.getMessage()
    lines = (experiment.folder / CONFIG).read_text().splitlines()
    assert lines[0] == "# Written by a test"
    assert lines[1] == "# " + record.getMessage().removeprefix("caution: ")


def test_a_run_that_cannot_end_in_time_is_as_short_as_it_can_be(planned):
    late, config = adapt(planned, "predict", slower=3.0)
    assert late
    assert config.predict.embed_models == ()
    assert config.stack.l3 == ()
    assert config.stack.sources == ("multi",)
    assert not adapt(planned, "predict", slower=3.0)[0]  # nothing is left to give up


def test_before_the_training_fewer_epochs_are_an_option_too(planned, fashion):
    config = planned[0].config
    epochs = {o.config.models["network"].epochs: o.lost for o in options(config, fashion, set())}
    assert min(epochs) < config.models["network"].epochs == max(epochs)
    begun = options(config, fashion, {"train"})
    assert {o.config.models["network"].epochs for o in begun} == {max(epochs)}


def test_what_a_stage_has_built_is_not_given_up(planned):
    """An interrupted stage 03 goes on with its views; the boosters are still to come."""
    experiment, _ = planned
    experiment.path("predictions/network/fit").mkdir(parents=True)
    late, config = adapt(planned, "predict", slower=1.7)
    assert late
    assert config.predict == experiment.config.predict
    assert config.stack != experiment.config.stack


def test_an_edited_config_is_left_alone(planned):
    path = planned[0].folder / CONFIG
    path.write_text(path.read_text() + "\n# mine\n")
    assert adapt(planned, "predict", slower=3.0) == (False, planned[0].config)


def test_other_configs_are_left_alone(planned, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text((planned[0].folder / CONFIG).read_text())
    assert not adapt_config(planned[0], str(path), "predict", 1e6, {})


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ({}, 1.0),
        ({"a": 90.0}, 3.0),
        ({"a": 10.0}, 1.0),
        ({"b": 50.0}, 1.0),
        ({"a": 60, "b": 20}, 2),
    ],
)
def test_a_machine_is_as_slow_as_its_finished_stages(taken, expected):
    """Seconds of short stages tell nothing."""
    assert slowdown({"a": 30.0, "b": 10.0}, taken) == expected
