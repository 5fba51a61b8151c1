import pytest

from lib.errors import UserError
from lib.planning.request import (
    CONFIG,
    begin_plan,
    default_name,
    make_request,
    read_plan,
    seconds_of,
    write_plan,
)


@pytest.mark.parametrize(
    ("text", "seconds"), [("20m", 1200), ("1h", 3600), ("1h30m", 5400), ("90s", 90), ("1.5h", 5400)]
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "0m", "m", "20 minutes", "-5m", "1m1h", "nan"])
def test_what_is_no_duration_is_one_line(text):
    with pytest.raises(UserError, match="write a duration such as 20m"):
        seconds_of(text)


def test_a_name_says_which_catalog(tmp_path):
    for folder in ("shop", "shop/train"):
        (tmp_path / folder).mkdir()
    assert default_name(tmp_path / "shop") == "shop"
    assert default_name(tmp_path / "shop" / "train") == "shop-train"
    assert default_name(tmp_path / "shop" / "my products.csv") == "shop-my-products"


def request_of(tmp_path, *overrides, limit=None, data="a/products.csv"):
    return make_request(
        str(tmp_path / data), None, None, limit, [f"work={tmp_path}/work", *overrides]
    )


def test_a_request_is_planned_when_its_config_is_written(tmp_path):
    request = request_of(tmp_path, limit="20m")
    assert request.base.run.time_limit == 1200
    assert request.folder == tmp_path / "work" / "a-products"
    assert not request.is_planned()
    begin_plan(request)
    (request.folder / CONFIG).write_text("")
    assert not request.is_planned()
    write_plan(request, {"labelled": 3}, {"area": 100}, {"train": 1.0})
    assert request.is_planned()
    assert request_of(tmp_path, limit="1200s").is_planned()
    assert not request_of(tmp_path, limit="1h").is_planned()
    assert not request_of(tmp_path, "seed=3", limit="20m").is_planned()
    assert read_plan(request.folder)["catalog"] == {"labelled": 3}


def test_settings_of_the_plan_wait_for_it(tmp_path):
    request = request_of(tmp_path, "models.network.epochs=2", "data.label_column=kind", "name=x")
    assert (request.base.name, request.base.data.label_column) == ("x", "kind")
    assert request.base.models == {}


def test_a_folder_of_another_catalog_is_refused(tmp_path):
    begin_plan(request_of(tmp_path, "name=x"))
    with pytest.raises(UserError, match=r"is of another catalog, .*products\.csv; choose another"):
        request_of(tmp_path, "name=x", data="b/products.csv").is_planned()
    (tmp_path / "work" / "y" / "extract").mkdir(parents=True)
    with pytest.raises(UserError, match="the folder of another config; choose another name"):
        request_of(tmp_path, "name=y").is_planned()


def test_a_damaged_plan_is_one_line(tmp_path):
    request = request_of(tmp_path)
    begin_plan(request)
    (request.folder / "plan.json").write_text("[]")
    with pytest.raises(UserError, match="is damaged; delete it"):
        request.is_planned()


def test_options_of_data_need_it():
    assert make_request(None, None, None, None, []) is None
    with pytest.raises(UserError, match="--time-limit belongs to --data"):
        make_request(None, None, None, "20m", [])
