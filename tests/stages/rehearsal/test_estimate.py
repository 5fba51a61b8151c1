import pytest

from lib.config.load import load
from lib.pipeline.experiment import Experiment
from lib.stages.rehearsal.derive import rehearsal_of
from lib.stages.rehearsal.estimate import (
    Sizes,
    Work,
    duration,
    growing_seconds,
    grown_bytes,
    work_of,
)

CONFIG = load("configs/fashion.toml")
DRAWN = rehearsal_of(Experiment(CONFIG), 1000).config
SIZES = Sizes(
    images={"train": 20.0, "test": 10.0},
    products={"train": 21.0, "test": 11.0, "fit": 30.0, "holdout": 0.0, "locked": 12.0},
    drawn={"train": 1000, "test": 500, "fit": 800, "holdout": 0, "locked": 200},
)


@pytest.mark.parametrize(
    ("name", "units", "whole"),
    [
        ("extract/whole/train", 0, 0),  # it is built whole
        ("extract/train", 0, 0),
        ("extract/embeddings/test", 500, 10 * 500),
        ("extract/twins", 1000, 20 * 1000),
        ("extract/texts/test", 500, 11 * 500),
        ("extract/ocr/test", 500, 10 * 500),
        ("extract/attributes/test", 500, 11 * 500),
        ("predictions/lite0/fit", 800, 5 * 30 * 800),  # a network each; ten views instead of two
        ("predictions/lite0/locked", 4 * 200, 5 * 12 * 4 * 200),
        ("embeddings/lite0/fold1/train", 1000, 20 * 1000),
        ("features/lite0/test", 500, 11 * 500),
        ("stack/lite0/l2/lightgbm", 800, 2 * 30 * 800),  # 200 trees instead of 100
        ("stack/lite0/l2/random_forest", 800, 100 / 30 * 30 * 800),
        ("scores/lite0/l3/test", 500, 2 * 11 * 500),
        ("blend", 800, 30 * 800),
        ("submit", 500, 11 * 500),
    ],
)
def test_work_grows_with_rows_views_networks_and_trees(name, units, whole):
    work = work_of(CONFIG, DRAWN, tuple(name.split("/")), SIZES)
    assert (work.units, work.whole) == (units, pytest.approx(whole))


def test_sources_with_as_many_columns_share_a_rate_and_the_draw_takes_no_place():
    kinds = [
        work_of(CONFIG, DRAWN, ("stack", source, "l2", "xgboost"), SIZES).kind
        for source in ("lite0", "mean", "multi")
    ]
    assert kinds[0] == kinds[1] != kinds[2]
    assert work_of(CONFIG, DRAWN, ("extract", "train"), SIZES).bytes == 0
    assert work_of(CONFIG, DRAWN, ("extract", "whole", "train"), SIZES).bytes == 1


def test_a_network_predicts_out_of_fold_at_a_rate_of_its_own():
    """Elsewhere fold models share what is frozen, and an image takes less than one for each."""
    kind = lambda part: work_of(CONFIG, DRAWN, ("predictions", "lite0", part), SIZES).kind  # noqa: E731
    assert kind("locked") == kind("test") != kind("fit")


def test_what_a_booster_loads_first_does_not_grow(tmp_path):
    assert growing_seconds(tmp_path, 8.0, 2) == 8.0
    for fold, seconds in enumerate((5.0, 1.0, 1.0, 1.0)):
        (tmp_path / f"_time-{fold}.json").write_text(str(seconds))
    assert growing_seconds(tmp_path, 8.0, 2) == 2.0
    assert growing_seconds(tmp_path, 8.0, 16) == 1.0
    assert growing_seconds(tmp_path, 0.5, 16) == 0.5


def test_files_grow_with_rows_or_trees_or_not_at_all():
    files = {"oof.npy": 100, "fold-0.ubj": 10, "columns.json": 1, "projection.npy": 1000}
    work = Work("stack/one/l2/xgboost", 800, 48_000, bytes=30, trees=2)
    assert grown_bytes(files, work) == 30 * 100 + 2 * 10 + 1 + 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "5 s"),
        (99, "99 s"),
        (120, "2 min"),
        (5000, "83 min"),
        (9000, "2.5 h"),
        (4e5, "4.6 days"),
    ],
)
def test_durations_are_words(seconds, text):
    assert duration(seconds) == text
