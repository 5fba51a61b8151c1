"""The study of the report's networks."""

import numpy as np

from studies import pages, quickdraw_models, trials
from studies.trials import TrialResult


def test_every_model_of_the_config_has_a_row(experiment, arguments, read_csv, tmp_path):
    page = tmp_path / "docs" / "quickdraw.md"
    pages.write_section(page, "size", "another section")
    data = trials.load_drawings(experiment)
    quickdraw_models.study(arguments(seeds=1), experiment, data)
    rows = read_csv("models_quickdraw")
    assert [row["model"] for row in rows] == ["dense", "cnn1", "cnn2", "modern"]
    assert int(rows[3]["parameters"]) <= 100_000
    assert float(rows[0]["gain"]) == 0
    assert "another section" in page.read_text()
    assert (tmp_path / "docs" / "quickdraw" / "models_quickdraw.png").stat().st_size > 9_000


def result(accuracies, seconds):
    history = [
        {"valid_accuracy": accuracy, "cpu_seconds": time}
        for accuracy, time in zip(accuracies, seconds, strict=True)
    ]
    return TrialResult(np.zeros(0), 0.0, history)


def test_the_speed_up_compares_times_until_the_same_accuracy():
    baseline = result([0.2, 0.6, 0.5], [2.0, 2.0, 2.0])  # its best after 4 s
    assert quickdraw_models.speed_up(baseline, result([0.1, 0.7], [0.5, 0.5])) == 4.0


def test_a_model_that_is_never_as_good_has_no_speed_up():
    baseline = result([0.6], [2.0])
    assert np.isnan(quickdraw_models.speed_up(baseline, result([0.5], [1.0])))
