"""The study of a rare category."""

import numpy as np
import pytest

from lib.errors import UserError
from studies import quickdraw_imbalance, trials
from studies.trials import Trial, TrialResult


def test_every_fraction_has_a_row_for_each_remedy(experiment, arguments, read_csv, monkeypatch):
    monkeypatch.setattr(quickdraw_imbalance, "FRACTIONS", (0.002, 0.2, 1.0))
    data = trials.load_drawings(experiment)
    pair = arguments(seeds=1, majority="bar", minority="wave")
    quickdraw_imbalance.study(pair, experiment, data)
    rows = read_csv("imbalance_quickdraw")
    assert sorted({int(row["rare"]) for row in rows}) == [4, 20]
    assert {row["remedy"] for row in rows} == set(quickdraw_imbalance.REMEDIES)


def test_an_unknown_category_is_an_error(experiment, arguments):
    data = trials.load_drawings(experiment)
    with pytest.raises(UserError, match="no category 'comet'"):
        quickdraw_imbalance.study(arguments(majority="comet", minority="bar"), experiment, data)


def test_accuracies_and_gains_match_counting_by_hand():
    labels = np.array([0, 0, 1, 1, 1], np.int16)
    planned, results = [], []
    for remedy in quickdraw_imbalance.REMEDIES:
        predicted = np.array([0, 0, 1, 0, 0] if remedy == "baseline" else [0, 1, 1, 1, 1])
        name = quickdraw_imbalance.trial_name(1.0, remedy)
        planned.append(Trial(name, None, labels, np.arange(5), labels, 2))
        results.append(TrialResult(predicted, 0.0, []))
    baseline, augmented, *_ = quickdraw_imbalance.summarize(planned, results, [1.0], 10)
    assert baseline["accuracy"] == 0.6
    assert (baseline["common_accuracy"], baseline["rare_accuracy"]) == (1.0, 0.3333)
    assert (augmented["rare_accuracy"], augmented["rare_gain"]) == (1.0, 0.6667)
    assert augmented["gain"] == 0.2
