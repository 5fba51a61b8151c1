"""CatBoost: a bounded draw of rows in memory, and files without traces of the fit."""

import numpy as np

from lib.stacking.boosters import base, catboost_booster
from tests.stacking.boosters.toy_tasks import fit, fitted, labelled, lists, saved, table


def test_a_large_table_gives_the_model_of_a_bounded_draw_of_whole_products(tmp_path, monkeypatch):
    x, y, product = lists(100, 0)
    monkeypatch.setattr(base, "MAX_ARRAY_ROWS", 203)
    drawn = base.subsample(labelled(x, y, product), 1)
    expected = fit("catboost", base.to_array(drawn.source), drawn.target, drawn.product)
    assert saved(fit("catboost", x, y, product), tmp_path / "a") == saved(expected, tmp_path / "b")


def test_a_file_carries_no_time_identity_or_device(tmp_path):
    fitted("catboost").save(tmp_path / "m")
    metadata = catboost_booster.load((tmp_path / "m").read_bytes(), 1).model.get_metadata()
    assert metadata["model_guid"] == metadata["train_finish_time"] == ""
    assert '"thread_count":1' in metadata["params"]
    assert '"task_type":"GPU"' not in metadata["params"]


def test_columns_are_matched_by_position_and_not_by_name(tmp_path):
    x, _ = table(50, 3)
    model = fitted("catboost")
    model.save(tmp_path / "m")
    loaded = catboost_booster.load((tmp_path / "m").read_bytes(), 1)
    assert np.array_equal(loaded.predict(np.asfortranarray(x)), model.predict(x))
