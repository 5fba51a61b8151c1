from dataclasses import replace

from lib.config.load import load
from lib.config.model import Model
from lib.config.schema import Config
from lib.output.report.sections.run import (
    StageCost,
    changed_settings,
    costs_section,
    different_settings,
    settings_section,
    stage_costs,
)


def test_changed_settings_are_those_that_differ_from_their_defaults(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(
        "[train]\nlr = 0.5\nepochs = 3\n[models.a]\nepochs = 4\n[split]\nlocked = 0.2\n"
    )
    rows = {key: (value, default) for key, value, default in changed_settings(load(path))}
    assert rows["models.a.epochs"] == ("4", "3")
    assert rows["train.lr"][0] == "0.5"
    assert rows["split.locked"] == ("0.2", "0.1")
    assert "models.a.lr" not in rows
    assert "split.n_folds" not in rows


def test_different_settings_have_both_values_and_a_model_of_one_config_is_one_row():
    models = {"a": Model(), "b": Model(arch="small")}
    first = replace(Config(), seed=7, models=models)
    second = replace(Config(), models={"a": Model(lr=0.5)})
    assert different_settings(first, second) == [
        ("models.b", '"small"', "-"),
        ("seed", "7", str(second.seed)),
        ("models.a.lr", str(Model().lr), "0.5"),
    ]


def test_the_section_holds_the_whole_config():
    config = replace(Config(), name="mine", models={"a": Model()})
    table, lines = settings_section(config).blocks
    assert ("name", '"mine"', '"experiment"') in table.rows
    assert 'name = "mine"' in lines.text


def manifest(seconds, size, **more):
    return {"seconds": seconds, "files": {"a": {"bytes": size}, "b": {"bytes": 1}}, **more}


def test_costs_are_added_up_for_each_script():
    costs = stage_costs(
        [
            ("stack/mean/l2/xgboost", manifest(2.0, 9, check_seconds=0.5, peak_memory=5)),
            ("scores/mean/l2/locked", manifest(1.0, 4, peak_memory=7)),
            ("extract/train", manifest(3.0, 1)),
            ("submit", manifest(1.0, 0)),
        ]
    )
    assert costs == [
        StageCost("01_extract.py", 1, 3.0, 0.0, 2, 0),
        StageCost("05_stack.py", 2, 3.0, 0.5, 15, 7),
        StageCost("06_submit.py", 1, 1.0, 0.0, 1, 0),
    ]
    rows = costs_section(costs).blocks[0].rows
    assert rows[0] == ["01_extract.py", "1", "3.0", "0.0", "0.0", "-"]
