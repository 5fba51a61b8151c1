"""Headline and promise against the truth: what is read, and how draws are run and kept."""

import json
import sys

import pytest

from lib.errors import UserError
from lib.pipeline.experiment import load_experiment
from lib.stages.order import declare_all
from studies import promises
from studies.pages import write_csv
from tests.studies.test_promise_table import ROW

LADDER = """\
fitted blend on the locked part, 100 products: 0.9100 (0.8500 .. 0.9600)
accepted 145 of 300 (precision at least 0.95, measured on locked: 0.987 (0.960 .. 1.000))
"""


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = [ROW, ROW | {"warned": True, "scenario": "vehicles, 30% twins"}]
    write_csv(tmp_path / "draws.csv", rows)
    assert promises.read_rows(tmp_path / "draws.csv") == rows


def test_the_last_accuracy_is_the_stated_one():
    assert promises.stated_accuracy(LADDER) == (0.91, 0.85, 0.96)
    more = LADDER + "on products like these: 0.7600 (0.7000 .. 0.8200)\n"
    assert promises.stated_accuracy(more) == (0.76, 0.7, 0.82)
    assert not promises.is_warned(more)
    assert promises.is_warned(more + "caution: these products look different\n")
    with pytest.raises(ValueError, match="no accuracy"):
        promises.stated_accuracy("no line\n")


def test_figures_are_read_from_the_files_of_a_run(tmp_path):
    (tmp_path / "ladder.txt").write_text(LADDER)
    row = {"layer": "blend", "name": "fitted", "accuracy": 0.91, "low": 0.85, "high": 0.96}
    (tmp_path / "scores.json").write_text(json.dumps([row | {"name": "simple"}, row]))
    (tmp_path / "calibration.json").write_text(json.dumps({"precision_wanted": 0.95}))
    lines = ["product,class_1,prob_1,accepted", "n1,cup,0.9,true", "n0,cup,0.8,true"]
    (tmp_path / "predictions.csv").write_text("\n".join([*lines, "n2,hat,0.3,false"]))
    labels = tmp_path / "new_labels.csv"
    labels.write_text("product,burst,category\nn0,s1,hat\nn1,s2,cup\nn2,s3,hat\n")
    figures = promises.read_figures(tmp_path, tmp_path, labels)
    assert (figures["headline"], figures["low"], figures["high"]) == (0.91, 0.85, 0.96)
    assert (figures["new"], figures["truth"]) == (3, pytest.approx(2 / 3, abs=1e-6))
    assert (figures["accepted"], figures["accepted_right"]) == (2, 1)


def test_an_unknown_scenario_is_an_error(tmp_path, monkeypatch, capsys):
    arguments = ["promises", "--work", str(tmp_path), "--only", "luma, upside down"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert promises.main() == 2
    assert capsys.readouterr().err.startswith("error: no scenario 'luma, upside down'; choose")
    assert len(promises.select_scenarios([])) == len(promises.SCENARIOS)


def test_a_draw_without_the_shared_data_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(promises, "SHARED", tmp_path / "nowhere")
    with pytest.raises(UserError, match="set SHARED_DATA"):
        promises.run_draw(promises.SCENARIOS[0], 0, tmp_path)


@pytest.mark.parametrize("scenario", [promises.SCENARIOS[0], promises.SCENARIOS[-1]])
def test_the_config_of_a_scenario_is_one_of_the_pipeline(tmp_path, scenario):
    (tmp_path / "catalog").mkdir()
    for name in ("products.csv", "new.csv"):
        (tmp_path / "catalog" / name).write_text("product,burst,category,images\n")
    config = promises.write_config(scenario, tmp_path)
    experiment = load_experiment(str(config), [], str(tmp_path / "catalog" / "new.csv"))
    assert experiment.config.data.group_by == ("burst" if scenario.grouped else "alike")
    assert experiment.path("submit").match(f"{tmp_path}/run/new/*/submit")
    assert declare_all(experiment)["submit"]


def test_a_draw_is_run_once(shared_data, tmp_path, monkeypatch):
    def run_pipeline(scenario, folder):
        assert len(promises.read_rows(folder / "catalog" / "products.csv")) == 40
        assert len(promises.read_rows(folder / "catalog" / "new.csv")) == 10
        return ROW

    monkeypatch.setattr(promises, "SHARED", shared_data)
    monkeypatch.setattr(promises, "PRODUCTS", {"vehicles": (40, 10)})
    monkeypatch.setattr(promises, "run_pipeline", run_pipeline)
    scenario = promises.Scenario("small", "vehicles", 0.5)
    result = promises.run_draw(scenario, 0, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["draws"]  # the catalog is gone
    monkeypatch.delattr(promises, "run_pipeline")
    assert promises.run_draw(scenario, 0, tmp_path) == result


def test_a_failed_run_is_an_error_in_one_line(tmp_path):
    (tmp_path / "catalog").mkdir()
    with pytest.raises(UserError, match=r"--quiet ended with 2: .*products\.csv") as raised:
        promises.run_pipeline(promises.SCENARIOS[0], tmp_path)
    assert "\n" not in str(raised.value)
