"""Trials of the studies on drawings: run once, and what determines their results."""

from dataclasses import replace

import numpy as np
import pytest

from lib.data.catalog import read_splits
from lib.errors import UserError
from studies import trials
from studies.trials import Trial


@pytest.fixture
def data(experiment):
    return trials.load_drawings(experiment)


@pytest.fixture
def trial(experiment, data):
    """15 drawings of each of two categories."""
    model = trials.find_model(experiment, "cnn2")
    train = data.sample(data.train, [1, 3], 15, 0)
    return Trial("x", model, train, data.of_classes(data.held_out, [1, 3]), data.labels([1, 3]), 2)


def test_fold_0_is_held_out_and_products_without_a_fold_are_left_out(experiment, data):
    splits = read_splits(experiment.path("extract/splits"))
    assert data.held_out.tolist() == [p for p, fold in enumerate(splits.fold) if fold == 0]
    assert data.train.tolist() == [p for p, fold in enumerate(splits.fold) if fold > 0]
    used = np.concatenate([data.train, data.held_out])
    assert np.array_equal(np.sort(used), splits.products("fit", "holdout"))


def test_a_sample_has_as_many_drawings_of_each_class(data):
    sample = data.sample(data.train, [1, 3], 15, 0)
    assert np.bincount(data.catalog.label[sample], minlength=4).tolist() == [0, 15, 0, 15]


def test_a_larger_sample_contains_the_smaller_one(data):
    small, large = (data.sample(data.train, [1, 3], size, 0) for size in (15, 18))
    assert set(small) < set(large)


def test_labels_are_indices_of_the_chosen_classes(data):
    labels = data.labels([1, 3])
    expected = {0: -1, 1: 0, 2: -1, 3: 1}
    assert labels.tolist() == [expected[label] for label in data.catalog.label.tolist()]


def test_the_result_agrees_with_the_history_of_the_training(experiment, trial):
    (result,) = trials.run_trials(experiment, [trial])
    assert len(result.predicted) == len(trial.test)
    assert set(result.predicted) <= {0, 1}
    assert [epoch["epoch"] for epoch in result.history] == [1, 2]
    last = result.history[-1]
    assert np.mean(result.correct(trial)) == pytest.approx(last["valid_accuracy"])
    assert result.loss == pytest.approx(last["valid_loss"], rel=1e-4)


def test_a_finished_trial_is_not_run_again(experiment, trial, monkeypatch):
    (first,) = trials.run_trials(experiment, [trial])
    monkeypatch.setattr(trials, "train_and_evaluate", None)
    (again,) = trials.run_trials(experiment, [trial])
    np.testing.assert_array_equal(again.predicted, first.predicted)
    with pytest.raises(TypeError):
        trials.run_trials(experiment, [replace(trial, train=trial.train[1:])])


def test_products_settings_and_seed_determine_the_result_file(experiment, trial):
    path = trials.result_path(experiment, trial)
    changed = [
        replace(trial, seed=1),
        replace(trial, train=trial.train[1:]),
        replace(trial, test=trial.test[1:]),
        replace(trial, labels=trial.labels + 1),
        replace(trial, model=replace(trial.model, lr=0.5)),
    ]
    paths = {trials.result_path(experiment, other) for other in changed}
    assert len(paths | {path, trials.result_path(experiment, trial, "more")}) == 7


def test_unknown_names_are_errors_that_list_the_known_ones(experiment, data):
    with pytest.raises(UserError, match="no category 'comet'; choose one of: bar, dot"):
        data.class_id("comet")
    with pytest.raises(UserError, match="no model 'huge' in the config; choose one of dense"):
        trials.find_model(experiment, "huge")
