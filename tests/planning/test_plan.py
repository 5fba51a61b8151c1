from dataclasses import replace

import pytest

from lib.config.data import Data
from lib.planning.plan import FAST, LONG, MARGIN, NEARLY, choose, lines
from lib.planning.presets import crop_of, plans
from lib.planning.request import make_request
from tests.planning.conftest import speed_of

DATA = Data(source="csv", root="/shop", train="products.csv", test="", label_column="kind")


def choice_of(tmp_path, facts, limit=None, *sets, factor=1):
    request = make_request(str(tmp_path / "products.csv"), None, None, limit, sets)

    def speed(plan):
        height, width = crop_of(facts, plan.area)
        return speed_of(round(height * width * factor))

    return choose(request, DATA, facts, speed, spent=30.0)


def test_more_time_gives_a_better_plan_that_ends_within_it(tmp_path, fashion, luma):
    for facts in (fashion, luma):
        limits = [8, 15, 40, 90]
        choices = [choice_of(tmp_path, facts, f"{limit}m") for limit in limits]
        points = [choice.plan.points for choice in choices]
        assert points == sorted(points)
        for limit, choice in zip(limits, choices, strict=True):
            assert choice.total <= 60 * limit * MARGIN


def test_without_a_limit_the_plan_has_most_points(tmp_path, fashion):
    choice = choice_of(tmp_path, fashion)
    assert (choice.plan.area, choice.plan.epochs, choice.plan.folds) == (10_800, 6, 4)
    assert (choice.plan.views, choice.plan.boosters) == (2, "all")
    config = choice.config
    assert (config.data.label_column, config.data.source) == ("kind", "csv")
    assert config.models["network"].crop == (120, 90)
    assert "ends after" in lines(choice, fashion, 0)[1]


def test_without_a_limit_large_inputs_are_for_runs_of_hours_and_not_of_days(
    tmp_path, fashion, luma
):
    few = choice_of(tmp_path, luma)
    assert (few.plan.area, few.plan.is_trained) == (50_176, True)
    photographs = replace(fashion, height=500, width=500)
    many = choice_of(tmp_path, photographs)
    assert many.total <= LONG
    assert many.plan.area >= 12_000
    millions = replace(photographs, images={"train": 3_000_000}, products={"train": 2_000_000})
    plan = choice_of(tmp_path, millions).plan
    assert (plan.area, plan.probe.area, len(plan.probe.archs)) == (12_000, 12_000, 1)
    assert choice_of(tmp_path, photographs, "40h").plan.area == 50_176


def test_a_short_time_has_a_frozen_network_alone(tmp_path, fashion):
    choice = choice_of(tmp_path, fashion, "8m")
    assert not choice.plan.is_trained
    assert list(choice.config.models) == ["probe"]


@pytest.mark.parametrize(("limit", "sources"), [(None, ("per_model", "multi")), ("6m", ("multi",))])
def test_texts_are_a_model_that_boosters_see_beside_the_others(
    tmp_path, fashion, monkeypatch, limit, sources
):
    plain = choice_of(tmp_path, fashion, limit)
    monkeypatch.setitem(globals(), "DATA", replace(DATA, text_columns=("title",)))
    choice = choice_of(tmp_path, fashion, limit)
    assert list(choice.config.models) == [*plain.config.models, "text"]
    assert choice.config.models["text"].n_folds == plain.config.train.n_folds
    assert choice.config.data.text_columns == ("title",)
    assert choice.config.stack.sources == sources
    assert choice.seconds["predict"] > plain.seconds["predict"]


def test_a_limit_that_is_too_short_gives_the_shortest_plan_and_says_so(tmp_path, fashion):
    choice = choice_of(tmp_path, fashion, "20s")
    assert not choice.plan.is_trained
    assert "caution: no plan is sure to end within 20 s" in lines(choice, fashion, 20)[-1]


def test_quality_is_bought_with_time(tmp_path, fashion):
    kinds = ("fast", "good", "best")
    fast, good, best = (
        choice_of(tmp_path, fashion, None, f'run.quality="{kind}"') for kind in kinds
    )
    assert best.plan == choice_of(tmp_path, fashion).plan
    assert not fast.plan.is_trained
    assert fast.total <= FAST
    assert fast.plan.points > min(p.points for p in plans(fashion))
    assert best.plan.points - NEARLY <= good.plan.points < best.plan.points
    assert fast.total < good.total < 0.75 * best.total
    limited = choice_of(tmp_path, fashion, "20m", 'run.quality="good"')
    assert limited.total <= 1200 * MARGIN


def test_settings_of_the_user_hold_and_count(tmp_path, fashion):
    more = choice_of(tmp_path, fashion, None, "models.network.epochs=12")
    assert more.config.models["network"].epochs == 12
    assert more.seconds["train"] > 1.5 * choice_of(tmp_path, fashion).seconds["train"]


@pytest.mark.parametrize("seconds", [1200, 3600])
def test_the_limit_is_a_setting_too(tmp_path, fashion, seconds):
    by_setting = choice_of(tmp_path, fashion, None, f"run.time_limit={seconds}")
    assert by_setting.plan == choice_of(tmp_path, fashion, f"{seconds}s").plan
