"""The study of training settings: every setting loads, and a small one runs and resumes."""

import numpy as np
import pytest

from lib.errors import UserError
from studies import models, recipe
from studies.tables import Answers, lines_of, markdown

CONFIG = "configs/fashion.toml"
TINY = (
    "sample.train_products=150",
    "sample.test_products=10",
    "models.small.epochs=1",
)


@pytest.mark.parametrize("name", recipe.SETTINGS)
def test_every_setting_is_one_and_changes_something(name, tmp_path):
    overrides = [f"work={tmp_path}"]
    base = recipe.load(CONFIG, overrides)
    changed = recipe._variant(base, CONFIG, overrides, "lite0", name, 0)
    assert list(changed.models) == ["lite0"]
    same = (changed.models["lite0"], changed.predict.tta_views, changed.predict.tta_mean) == (
        base.models["lite0"],
        base.predict.tta_views,
        base.predict.tta_mean,
    )
    assert same == (name == recipe.DEFAULT)


def test_a_small_study(tmp_path, capfd):
    from lib.cli import run_stage

    overrides = [f"work={tmp_path}", *TINY]
    arguments = [part for one in overrides for part in ("--set", one)]
    assert (
        run_stage("extract", "01 The index.", ["--config", "configs/sample.toml", *arguments]) == 0
    )
    asked = ("configs/sample.toml", overrides, "small", [recipe.DEFAULT, "one view"], 1)
    first = recipe.study(*asked)
    capfd.readouterr()
    assert [line.name for line in first] == [recipe.DEFAULT, "one view"]
    assert first[0].oof.n == 127
    assert recipe.study(*asked) == first
    said = capfd.readouterr().err
    assert "building" not in said
    networks = {path.resolve() for path in tmp_path.glob("*_recipe/*/cnn/small/fold0")}
    assert len(networks) == 1  # predictions alone differ
    base = recipe.load(asked[0], overrides)
    two = [recipe._variant(base, *asked[:3], name, 0) for name in asked[3]]
    table = models.compare(two, "small").splitlines()
    assert [line.split(" | ")[0] for line in table[-2:]] == [f"| {one.name}, small" for one in two]
    assert f" {first[1].locked.value:.4f} " in table[-1]
    with pytest.raises(UserError, match="no model 'large'"):
        models.compare(two, "large")
    with pytest.raises(UserError, match=r"run 03_predict_tta\.py"):
        models.compare([base], "")


def test_a_setting_that_is_none():
    with pytest.raises(UserError, match=r"no setting 'mixing'; there are: .*mixup"):
        recipe._asked(["mixing"])


def test_gains_are_paired_and_shown_seed_by_seed():
    right = np.array([True, False] * 50)
    better = right.copy()
    better[1] = True
    lines = lines_of(
        {"a": [Answers(right, right)] * 2, "b": [Answers(right, better), Answers(right, right)]}
    )
    assert lines[1].by_seed == pytest.approx((0.01, 0.0))
    assert lines[1].oof_gain.value == pytest.approx(0.005)
    assert lines[1].locked_gain.low == lines[1].locked_gain.high == 0
    shown = markdown("a title", lines).splitlines()
    assert shown[2].endswith("| seed by seed |")
    assert shown[-1].endswith("| +1.00 +0.00 |")
    assert "none" in shown[-1]
