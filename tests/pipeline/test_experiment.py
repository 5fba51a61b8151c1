"""Where the artifacts of an experiment lie, and which parts it has."""

from dataclasses import replace
from pathlib import Path

import pytest

from lib.config.data import Data
from lib.config.schema import Config
from lib.errors import UserError
from lib.pipeline.experiment import Experiment, experiment_of, load_experiment, side_of
from lib.pipeline.predict_target import PredictTarget
from tests.conftest import ROOT

TARGET = PredictTarget(Path("/data/new.bson"), "bson", "new-bson-1a2b3c4d")
MODEL = '[models.a]\narch = "small"\nweights = "none"\n'


def test_artifacts_lie_in_the_folder_of_the_experiment():
    experiment = Experiment(Config(name="tiny", work="/runs"))
    assert experiment.folder == Path("/runs/tiny")
    assert experiment.path("features/mean/test") == Path("/runs/tiny/features/mean/test")


def test_with_a_target_only_what_depends_on_it_lies_in_its_folder():
    experiment = Experiment(Config(name="tiny", work="/runs"), TARGET)
    new = experiment.folder / "new" / TARGET.slug
    assert experiment.path("features/mean/locked") == experiment.folder / "features/mean/locked"
    assert experiment.path("blend") == experiment.folder / "blend"
    assert experiment.path("submit") == new / "submit"
    assert experiment.path("extract/test") == new / "extract/test"


def test_without_test_products_there_is_no_test_side_and_no_test_part():
    config = Config()
    without = replace(config, data=Data(test=""))
    for experiment in (Experiment(config), Experiment(without, TARGET)):
        assert experiment.has_test
        assert experiment.sides == ("train", "test")
        assert experiment.parts == (config.stack_part, "locked", "test")
    experiment = Experiment(without)
    assert not experiment.has_test
    assert experiment.sides == ("train",)
    assert experiment.scored_parts == ("locked",)


@pytest.mark.parametrize(
    ("part", "side"),
    [("fit", "train"), ("holdout", "train"), ("locked", "train"), ("test", "test")],
)
def test_only_the_test_part_lies_on_the_test_side(part, side):
    assert side_of(part) == side


def test_a_config_with_a_teacher_gives_an_experiment_with_one(tmp_path):
    (tmp_path / "first.toml").write_text(f'name = "first"\n{MODEL}')
    (tmp_path / "second.toml").write_text(
        f'name = "second"\n{MODEL}[pseudo_label]\nteacher = "{tmp_path}/first.toml"\n'
    )
    experiment = load_experiment(
        tmp_path / "second.toml", [f"work={tmp_path}", "run.threads=3", "data.test=other.bson"]
    )
    teacher = experiment.teacher
    assert teacher is not None
    assert teacher.config.name == "first"
    assert teacher.teacher is None
    assert teacher.folder == tmp_path / "first"
    assert teacher.config.run == experiment.config.run
    assert teacher.config.data == experiment.config.data
    assert experiment_of(experiment.config) == experiment


def test_new_products_are_the_target_of_an_experiment(tmp_path):
    (tmp_path / "new.bson").write_bytes(b"x")
    config = ROOT / "configs" / "sample.toml"
    assert load_experiment(config).target is None
    target = load_experiment(config, new=str(tmp_path / "new.bson")).target
    assert target is not None
    assert target.path == tmp_path / "new.bson"
    with pytest.raises(UserError, match="no such file"):
        load_experiment(config, new=str(tmp_path / "none.bson"))


def test_no_setting_of_the_config_names_new_products(tmp_path):
    for key in ("target", "asked"):
        (tmp_path / "x.toml").write_text(f'{key} = "x"\n')
        with pytest.raises(UserError, match=f"unknown key {key}"):
            load_experiment(tmp_path / "x.toml")


def test_a_teacher_of_a_teacher_is_an_error(tmp_path):
    config = f'name = "tiny"\n{MODEL}[pseudo_label]\nteacher = "{tmp_path}/own.toml"\n'
    (tmp_path / "own.toml").write_text(config)
    with pytest.raises(UserError, match=r"own\.toml: it has a teacher of its own"):
        load_experiment(tmp_path / "own.toml")
